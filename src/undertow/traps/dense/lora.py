"""Data traps under LoRA: the trapped layer is frozen, but the low-rank factors beside it hold what fired.

The layer computes (W + BA) x with B = 0 at first, so that the first step of a trap's unit on a record x makes its row
of B equal to -s A x: r numbers about the record, but for the factor s, which no bias shows. Against a Gaussian prior
from auxiliary records this is a linear measurement: x is such that A x has no part across the row, and w.x lies just
above the threshold. The posterior mean is what is read. Derived here; no code is published.

Both factors are needed, as peft writes them beside the base: the merged weight hides A^T A. What is read is not exact
even for r >= d, because A moves on after a record was copied.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from undertow.traps.dense.mlp import MlpTrap
from undertow.traps.recorder import NOTHING, Candidates
from undertow.types import Array, BadInput, Params

MOVED = 0.03  # of the typical size of A x: by how much A's later steps change it
PARALLEL = 0.999  # cosine from which two units of a trap hold the same
FLOOR = 1e-3  # variance of every coordinate, of the largest: constant ones may vary a little


@dataclass(frozen=True, eq=False)
class LoraCandidates(Candidates):
    """What was read, and the projections it was read from."""

    rows: Array  # (K, r) of -B: in the direction of A x for the record x of each trap
    reader: Array  # (r, D) A

    def best(self, records: Array, eligible: Array) -> Array:
        """(K,) int: of the `eligible` (N, K) `records` (N, D) the one whose projection fits best. For scoring only."""
        projected = records @ self.reader.T
        cosine = projected @ self.rows.T / np.maximum(np.linalg.norm(projected, axis=1, keepdims=True), 1e-30)
        best: Array = np.where(eligible, cosine, -np.inf).argmax(0)
        return best


@dataclass(frozen=True, eq=False)
class LoraTrap:
    """Traps of `dense`, read off the factors `<layer>.lora_A.weight` (r, D) and `<layer>.lora_B.weight` (H, r)."""

    dense: MlpTrap
    mean: Array  # (D,) of auxiliary records
    covariance: Array  # (D, D)
    excess: Array  # (K,) by how much auxiliary records that fire a trap pass its threshold, on average
    kind: ClassVar[str] = "lora"

    @property
    def tensors(self) -> tuple[str, ...]:
        return f"{self.dense.layer}.lora_A.weight", f"{self.dense.layer}.lora_B.weight"

    def edits(self, params: Params) -> Params:
        return self.dense.edits(params)

    def read(self, before: Params, after: Params) -> LoraCandidates:
        """Values (K, 1, D): posterior means, cut to the domain; accepted where two units of a trap hold the same.

        B begins at zero: a layer without factors that is as it was `before` holds nothing. BadInput where the factors
        are absent though it moved, do not fit or are not finite.
        """
        a, b = self._factors(before, after)
        rows = -b[self.dense.units]
        found = np.stack([self._mean(a, row, k) for k, row in enumerate(rows)])
        size, along = np.linalg.norm(rows, axis=1), np.einsum("kr,kr->k", found @ a.T, rows)
        tests = (
            (size == 0, NOTHING),
            (along <= 0, "pushed open"),
            (~self._agree(b), "two units of the trap do not agree on it"),
        )
        reasons = np.full(size.shape, "", object)
        for failed, reason in reversed(tests):
            reasons[failed] = reason
        low, high = self.dense.domain.low, self.dense.domain.high
        values = np.where(size[:, None] == 0, np.nan, np.clip(found, low, high))
        step = -np.sign(along) * size
        return LoraCandidates(values[:, None], step[:, None], (reasons == "")[:, None], reasons[:, None], rows, a)

    def blind(self) -> Array:
        """(K, D): what the prior says of a record that fires a trap, without any reading; to compare with."""
        none = np.zeros((1, len(self.mean)))
        return np.stack([self._mean(none, np.zeros(1), k) for k in range(len(self.excess))])

    def _factors(self, before: Params, after: Params) -> tuple[Array, Array]:
        weight = f"{self.dense.layer}.weight"
        if not {*self.tensors} & {*after} and np.array_equal(before[weight], after.get(weight, np.empty(0))):
            return np.zeros((1, len(self.mean))), np.zeros((len(before[weight]), 1))
        for name in self.tensors:
            if name not in after:
                raise BadInput(f"no tensor {name!r}: the factors are read, as peft writes them, not the merged weights")
            if not np.isfinite(after[name]).all():
                raise BadInput(f"{name} holds NaN or infinite weights: the finetuning broke down, nothing can be read")
        a, b = (np.asarray(after[name], np.float64) for name in self.tensors)
        if a.ndim != 2 or b.ndim != 2 or len(a) != b.shape[1] or a.shape[1] != len(self.mean):
            raise BadInput(f"{self.tensors[0]} {a.shape} and {b.shape} are no factors of inputs {len(self.mean)} wide")
        return a, b

    def _mean(self, a: Array, row: Array, k: int) -> Array:
        """E[x | A x is parallel to `row`, w.x just above the threshold of trap k]."""
        length = np.linalg.norm(row)
        along = row / length if length else row
        reader = np.vstack([a - np.outer(along, along @ a), self.dense.directions[k]])
        size = np.einsum("rd,de,re->", a, self.covariance + np.outer(self.mean, self.mean), a) / len(a)
        noise = np.append(np.full(len(a), max(MOVED**2 * size, 1e-12)), self.excess[k] ** 2)
        seen = np.append(np.zeros(len(a)), self.dense.thresholds[k] + self.excess[k])
        cross = self.covariance @ reader.T
        mean: Array = self.mean + cross @ np.linalg.solve(reader @ cross + np.diag(noise), seen - reader @ self.mean)
        return mean

    def _agree(self, b: Array) -> Array:
        """(K,) bool: whether the trap's upper unit, which fires on fewer records, holds the same."""
        lower, upper = (-b[units] for units in (self.dense.units, self.dense.upper))
        if not len(upper):
            return np.ones(len(lower), bool)
        sizes = np.linalg.norm(lower, axis=1) * np.linalg.norm(upper, axis=1)
        agree: Array = np.einsum("kr,kr->k", lower, upper) > PARALLEL * sizes
        return agree


def lora_trap(dense: MlpTrap, auxiliary: Array) -> LoraTrap:
    """The traps of `dense`, to be read where the victim trains LoRA; `auxiliary` (N, D) as `mlp_trap` had them."""
    x = np.asarray(auxiliary, np.float64).reshape(len(auxiliary), -1)
    covariance = np.cov(x.T)
    covariance += FLOOR * np.diag(covariance).max() * np.eye(len(covariance))
    over = x @ dense.directions.T - dense.thresholds
    fires = over > 0
    excess = np.where(fires, over, 0.0).sum(0) / np.maximum(fires.sum(0), 1)
    return LoraTrap(dense, x.mean(0), covariance, np.maximum(excess, 1e-9))
