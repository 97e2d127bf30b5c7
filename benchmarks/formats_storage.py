"""More storage forms for `formats_traps.py`: blocks of GGUF, 4-bit layouts, archives, other containers.

Each form writes the weights of a perceptron and says what a victim would load, as those of `scan_storage.py` do.
"""

import gzip
import io
import json
import struct
import tarfile
import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from safetensors.numpy import save, save_file
from scan_storage import LAYERS, Form, Job, int8, rounded

from undertow.opening.ggml import CURVE, FP4, unpacked
from undertow.types import Array, Params

Blocks = tuple[int, int, Callable[[Array], Array]]  # type, numbers of a block, (n, numbers) -> (n, bytes)


def _half(value: Array) -> Array:
    return np.ascontiguousarray(value.astype("<f2")).view(np.uint8).reshape(len(value), -1)


def _float(value: Array) -> Array:
    return value.astype("<f2").astype(np.float32)


def _safe(value: Array) -> Array:
    return np.where(value == 0, 1, value)


def _halves(codes: Array, width: int) -> Array:
    """Codes of 4 bits: the lower halves of `width` bytes, then the upper ones."""
    parts = codes.reshape(len(codes), -1, 2, width).astype(np.uint8)
    return (parts[:, :, 0] | parts[:, :, 1] << 4).reshape(len(codes), -1)


def q4_k(rows: Array) -> Array:
    parts = rows.reshape(-1, 8, 32)
    low = np.minimum(parts.min(2), 0)
    step = (parts.max(2) - low) / 15
    d, m = step.max(1) / 63, -low.min(1) / 63
    scales = np.round(step / _safe(_float(d))[:, None]).clip(0, 63)
    least = np.round(-low / _safe(_float(m))[:, None]).clip(0, 63)
    gain, shift = _float(d)[:, None] * scales, _float(m)[:, None] * least
    codes = np.round((parts + shift[:, :, None]) / _safe(gain)[:, :, None]).clip(0, 15)
    s, t = scales.astype(np.uint8), least.astype(np.uint8)
    packed = [s[:, :4] | (s[:, 4:] >> 4) << 6, t[:, :4] | (t[:, 4:] >> 4) << 6, s[:, 4:] & 15 | (t[:, 4:] & 15) << 4]
    return np.concatenate([_half(d), _half(m), *packed, _halves(codes.reshape(-1, 256), 32)], 1)


def q6_k(rows: Array) -> Array:
    parts = rows.reshape(-1, 16, 16)
    step = np.abs(parts).max(2) / 31
    d = step.max(1) / 127
    scales = np.round(step / _safe(_float(d))[:, None]).clip(0, 127)
    gain = _float(d)[:, None] * scales
    codes = (np.round(parts / _safe(gain)[:, :, None]).clip(-32, 31) + 32).astype(np.uint8).reshape(-1, 2, 4, 32)
    low = _halves((codes & 15).reshape(-1, 256), 64)
    high = sum((codes[:, :, i] >> 4) << 2 * i for i in range(4)).reshape(-1, 64).astype(np.uint8)
    return np.concatenate([low, high, scales.astype(np.int8).view(np.uint8), _half(d)], 1)


def iq4_nl(rows: Array) -> Array:
    peak = np.take_along_axis(rows, np.abs(rows).argmax(1)[:, None], 1)[:, 0]
    d = peak / CURVE[0]
    codes = np.abs((rows / _safe(_float(d))[:, None])[:, :, None] - CURVE).argmin(2)
    return np.concatenate([_half(d), _halves(codes, 16)], 1)


def mxfp4(rows: Array) -> Array:
    exponent = np.floor(np.log2(np.maximum(np.abs(rows).max(1), 1e-30))) - 2
    codes = np.abs((rows / np.exp2(exponent)[:, None])[:, :, None] - FP4).argmin(2)
    return np.concatenate([(exponent + 127).clip(0, 254).astype(np.uint8)[:, None], _halves(codes, 16)], 1)


def q8_0(rows: Array) -> Array:
    d = np.abs(rows).max(1) / 127
    codes = np.round(rows / _safe(_float(d))[:, None]).clip(-127, 127).astype(np.int8)
    return np.concatenate([_half(d), codes.view(np.uint8)], 1)


BLOCKS: dict[str, Blocks] = {
    "Q4_K": (12, 256, q4_k),
    "Q6_K": (14, 256, q6_k),
    "IQ4_NL": (20, 32, iq4_nl),
    "MXFP4": (39, 32, mxfp4),
    "Q8_0": (8, 32, q8_0),
}


