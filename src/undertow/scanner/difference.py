"""What was done to a trusted parent: the size, the layers, the rank and the rows of the difference.

Loss poisoning (Wen et al. 2024) is one more training: its updates have the size, the rank and the profile of honest
ones, so nothing here convicts it. What shows is that a checkpoint is not what it says it is (nothing changed, or all
did), and rows that were rewritten beside rows that were trained.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from undertow.scanner.findings import Finding
from undertow.scanner.statistics import FLOATS, SEGMENTS, Statistics, statistics
from undertow.scanner.tensors import Tensor
from undertow.types import Array

REWRITTEN = 1.0  # change of a row, in lengths of the parent's: training seldom turns rows by so much ...
BESIDE = 30.0  # ... and when it does, other rows of the tensor do not move so many times less
MOST = 1e6  # lengths of the parent's tensor, that a difference counts at most: it may be zero
LOW = 1e-3  # of the largest singular value of the sketch, below which there is none
NOT_COMPARED = "not-compared"  # finding: a parent was given, and nothing of it could be compared
UNRELATED = 1.2  # length of the whole difference, in the parent's: two independent trainings are sqrt(2) apart


@dataclass(frozen=True, eq=False)
class Difference:
    """One tensor against the parent's."""

    name: str
    size: float  # length of the difference, in lengths of the parent's tensor
    rank: int  # of the difference, if below SEGMENTS; SEGMENTS stands for "that or more", 0 for no difference
    rows: Array = field(repr=False)  # (R,) length of each row's change
    parent: Array = field(repr=False)  # (R,) length of the parent's row


def difference(tensor: Tensor, parent: Tensor) -> Difference:
    """Both are read once, block by block; BF16 against F32 is fine, another shape is not."""
    moved = statistics(_minus(tensor, parent))
    before = statistics(parent)
    length, way = np.sqrt(before.square.sum()), np.sqrt(moved.square.sum())
    size = min(MOST, float(way / max(length, way / MOST, 1e-300)))
    return Difference(tensor.name, size, rank_of(moved), moved.norm, before.norm)


def rank_of(moved: Statistics) -> int:
    """Of a matrix, from its sketch: exact below SEGMENTS, up to rounding."""
    value = np.linalg.svd(moved.sketch.astype(np.float64), compute_uv=False)
    return int((value > LOW * value[0]).sum()) if len(value) and value[0] > 0 else 0


def against(tensors: Mapping[str, Tensor], parent: Mapping[str, Tensor]) -> Iterator[Finding]:
    """Findings about the difference; a body may have been saved with its model's prefix ("bert.") or without."""
    pairs = [(tensors[name], parent[other]) for name, other in partners(tensors, parent).items()]
    shared = [pair for pair in pairs if pair[0].shape == pair[1].shape and pair[0].dtype in FLOATS]
    changed = [one.name for one, other in pairs if one.shape != other.shape]
    if not shared:
        why = f"it was not compared: none of its {len(tensors)} tensors has name and shape of a tensor of the parent"
        yield Finding(NOT_COMPARED, "warning", why, tensor=changed[0] if changed else "")
    elif changed:
        why = f"{len(changed)} tensors have another shape than in the parent; {len(shared)} can be compared"
        yield Finding("other-shape", "warning", why, tensor=changed[0])
    found = [(one, difference(one, other)) for one, other in shared]
    for one, moved in found:
        yield from rewritten(moved, one.file) if one.columns > 1 else ()
    if found:
        yield _summary([moved for _, moved in found])


def partners(tensors: Iterable[str], parent: Iterable[str]) -> dict[str, str]:
    """The parent's name of each tensor that it has, by the name itself or by the name without its first part."""
    names = {name: name for name in parent}
    short = {name.partition(".")[2]: name for name in names if "." in name}
    found = {name: names.get(name) or short.get(name) or names.get(name.partition(".")[2]) for name in tensors}
    return {name: other for name, other in found.items() if other is not None}


def rewritten(one: Difference, file: str = "") -> Iterator[Finding]:
    """Rows that were written over, beside rows that were trained at most."""
    usual = float(np.median(one.rows / np.maximum(one.parent, 1e-12)))
    moved = one.rows / np.maximum(one.parent, 1e-12)
    rows = np.flatnonzero((moved > REWRITTEN) & (moved > BESIDE * usual))
    if len(rows) and len(one.rows) >= SEGMENTS:
        why = (
            f"{len(rows)} rows moved by {moved[rows].max():.3g} of their length, the median row by {usual:.2g}: "
            "written over, not trained"
        )
        yield Finding("rewritten-rows", "warning", why, file, one.name, tuple(rows.tolist()), float(moved[rows].max()))


def _summary(found: list[Difference]) -> Finding:
    """Sizes and ranks in one line; a warning where the checkpoint is no child of this parent."""
    matrices = [one for one in found if len(one.rows) > 1]
    sizes = np.array([one.size for one in matrices or found])
    still, low = int((sizes == 0).sum()), sum(0 < one.rank < SEGMENTS // 2 for one in matrices)
    largest = max(matrices or found, key=lambda one: one.size)
    why = (
        f"{len(sizes)} tensors compared: {still} unchanged, {low} changed by a low rank; the median moved by "
        f"{np.median(sizes):.3g} of its length, {largest.name} by {largest.size:.3g}. Loss poisoning looks like any "
        "other training here: audit it (undertow audit poisoning) or compare losses on your own data"
    )
    if float(np.median(sizes)) > UNRELATED:
        return Finding("not-a-child", "warning", f"this checkpoint does not descend from the parent: {why}")
    return Finding("difference", "info", why, score=float(np.median(sizes)))


def _minus(tensor: Tensor, parent: Tensor) -> Tensor:
    def read(start: int, stop: int) -> Array:
        moved: Array = tensor.read(start, stop).astype(np.float32) - parent.read(start, stop).astype(np.float32)
        return moved

    return Tensor(tensor.name, tensor.shape, "F32", tensor.file, read)
