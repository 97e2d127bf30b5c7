"""Good and hostile files that a fuzzer starts from: at least one for each reader, each way of wrapping, each loader.

They are those of the tests, and what torch and joblib write where they are installed.
"""

import bz2
import gzip
import io
import lzma
import struct
import sys
import tempfile
import zlib
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

CHAT = b"{% if messages[0]['role'] == 'system' %}{{ messages[0]['content'] | trim }}{% endif %}{{ ''.__class__ }}"
PACKERS = {"gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress, "zlib": zlib.compress}
CONFIGS = ".json", ".jsonl", ".yaml", ".yml", ".cfg", ".jinja", ".toml"


def _numpy() -> dict[str, list[bytes]]:
    from safetensors.numpy import save

    arrays = {"a": np.ones((2, 3), np.float32), "b": np.arange(4)}
    npz, packed = io.BytesIO(), io.BytesIO()
    np.savez(npz, **arrays)
    np.savez_compressed(packed, **arrays)
    npys = []
    for value in (arrays["a"], np.asfortranarray(arrays["a"]).astype(">f8"), np.array(["a", "b"]), np.float16(3)):
        file = io.BytesIO()
        np.save(file, value)
        npys.append(file.getvalue())
    return {
        "safetensors": [save(arrays, {"k": "v"})],
        "zip": [npz.getvalue(), packed.getvalue()],
        "npy": npys,
    }


def _formats() -> dict[str, list[bytes]]:
    """Of formats without a writer among our dependencies: put together by the tests, field by field."""
    from tests.opening import test_formats as made
    from tests.opening.test_gguf_blocks import SIZES, TYPES, blocks, gguf

    plain, outside = made.initializer("w", made.W), made.initializer("w", made.W, location="w.bin", offset=0)
    onnx = [made.model(made.node("Gemm") + plain), made.model(made.node("Evil", "other") + outside)]
    hdf5 = [made.hdf5(attribute=made.LAMBDA), made.chunked(1), made.chunked(2, 1, 3, sizes=(3, 2))]
    flat = [made.tflite("Evil"), made.tflite(scales=np.ones(3, np.float32))]
    with tempfile.TemporaryDirectory() as place:
        ggufs = [
            gguf(Path(place) / "m", TYPES[kind], (2, SIZES[kind][0]), blocks(kind, 2).tobytes()).read_bytes()
            for kind in TYPES
        ]
    text = b"tokenizer.chat_template"
    told = struct.pack("<Q", len(text)) + text + struct.pack("<IQ", 8, len(CHAT)) + CHAT
    ggufs.append(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + told)
    tar = made.tarred({"a/w.npy": made.npy(made.W), "b.pkl": b"\x80\x02}q\x00."})
    return {"onnx": onnx, "is onnx": onnx, "hdf5": hdf5, "flatbuffer": flat, "gguf": ggufs, "tar": [tar],
            "msgpack": [made.packed({"p": {"w": made.W, "b": made.W[0]}, "n": 3})],
            "json": [b'{"w": [[1.5, 2], [3, 4]], "b": [0.5, 1e9], "name": "x"}'],
            "zip": [made.zipped({"w.npy": made.npy(made.W), "config.json": b"{}", "in.tar": tar})]}  # fmt: skip


def _pickles() -> dict[str, list[bytes]]:
    from tests.opening.assembler import GOOD, NUMBERS, torch_file

    pickles = [b"\x80\x02}q\x00(X\x01\x00\x00\x00aK\x01X\x01\x00\x00\x00b](K\x02K\x03eu.", b"(dp0\nS'a'\nI1\ns.", GOOD]
    script = torch_file(GOOD, {"0": NUMBERS}, **{"code/x.py": b"x", "constants.pkl": GOOD})
    found = {"pickle": pickles, "zip": [torch_file(GOOD, {"0": NUMBERS}), script], "torch-legacy": []}
    try:
        import torch

        for new in (True, False):
            file = io.BytesIO()
            torch.save({"w": torch.ones(2, 3).T, "n": {"b": torch.zeros(2)}}, file, _use_new_zipfile_serialization=new)
            found["zip" if new else "torch-legacy"].append(file.getvalue())
    except ImportError:
        pass
    try:
        import joblib  # noqa: TID251 - to write what is read without it

        file = io.BytesIO()
        joblib.dump({"w": np.ones((3, 4)), "names": np.array(["a"]), "o": [1.5]}, file)
        found["pickle"].append(file.getvalue())
    except ImportError:
        pass
    return found


def _texts() -> dict[str, list[bytes]]:
    """Configurations and templates, each with its name in front: `name`, a zero byte, the text."""
    from tests.opening.loaders.hostile import BENIGN, CASES

    found: dict[str, list[bytes]] = {"config": [], "template": [b"chat_template.jinja\0" + CHAT]}
    for files, _ in (*CASES.values(), *BENIGN.values()):
        for name, text in files.items():
            one = Path(name).name.encode() + b"\0" + text.encode("utf8", "surrogatepass")
            if name.endswith(CONFIGS) or Path(name).name in ("MLmodel", "config.cfg"):
                found["template" if "template" in text else "config"].append(one)
    return found


def good_files() -> dict[str, list[bytes]]:
    """Files by the reader that they are for."""
    seeds: dict[str, list[bytes]] = {}
    for part in (_numpy(), _formats(), _pickles(), _texts()):
        for kind, files in part.items():
            seeds.setdefault(kind, []).extend(files)
    seeds["probe"] = seeds["pickle"] = seeds["pickle"] + seeds["torch-legacy"]
    seeds["plain"] = [*seeds["npy"][:2], *seeds["pickle"], *seeds["tar"], *seeds["safetensors"], *seeds["onnx"][:1]]
    for kind, pack in PACKERS.items():
        seeds[kind] = [pack(raw) for raw in seeds["plain"]]
    return seeds