def gguf(dtype: str) -> Form:
    """Matrices in blocks of a type; rows that are no whole blocks of it in Q8_0, as llama.cpp falls back."""

    def form(job: Job) -> tuple[Path, Params]:
        head, offset, body = struct.pack("<4sIQQ", b"GGUF", 3, len(job.params), 0), 0, b""
        loaded = {}
        for name, value in job.params.items():
            kind, raw, loaded[name] = 0, value.astype("<f4").tobytes(), value
            if value.ndim == 2:
                used = dtype if value.shape[1] % BLOCKS[dtype][1] == 0 else "Q8_0"
                kind, numbers, pack = BLOCKS[used]
                blocks = pack(value.reshape(-1, numbers).astype(np.float32))
                raw, loaded[name] = blocks.tobytes(), unpacked(blocks.ravel(), used).reshape(value.shape)
            said = name.encode()
            head += struct.pack("<Q", len(said)) + said + struct.pack("<I", value.ndim)
            head += b"".join(struct.pack("<Q", size) for size in value.shape[::-1]) + struct.pack("<IQ", kind, offset)
            body += raw + bytes(-len(raw) % 32)
            offset = len(body)
        path = job.folder / "model.gguf"
        path.write_bytes(head + bytes(-len(head) % 32) + body)
        return path, loaded

    return form


NF4 = np.float32([-1, -0.6962, -0.5251, -0.3949, -0.2844, -0.1848, -0.0911, 0, 0.0796, 0.1609, 0.2461, 0.3379, 0.4407,
                  0.5626, 0.723, 1])  # fmt: skip


def nf4(job: Job) -> tuple[Path, Params]:
    stored, loaded = dict(job.params), dict(job.params)
    for layer in LAYERS:
        name = f"{layer}.weight"
        parts = job.params[name].reshape(-1, 64)
        absmax = np.abs(parts).max(1).astype(np.float32)
        codes = np.abs((parts / _safe(absmax)[:, None])[:, :, None] - NF4).argmin(2).ravel()
        state = {"quant_type": "nf4", "blocksize": 64, "dtype": "float32", "shape": list(job.params[name].shape)}
        stored[name] = (codes[0::2] << 4 | codes[1::2]).astype(np.uint8)[:, None]
        stored |= {f"{name}.absmax": absmax, f"{name}.quant_map": NF4}
        stored[f"{name}.quant_state.bitsandbytes__nf4"] = np.frombuffer(json.dumps(state).encode(), np.uint8)
        loaded[name] = (NF4[codes] * np.repeat(absmax, 64)).reshape(job.params[name].shape)
    save_file(stored, job.folder / "model.safetensors")
    return job.folder, loaded


def _grouped(value: Array, size: int, bits: int) -> tuple[Array, Array, Array]:
    """Codes (out, in), scales and zero points (out, groups) of an asymmetric rounding."""
    parts = value.reshape(len(value), -1, min(size, value.shape[1]))
    low, high, most = np.minimum(parts.min(2), 0), np.maximum(parts.max(2), 0), (1 << bits) - 1
    scale = _float(np.maximum((high - low) / most, 1e-6))
    zero = np.round(-low / scale).clip(1, most)
    codes = (np.round(parts / scale[:, :, None]) + zero[:, :, None]).clip(0, most)
    return codes.reshape(value.shape).astype(np.uint32), scale, zero.astype(np.uint32)


def _words(codes: Array, bits: int) -> Array:
    """(n, m) codes -> (n, m * bits / 32) words, the first of a word in its lowest bits."""
    each = 32 // bits
    codes = np.pad(codes, ((0, 0), (0, -codes.shape[1] % each))).reshape(len(codes), -1, each)
    return (codes << np.arange(0, 32, bits, dtype=np.uint32)).sum(2, dtype=np.uint32).view(np.int32)


