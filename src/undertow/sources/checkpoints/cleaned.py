"""Writing a cleaned checkpoint: a new safetensors file with the dtypes and the metadata of the old one."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from undertow.scanner import Tensor
from undertow.storage.files import storage_errors, write_atomic
from undertow.types import Array, BadInput, Params, StoreError

CLEANED = "undertow.cleaned"  # metadata: what was done, as JSON
KINDS = {
    **{"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "BOOL": "?"},
    **{f"{kind}{8 * size}": f"<{kind.lower()}{size}" for kind in "IU" for size in (1, 2, 4, 8)},
}


def check_new(out: Path) -> None:
    """StoreError where `out` is there already: nothing is ever overwritten."""
    if out.exists() or out.is_symlink():
        raise StoreError(f"{out} is there already; clean never overwrites, choose another --out")


def check_dtypes(tensors: Mapping[str, Tensor]) -> None:
    """BadInput for a dtype that cannot be written again bit for bit."""
    for name, tensor in tensors.items():
        if tensor.dtype not in KINDS:
            raise BadInput(f"{name!r} has type {tensor.dtype}, which clean cannot write; convert it first")


def write_cleaned(
    path: Path, params: Params, dtypes: Mapping[str, str], metadata: Mapping[str, str], done: Mapping[str, Any]
) -> None:
    """One safetensors file: `params` as `dtypes` say, the metadata that were there, and what was done."""
    header: dict[str, Any] = {"__metadata__": {**metadata, CLEANED: json.dumps(done)}}
    parts: list[bytes] = []
    place = 0
    for name, value in params.items():
        parts.append(stored(value, dtypes[name]))
        offsets = [place, place := place + len(parts[-1])]
        header[name] = {"dtype": dtypes[name], "shape": list(value.shape), "data_offsets": offsets}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    write_atomic(path, b"".join([len(text).to_bytes(8, "little"), text, *parts]))


def stored(value: Array, dtype: str) -> bytes:
    """Numbers as a file holds them, little endian; bfloat16 is rounded to nearest even, which leaves its own as is."""
    if dtype != "BF16":
        return np.ascontiguousarray(value, KINDS[dtype]).tobytes()
    bits = np.ascontiguousarray(value, "<f4").view("<u4").astype(np.uint64)
    upper = np.where(np.isnan(value), (bits >> 16) | 0x40, (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16)
    return upper.astype("<u2").tobytes()


def copy_beside(source: Path, out: Path, written: set[str]) -> None:
    """Whatever else the folder holds, by copy: configuration, tokenizer, index; links and folders are left out."""
    for file in sorted(source.iterdir()):
        if file.is_file() and not file.is_symlink() and file.name not in written:
            with storage_errors(out / file.name):
                shutil.copyfile(file, out / file.name)
