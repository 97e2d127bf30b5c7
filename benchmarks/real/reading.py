"""A signals file, read without undertow."""

import csv
from pathlib import Path

import numpy as np

from undertow.types import Array


def read(file: Path) -> tuple[dict[str, Array], list[str]]:
    """Arrays of a signals file and the names of its records."""
    if file.suffix == ".csv":
        arrays, names = read_csv(file)
    else:
        with np.load(file, allow_pickle=False) as found:
            arrays = {key: found[key] for key in found.files}
        names = [str(q) for q in range(arrays["member"].shape[-1])]
    if arrays["member"].ndim == 1:
        for key in ("member", "values", "logits", "probabilities"):
            arrays |= {key: arrays[key][None]} if key in arrays else {}
    if "probabilities" in arrays:
        arrays["logits"] = logarithms(arrays.pop("probabilities"))
    if "logits" in arrays and arrays["logits"].ndim == 3:
        arrays["logits"] = arrays["logits"][:, :, None]
    if "labels" in arrays and arrays["labels"].dtype.kind == "U":
        order = sorted(set(arrays["labels"].tolist()))
        arrays["labels"] = np.array([order.index(label) for label in arrays["labels"].tolist()])
    return arrays, names


def read_csv(file: Path) -> tuple[dict[str, Array], list[str]]:
    """One row per model and record, in this order; without the columns model and example one model's records."""
    with file.open(encoding="utf8", newline="") as lines:
        table = list(csv.DictReader(lines))
    names = list(dict.fromkeys(row.get("example") or str(q) for q, row in enumerate(table)))
    shape = (-1, len(names))
    values = np.array([float(row["value"]) for row in table]).reshape(shape)
    return {"values": values, "member": np.array([row["member"] == "1" for row in table]).reshape(shape)}, names


def logarithms(p: Array) -> Array:
    """log of probabilities (M, N, C); a zero as the smallest positive one of its class, or, if none is, of the file."""
    floored = np.array(p, float)
    for c in range(p.shape[-1]):
        positive = p[..., c][p[..., c] > 0]
        least = positive.min() if positive.size else p[p > 0].min()
        floored[..., c][p[..., c] == 0] = least
    return np.log(floored)