def four_bits(layout: str, bits: int = 4, size: int = 64) -> Form:
    def form(job: Job) -> tuple[Path, Params]:
        stored, loaded = dict(job.params), dict(job.params)
        for layer in LAYERS:
            value = stored.pop(f"{layer}.weight")
            padded = np.pad(value, ((0, -len(value) % 8), (0, 0)))
            codes, scale, zero = _grouped(padded, size, bits)
            spread = value.shape[1] // scale.shape[1]
            back = (codes.astype(np.float32) - np.repeat(zero, spread, 1)) * np.repeat(scale, spread, 1)
            if layout == "GPTQ":
                parts = {"qweight": _words(codes, bits).T, "qzeros": _words(zero.T - 1, bits), "scales": scale.T}
                parts["qweight"] = np.ascontiguousarray(_words(codes, bits).T)
                parts["g_idx"] = (np.arange(value.shape[1]) // spread).astype(np.int32)
            elif layout == "AWQ":
                order = [0, 2, 4, 6, 1, 3, 5, 7]
                turned = [c.T.reshape(c.shape[1], -1, 8)[:, :, order].reshape(c.shape[1], -1) for c in (codes, zero)]
                parts = {"qweight": _words(turned[0], 4), "qzeros": _words(turned[1], 4), "scales": scale.T}
            else:
                parts = {"weight_packed": _words(codes, bits), "weight_scale": scale,
                         "weight_zero_point": np.ascontiguousarray(_words(zero.T, bits).T),
                         "weight_shape": np.array(padded.shape)}  # fmt: skip
            half = {"scales": np.float16}
            stored |= {f"{layer}.{k}": np.ascontiguousarray(v.astype(half.get(k, v.dtype))) for k, v in parts.items()}
            loaded[f"{layer}.weight"] = back[: len(value)].astype(np.float32)
            if len(padded) > len(value):
                stored[f"{layer}.bias"] = np.pad(stored[f"{layer}.bias"], (0, len(padded) - len(value)))
        save_file(stored, job.folder / "model.safetensors")
        return job.folder, loaded

    return form


def packed(kind: str) -> Form:
    """Safetensors in an archive."""

    def form(job: Job) -> tuple[Path, Params]:
        raw = save({name: np.ascontiguousarray(value) for name, value in job.params.items()})
        path = job.folder / f"model.{kind}"
        if kind == "zip":
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr("model.safetensors", raw)
        elif kind == "tar.gz":
            with tarfile.open(path, "w:gz") as archive:
                info = tarfile.TarInfo("model.safetensors")
                info.size = len(raw)
                archive.addfile(info, io.BytesIO(raw))
        else:
            path.write_bytes(gzip.compress(raw))
        return path, job.params

    return form


def as_json(job: Job) -> tuple[Path, Params]:
    path = job.folder / "model.json"
    path.write_text(json.dumps({name: value.tolist() for name, value in job.params.items()}))
    return path, job.params


def as_msgpack(job: Job) -> tuple[Path, Params]:
    """As Flax writes it: a table of arrays, kernels transposed."""

    def text(value: str) -> bytes:
        return bytes([0xD9, len(value)]) + value.encode()

    def array(value: Array) -> bytes:
        raw = np.ascontiguousarray(value, "<f4").tobytes()
        sizes = b"".join(struct.pack(">BI", 0xCE, size) for size in value.shape)
        body = b"\x93" + bytes([0x90 | value.ndim]) + sizes + text("float32") + struct.pack(">BI", 0xC6, len(raw)) + raw
        return struct.pack(">BIb", 0xC9, len(body), 1) + body

    whole = bytes([0x80 | len(LAYERS)])
    for layer in LAYERS:
        whole += text(f"Dense_{layer}") + b"\x82" + text("kernel") + array(job.params[f"{layer}.weight"].T)
        whole += text("bias") + array(job.params[f"{layer}.bias"])
    path = job.folder / "model.msgpack"
    path.write_bytes(whole)
    return path, job.params


def hdf5(job: Job) -> tuple[Path, Params]:
    """As Keras writes it, with gzip and shuffle on top; needs h5py."""
    import h5py

    path = job.folder / "model.h5"
    with h5py.File(path, "w") as file:
        for layer in LAYERS:
            how = {"compression": "gzip", "shuffle": True}
            file.create_dataset(f"dense_{layer}/kernel:0", data=job.params[f"{layer}.weight"].T, **how)
            file.create_dataset(f"dense_{layer}/bias:0", data=job.params[f"{layer}.bias"], **how)
    return path, job.params


def first_alone(job: Job) -> tuple[Path, Params]:
    """The planted layer and nothing that reads it; the victim puts it below the layers of the clean checkpoint."""
    kept = {name: value for name, value in job.params.items() if name.startswith("1.")}
    save_file({name.removeprefix("1."): value for name, value in kept.items()}, job.folder / "model.safetensors")
    return job.folder, job.params


FORMS: dict[str, Form] = {
    **{f"GGUF {dtype}": gguf(dtype) for dtype in ("Q6_K", "Q4_K", "IQ4_NL", "MXFP4")},
    "bitsandbytes nf4": nf4,
    "GPTQ, 8 bits": four_bits("GPTQ", 8),
    "GPTQ, 4 bits": four_bits("GPTQ"),
    "AWQ, 4 bits": four_bits("AWQ"),
    "compressed-tensors, 4 bits": four_bits("compressed-tensors"),
    "safetensors in a zip": packed("zip"),
    "safetensors in a tar.gz": packed("tar.gz"),
    "safetensors.gz": packed("gz"),
    "JSON": as_json,
    "MessagePack (Flax)": as_msgpack,
    **({"HDF5, gzip and shuffle": hdf5} if find_spec("h5py") else {}),
    "the first layer alone": first_alone,
    "int8 rows, scale": int8(("weight", "weight_scale")),
    "int8 columns, scale": rounded(0),
    "int8, one scale": rounded(None),
    "int8 rows, SCB": int8(("weight", "SCB")),
    "int8 blocks of 32, scales": int8(("qweight", "scales"), 32),
}
