"""How a trap holds a record: a hidden unit z = w.x + b whose step is -eta g (x, 1), so that x = step of w / step of b.

Feng & Tramer 2024, section 2 of our specification. The step is read off two checkpoints; momentum and the learning
rate multiply both parts alike. Weight decay shrinks w and b by a factor that an idle unit, which never fires, shows.
"""

from dataclasses import dataclass

import numpy as np

from undertow.types import Array, BadInput, Params

NOTHING = "nothing written"
STILL = 1e-7  # of the largest step: what taking weight decay out leaves of rounding, not a record


@dataclass(frozen=True, eq=False)
class Recorder:
    """Where the units lie, and how a record stands in their inputs."""

    weight: str  # name of the tensor (H, D); transposed: (D, H), as GPT-2 has it
    bias: str  # name of the tensor (H,)
    rows: Array  # (K, P) int: the units of trap k; P parts of a record (1 unless it is written piece by piece)
    plus: Array  # (d,) int: input columns that carry the record
    minus: Array | None = None  # (d,) int: columns that carry its negative (mirrored codes), or none
    scale: float = 1.0  # input = scale * record
    constants: Array | None = None  # (r,) int: columns fed `constant`, which measure the step better than the bias
    constant: float = 1.0
    idle: Array | None = None  # (n,) int: units that never fire; they show the weight decay
    transposed: bool = False


@dataclass(frozen=True, eq=False)
class Candidates:
    """What was read from K traps, P parts each; nothing here needs the finetuning data."""

    values: Array  # (K, P, d) float64 records as read; NaN where nothing was written
    step: Array  # (K, P) float64: the units' step, < 0 where they were pushed shut; 0: nothing written
    accepted: Array  # (K, P) bool
    reasons: Array  # (K, P) str: why not, "" where accepted

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True, eq=False)
class Written:
    """By how much finetuning moved K traps of P parts, weight decay taken out."""

    carried: Array  # (K, P, d) float64: step x record, from the weights
    step: Array  # (K, P) float64, from the bias or the constants

    def __sub__(self, other: "Written") -> "Written":
        """What moved these units and not the others, that fire on fewer records."""
        return Written(self.carried - other.carried, self.step - other.step)

    @property
    def values(self) -> Array:
        """(K, P, d) records: carried / step; NaN where there was no step."""
        with np.errstate(divide="ignore", invalid="ignore"):
            values: Array = self.carried / self.step[..., None]
        values[self.step == 0] = np.nan
        return values


def written(before: Params, after: Params, recorder: Recorder) -> Written:
    """What finetuning wrote; BadInput for tensors that are absent, changed their shape or are not finite."""
    (w0, b0), (w1, b1) = (_units(params, recorder) for params in (before, after))
    if w0.shape != w1.shape or b0.shape != b1.shape:
        raise BadInput(
            f"{recorder.weight} changed its shape between before and after: {w0.shape[::-1]} is now {w1.shape[::-1]}"
        )
    shrink_w, shrink_b = _shrink(w0, w1, recorder.idle), _shrink(b0[:, None], b1[:, None], recorder.idle)
    dw = w1[recorder.rows] - shrink_w * w0[recorder.rows]
    step = b1[recorder.rows] - shrink_b * b0[recorder.rows]
    if recorder.constants is not None:
        step = dw[..., recorder.constants].mean(-1) / recorder.constant
    carried = dw[..., recorder.plus]
    if recorder.minus is not None:
        carried = (carried - dw[..., recorder.minus]) / 2
    if recorder.idle is not None:
        still = np.abs(step) <= STILL * np.abs(step).max(initial=0)
        step[still], carried[still] = 0, 0
    return Written(carried / recorder.scale, step)


def _units(params: Params, recorder: Recorder) -> tuple[Array, Array]:
    for name in (recorder.weight, recorder.bias):
        if name not in params:
            raise BadInput(f"the checkpoint has no tensor {name!r}, where the traps are")
        if not np.isfinite(params[name]).all():
            raise BadInput(f"{name} holds NaN or infinite weights: the finetuning broke down, nothing can be read")
    weight = np.asarray(params[recorder.weight], np.float64)
    return (weight.T if recorder.transposed else weight), np.asarray(params[recorder.bias], np.float64)


def _shrink(before: Array, after: Array, idle: Array | None) -> float:
    """The factor by which weight decay alone shrank the units that never fired; 1 where there are none."""
    if idle is None:
        return 1.0
    old, new = before[idle].ravel(), after[idle].ravel()
    return float(old @ new / (old @ old)) if old.any() else 1.0
