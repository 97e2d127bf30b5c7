"""How much of a checkpoint was examined: parameters that a test was put to, of all that the files hold.

A parameter is a stored number that finetuning would start from. Counters, masks, positions and the running statistics
of batch norms are none. A parameter counts as examined where its row, or it itself as a bias or a gain, was measured.
A vector that is longer than any side of a matrix is no bias and no gain, whatever its name: it may be a flat matrix.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

from undertow.scanner.chains import stem_of
from undertow.scanner.forms import Weights
from undertow.scanner.layers import STATE, TABLE, Layer
from undertow.scanner.statistics import FLOATS
from undertow.scanner.tensors import Tensor

ENOUGH = 0.95  # share of the parameters that a verdict of safe asks for
RECURRENT = ("weight_ih", "weight_hh", "w_ih", "w_hh", "lstm", "gru", "rnn")


@dataclass(frozen=True)
class Coverage:
    """Parameters examined, and all, by kind of layer."""

    kinds: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def examined(self) -> int:
        """Parameters that a test was put to."""
        return sum(examined for examined, _ in self.kinds.values())

    @property
    def total(self) -> int:
        """All parameters."""
        return sum(total for _, total in self.kinds.values())

    @property
    def share(self) -> float:
        """Examined of all; 0 where there are none."""
        return self.examined / self.total if self.total else 0.0

    def __str__(self) -> str:
        return f"{self.examined:,} of {self.total:,} parameters examined ({floor(self.share)})"

    @property
    def missing(self) -> str:
        """What was not examined, the largest first.

        >>> Coverage({"matrix": (80, 100), "packed": (0, 50), "bias": (9, 9)}).missing
        'packed 50, matrix 20'
        """
        left = {kind: total - examined for kind, (examined, total) in self.kinds.items() if total > examined}
        return ", ".join(f"{kind} {count:,}" for kind, count in sorted(left.items(), key=lambda item: -item[1]))


def floor(share: float) -> str:
    """A share as a percentage that is never rounded up.

    >>> floor(0.94999), floor(1.0), floor(0.023)
    ('94.9 %', '100 %', '2.3 %')
    """
    return f"{int(share * 1000) / 10:g} %"


def together(several: Iterable[Coverage]) -> Coverage:
    """Of several models."""
    kinds: dict[str, tuple[int, int]] = {}
    for one in several:
        for kind, (examined, total) in one.kinds.items():
            before = kinds.get(kind, (0, 0))
            kinds[kind] = before[0] + examined, before[1] + total
    return Coverage(kinds)


def coverage(
    tensors: Mapping[str, Tensor], weights: Weights, layers: Sequence[Layer], measured: Iterable[str]
) -> Coverage:
    """Of the stored `tensors`, by what was `measured` of the `weights` and by the biases of measured layers."""
    seen = set(measured)
    seen |= {one.bias_name for one in layers if one.bias_name and one.weight.name in seen}
    examined = {part for name in seen if name in weights.stored for part in weights.stored[name]}
    adapters = {part for name in weights.adapters for part in weights.stored.get(name, ())}
    helpers = {part for parts in weights.stored.values() for part in _helpers(parts, tensors)}
    widest = max((side for one in layers for side in (one.units, one.inputs)), default=0)
    kinds: dict[str, tuple[int, int]] = {}
    unfolded = _unfolded(tensors, weights)
    for name, one in tensors.items():
        count, flat = prod(one.shape), len(one.shape) < 2
        if flat and count > widest:
            examined.discard(name)
        count = weights.packed[name].count if name in weights.packed else max(count, unfolded.get(name, (0,))[0])
        if name not in weights.packed and (
            name in helpers or _no_parameter(one, flat and count <= widest, name in examined)
        ):
            continue
        kind = (
            "packed, not read"
            if name in weights.packed
            else "adapter"
            if name in adapters
            else _kind(name, unfolded.get(name, (0, one.shape))[1])
        )
        before = kinds.get(kind, (0, 0))
        kinds[kind] = before[0] + count * (name in examined), before[1] + count
    return Coverage({kind: kinds[kind] for kind in sorted(kinds)})


def _helpers(parts: tuple[str, ...], tensors: Mapping[str, Tensor]) -> Iterable[str]:
    """Scales and zero points beside 8-bit numbers: no parameters of their own."""
    first = tensors.get(parts[0])
    return parts[1:] if first is not None and first.dtype not in FLOATS else ()


def _no_parameter(one: Tensor, short: bool, examined: bool) -> bool:
    """What holds no weights: whole numbers that are neither read nor packed, states of a layer."""
    return (one.dtype not in FLOATS and not examined) or (short and STATE.search(one.name) is not None)


def _unfolded(tensors: Mapping[str, Tensor], weights: Weights) -> dict[str, tuple[int, tuple[int, ...]]]:
    """How many weights, and of which shape, a stored tensor of whole numbers stands for: several may be in one."""
    found: dict[str, tuple[int, tuple[int, ...]]] = {}
    for name, made in weights.tensors.items():
        first = weights.stored[name][0]
        if tensors[first].dtype not in FLOATS:
            found[first] = found.get(first, (0,))[0] + prod(made.shape), made.shape
    return found


def _kind(name: str, shape: tuple[int, ...]) -> str:
    low, axes = name.lower(), len([size for size in shape if size != 1])
    if axes < 2:
        return "bias or gain"
    if any(word in low for word in RECURRENT):
        return "recurrent"
    if "expert" in low:
        return "experts"
    if TABLE.search(name) or TABLE.search(stem_of(name)):
        return "embedding"
    if "attn" in low or "attention" in low:
        return "attention"
    return "matrix" if axes == 2 else "convolution"
