"""From tensors as they are stored to the weights that they stand for: products, scales, stacks, adapters.

A network computes with the matrix, however the file keeps it: as lengths and directions (weight norm), times a mask
(pruning), as int8, fp8 or 4-bit numbers with scales, as one slice of a stack of experts, as the product of an adapter.
Every form is read block by block; what is put together in memory is the small factor of an adapter, and the packed
numbers of a matrix whose columns are stored.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from undertow.scanner.adapters import products
from undertow.scanner.composed import masked, plain_name, scaled_rows
from undertow.scanner.dequantise import Packed, dequantised, packed_tensors
from undertow.scanner.four_bits import unfolded
from undertow.scanner.stacks import slices
from undertow.scanner.statistics import FLOATS
from undertow.scanner.tensors import Tensor


@dataclass(frozen=True, eq=False)
class Weights:
    """The weights of a checkpoint, and which stored tensors they are made of."""

    tensors: Mapping[str, Tensor]  # by the name an ordinary checkpoint would give them
    stored: Mapping[str, tuple[str, ...]]  # by that name: the stored tensors behind it; the first is named in findings
    shown: Mapping[str, str]  # by that name: what a finding calls it
    adapters: frozenset[str] = frozenset()  # low-rank products: differences, no weights
    packed: Mapping[str, Packed] = field(default_factory=dict)  # stored tensors whose numbers are not read


def weights_of(tensors: Mapping[str, Tensor]) -> Weights:
    """Every stored tensor in one place: in a weight, left as it is, or packed in a way that is not read."""
    draft = _Draft(dict(tensors))
    for name, parts, tensor in _weight_norms(tensors):
        draft.take(name, parts, tensor, parts[-1])
    for name, parts, tensor in _originals(tensors):
        draft.take(name, parts, tensor, parts[0])
    for name, parts, tensor in list(unfolded(draft.left)):
        draft.take(name, parts, tensor, parts[0])
    for name, parts, tensor in list(dequantised(draft.left)):
        draft.take(name, parts, tensor, parts[0])
    for name, parts, tensor in list(products(draft.left)):
        draft.take(name, parts, tensor, parts[-1])
        draft.adapters.add(name)
    packed = packed_tensors(draft.left)
    for name in packed:
        del draft.left[name]
    whole = {**draft.left, **draft.made}
    stored, shown = {name: (name,) for name in draft.left} | draft.stored, {n: n for n in draft.left} | draft.shown
    final: dict[str, Tensor] = {}
    for name, tensor in whole.items():
        for part, one in slices(name, tensor):
            free = _free(part, final)
            final[free] = one
            if free != name:
                stored[free] = stored[name]
                shown[free] = shown[name] if one is tensor else f"{shown[name]}[{_index(part, name)}]"
    return Weights(
        final, {name: stored[name] for name in final}, {name: shown[name] for name in final},
        frozenset(draft.adapters), packed,
    )  # fmt: skip


@dataclass
class _Draft:
    """What is left as it is, and what was made of the rest."""

    left: dict[str, Tensor]
    made: dict[str, Tensor] = field(default_factory=dict)
    stored: dict[str, tuple[str, ...]] = field(default_factory=dict)
    shown: dict[str, str] = field(default_factory=dict)
    adapters: set[str] = field(default_factory=set)

    def take(self, name: str, parts: tuple[str, ...], tensor: Tensor, shown: str) -> None:
        """`tensor` stands for `parts`; one that is a part already, or a name that is taken, stays as it is."""
        if any(part not in self.left for part in parts) or (name in self.left and name not in parts):
            return
        for part in parts:
            del self.left[part]
        self.made[name], self.stored[name], self.shown[name] = tensor, parts, shown


def _weight_norms(tensors: Mapping[str, Tensor]) -> Iterable[tuple[str, tuple[str, ...], Tensor]]:
    for name, one in tensors.items():
        stem, other = plain_name(name), None
        if re.search(r"_v$", name):
            other = f"{name[:-2]}_g"
        elif name.endswith(".original1"):
            other = f"{name[:-1]}0"
        length = tensors.get(other or "")
        if length is not None and len(one.shape) >= 2 and one.dtype in FLOATS and length.dtype in FLOATS:
            made = scaled_rows(stem, one, length)
            if made is not None:
                yield stem, (length.name, name), made


def _originals(tensors: Mapping[str, Tensor]) -> Iterable[tuple[str, tuple[str, ...], Tensor]]:
    for name, one in tensors.items():
        if re.search(r"(_orig|\.original)$", name) and one.dtype in FLOATS and len(one.shape) >= 1:
            mask = tensors.get(re.sub(r"_orig$", "_mask", name)) if name.endswith("_orig") else None
            if mask is not None and mask.shape == one.shape:
                yield plain_name(name), (name, mask.name), masked(plain_name(name), one, mask)
            else:
                yield plain_name(name), (name,), one.renamed(plain_name(name))


def _free(name: str, taken: Mapping[str, Tensor]) -> str:
    while name in taken:
        name += "#"
    return name


def _index(part: str, name: str) -> str:
    """Which slice: the number that the slice's name has and the stack's has not.

    >>> _index("mlp.experts.3.up.weight", "mlp.experts.up")
    '3'
    """
    before = re.findall(r"\d+", name)
    after = re.findall(r"\d+", part)
    for number in before:
        after.remove(number)
    return after[0] if after else "0"
