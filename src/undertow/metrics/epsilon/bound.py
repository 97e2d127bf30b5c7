"""What every epsilon bound is given and says: counts or scores in, a number with its assumption and unit out."""

import math
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Literal

import numpy as np

from undertow.types import Array, BadInput, ConfigError

_WHOLE = 1e100  # what is larger counts nothing
Assumes = Literal["none", "gdp", "claimed-pld", "gaussian-scores", "final-iterate"]


@dataclass(frozen=True)
class Bound:
    """A lower bound on the epsilon of a mechanism, and what it rests on."""

    name: str
    epsilon: float  # >= 0; the mechanism is not (smaller epsilon, delta)-DP, at this confidence
    confidence: float  # a fraction
    assumes: Assumes  # of the mechanism or of its scores; "none": nothing
    unit: str  # what was counted: "runs", "canaries" of one run, or "independent trials"
    n: int  # how many of them the number is computed from
    delta: float
    threshold_how: str  # how what counts as a guess "member" was fixed, in words
    bayesian: bool = False  # a credible bound: its coverage is measured, not proved


@dataclass(frozen=True)
class Counts:
    """Guesses against the truth, in two worlds: with the record (tp, fn) and without it (fp, tn).

    `runs`: how many training runs the trials come from; None: every trial is a run of its own.
    """

    tp: int
    fn: int
    fp: int
    tn: int
    runs: int | None = None

    def __post_init__(self) -> None:
        if min(self.tp, self.fn, self.fp, self.tn) < 0:
            raise BadInput(f"counts must not be negative, got tp {self.tp}, fn {self.fn}, fp {self.fp}, tn {self.tn}")
        if self.members == 0 or self.non_members == 0:
            raise BadInput(f"{self.members} trials with the record and {self.non_members} without; both are needed")

    @property
    def members(self) -> int:
        return self.tp + self.fn

    @property
    def non_members(self) -> int:
        return self.fp + self.tn

    @property
    def n(self) -> int:
        return self.members + self.non_members


@dataclass(frozen=True, eq=False)
class Trials:
    """One score per trial and the truth; higher = member. `run` names the training run of each trial.

    `run` None: every trial is a training run of its own.
    """

    scores: Array  # (n,) float, finite (infinities are ranked, NaN is refused)
    member: Array  # (n,) bool
    run: Array | None = None  # (n,) anything with equality

    def __post_init__(self) -> None:
        if self.scores.ndim != 1 or self.member.shape != self.scores.shape or self.member.dtype != bool:
            found = f"{self.member.dtype} {self.member.shape}"
            raise BadInput(
                f"scores must be (n,) and membership bool of the same shape {self.scores.shape}, got {found}"
            )
        if np.isnan(self.scores).any():
            first = int(np.flatnonzero(np.isnan(self.scores))[0])
            raise BadInput(f"{int(np.isnan(self.scores).sum())} scores are NaN (the first is trial {first})")
        for present, name in ((self.member, "members"), (~self.member, "non-members")):
            if not present.any():
                raise BadInput(f"no {name} among {self.member.size} trials; both are needed")
        if self.run is not None and self.run.shape != self.scores.shape:
            raise BadInput(
                f"run must name the run of each of the {self.scores.size} trials, got shape {self.run.shape}"
            )

    @property
    def runs(self) -> int:
        """Training runs among the trials."""
        return self.scores.size if self.run is None else int(np.unique(self.run).size)

    def take(self, rows: Array) -> "Trials":
        """The trials at `rows`."""
        return Trials(self.scores[rows], self.member[rows], None if self.run is None else self.run[rows])

    def counts(self, threshold: float) -> Counts:
        """Guess "member" where the score is above `threshold`."""
        guessed = self.scores > threshold
        tp, fp = int((guessed & self.member).sum()), int((guessed & ~self.member).sum())
        m = int(self.member.sum())
        return Counts(tp, m - tp, fp, self.scores.size - m - fp, self.runs)


def unit_of(n: int, runs: int | None, independent: bool) -> str:
    """The statistical unit; BadInput where trials share a run and nobody vouched for their independence."""
    if runs is None or runs == n:
        return "runs"
    if not independent:
        raise BadInput(
            f"{n} trials of {runs} training run{'s' * (runs != 1)} are not independent: use a one-run bound, one trial "
            "of each run, or independent=True where you can show it"
        )
    return "independent trials"


def check(confidence: float, delta: float, *, positive: bool = False) -> None:
    """ConfigError where confidence or delta cannot mean anything; `positive`: the bound needs delta > 0."""
    if not 0.5 <= confidence < 1:
        hint = f"; did you mean {confidence / 100:g}?" if 50 <= confidence < 100 else ""
        raise ConfigError(f"confidence = {confidence:g}; it is a fraction from 0.5 to below 1, such as 0.95{hint}")
    if not 0 <= delta < 1:
        raise ConfigError(f"delta = {delta:g}; it is a fraction from 0 to below 1, such as 1e-5")
    if positive and delta == 0:
        raise ConfigError("delta = 0: a Gaussian mechanism has no finite epsilon there; give the claimed delta")


def check_number(name: str, value: object, least: float, most: float, ends: str = "()", such: str = "1") -> None:
    """ConfigError, in one line, unless `value` is a number between `least` and `most`.

    ends: "[" or "]" where that end is allowed, as intervals are written. NaN, infinities, truth values and texts are
    refused wherever the interval is.
    """
    size = _float(value)
    above = size >= least if ends[0] == "[" else size > least
    if above and math.isfinite(size) and (size <= most if ends[1] == "]" else size < most):
        return
    low = f"{least:g} or more" if ends[0] == "[" else f"above {least:g}"
    high = "finite" if most == math.inf else f"at most {most:g}" if ends[1] == "]" else f"below {most:g}"
    raise ConfigError(f"{name} = {_short(value)}: it is a number, {low} and {high}, such as {such}")


def check_whole(name: str, value: object, least: int = 1) -> None:
    """ConfigError, in one line, unless `value` is a whole number of at least `least`."""
    if not isinstance(value, Integral) or not least <= _float(value) <= _WHOLE:
        raise ConfigError(f"{name} = {_short(value)}: it is a whole number, {least} or more")


def _float(value: object) -> float:
    """`value` as a float; NaN where it is no number."""
    try:
        return float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    except OverflowError:
        return math.inf


def _short(value: object) -> str:
    return repr(value)[:40]
