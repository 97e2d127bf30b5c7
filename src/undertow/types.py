"""The nouns of the house, the seams between its rooms, and the errors it raises on purpose.

    AuditError
    ├── BadInput        signals or data that cannot be audited as given
    ├── ConfigError     a configuration that cannot mean anything
    │   └── Diverged        training ended in NaN or infinite weights
    ├── MissingExtra    an optional dependency is not installed
    ├── StoreError      the run folder cannot be read or written
    ├── WorkerDied      a worker process ended before its work did
    ├── TrainingFailed  the user's own training function raised; its traceback is kept
    ├── UnsafeCheckpoint  a checkpoint that did not pass its scan
    └── GateUndecided   a --fail-if condition this audit has too little data to decide

Axes are always in this order: M models, T targets, N examples, Q challenge points, A views, C classes.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Params = dict[str, Array]
J = TypeVar("J")
R = TypeVar("R")

IGNORED = -100  # a label that is none: nothing is to be predicted there (cross_entropy's ignore_index in torch)
SCHEMA = "undertow.result/1"  # of result.json; the number rises when a reader of the old one would misread


class AuditError(Exception):
    """Root of everything this library raises on purpose."""


class BadInput(AuditError):
    """Signals or data that cannot be audited as given; the message says where and what to do."""


class ConfigError(AuditError):
    """A configuration that cannot mean anything; the message names the key."""


class Diverged(ConfigError):
    """Training ended in NaN or infinite weights; the message says of which model."""


class MissingExtra(AuditError):
    """An optional dependency is not installed; the message names the pip command."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed; run: pip install 'undertow[{extra}]'")


class StoreError(AuditError):
    """The run folder cannot be read or written; what was finished is kept."""


class WorkerDied(AuditError):
    """A worker process ended before its work did; what was finished is kept."""


class TrainingFailed(AuditError):
    """A user's own training raised; the message says which one, the cause or a note holds its traceback."""


class UnsafeCheckpoint(AuditError):
    """A checkpoint whose scan is not safe; the message names the first reason."""


class GateUndecided(AuditError):
    """A --fail-if condition cannot be decided with the data at hand; unknown is never a pass."""


def setting(default: Any, about: str) -> Any:
    """A dataclass field that explains itself: `undertow init-config` prints `about` beside it."""
    return field(default=default, metadata={"about": about})


@dataclass(frozen=True, eq=False)
class Examples:
    """Records and their labels: one for each record, or (texts, next-token prediction) one for each token."""

    x: Array  # (N, ...) numbers; texts: (N, L) int token ids
    y: Array  # (N,) int, 0..classes-1; or (N, L) int, the next token, IGNORED where there is none
    name: str

    def __post_init__(self) -> None:
        if len(self.x) == 0:
            raise BadInput(f"{self.name}: no examples")
        shapes = [self.x.shape[:1]] + [self.x.shape] * self.of_tokens
        if self.y.shape not in shapes or self.y.dtype.kind not in "iu":
            found = f"{self.y.dtype} {self.y.shape}"
            raise BadInput(f"{self.name}: labels must be integers of shape ({len(self.x)},), got {found}")
        wrong = (self.y < 0) & ((self.y != IGNORED) | (not self.of_tokens))
        if wrong.any():
            row = int(np.argwhere(wrong)[0][0])
            raise BadInput(f"{self.name}: label {int(self.y[wrong][0])} at row {row} is negative")

    @property
    def of_tokens(self) -> bool:
        """Whether each token has a label of its own (next-token prediction)."""
        return self.y.ndim == 2 and self.x.ndim == 2 and self.x.dtype.kind in "iu"

    def __len__(self) -> int:
        return len(self.x)

    def take(self, rows: Array) -> "Examples":
        """The examples at `rows`, in that order."""
        return Examples(self.x[rows], self.y[rows], self.name)


@dataclass(frozen=True, eq=False)
class Signals:
    """What the adversary saw of the models it may learn from, and the truth about them."""

    values: Array  # (M, Q, ...)
    member: Array  # (M, Q) bool, True where the point was trained on
    labels: Array | None = None  # (Q,) int, the points' pretraining labels, where known

    def __post_init__(self) -> None:
        if self.labels is not None and self.labels.shape != self.member.shape[1:]:
            raise BadInput(f"labels must be (Q,) = {self.member.shape[1:]}, got {self.labels.shape}")
        if self.member.dtype != bool or self.values.shape[:2] != self.member.shape:
            raise BadInput(
                f"member must be bool (M, Q) = {self.values.shape[:2]}, got {self.member.dtype} {self.member.shape}"
            )


@dataclass(frozen=True, eq=False)
class Evidence:
    """Everything an adversary may be given in one audit; what is absent is None.

    The optional fields are the keys of a signals file (`undertow score`).
    """

    member: Array  # (M, Q) bool
    values: Array | None = None  # (M, Q) one signal, higher = member, used as it is
    logits: Array | None = None  # (M, Q, A, C) outputs of the audited models, per view
    labels: Array | None = None  # (Q,) int, class of each point among the C of `logits`
    pretrained_logits: Array | None = None  # (M, Q, A, K) outputs of the pretrained models (not realistic access)
    pretrained_labels: Array | None = None  # (Q,) int, class among those K
    pretrained_values: Array | None = None  # (M, Q) one signal of the pretrained models instead, higher = member
    features: Array | None = None  # (Q, D) the records themselves, for the blind baseline
    groups: Array | None = None  # (Q,) int, records of one number belong together (one person)

    def __post_init__(self) -> None:
        if self.member.dtype != bool or self.member.ndim != 2:
            raise BadInput(f"member must be bool (M, N), got {self.member.dtype} {self.member.shape}")


@dataclass(frozen=True, eq=False)
class Scores:
    """One attack's guess for every (target model, challenge point), and the truth; higher = member."""

    attack: str
    values: Array  # (T, Q) float, finite; 0 where there is no score
    member: Array  # (T, Q) bool
    group: str | None = None  # e.g. "no-pretraining" for a control; poisoning: the arm
    points: str | None = None  # poisoning: "targets" | "others", where only those were scored
    recipe: str | None = None  # poisoning: as in Measurement
    view: str | None = None
    ids: tuple[str, ...] | None = None  # names of these Q points; None: those of the result
    in_turn: bool = False  # every model is a target and, for the others, a shadow: its peculiarity enters twice
    groups: Array | None = None  # (Q,) int, points of one number belong together (one person); None: each is its own
    scored: Array | None = None  # (T, Q) bool, the pairs that have a score; None: all

    @property
    def inside(self) -> Array:
        """The scored pairs that are members, (T, Q) bool."""
        return self.member if self.scored is None else self.member & self.scored

    @property
    def outside(self) -> Array:
        """The scored pairs that are not, (T, Q) bool."""
        return ~self.member if self.scored is None else ~self.member & self.scored

    def pairs(self) -> tuple[Array, Array]:
        """Scores and membership of all scored pairs, pooled, (n,) each."""
        kept = slice(None) if self.scored is None else self.scored.ravel()
        return self.values.ravel()[kept], self.member.ravel()[kept]

    def __post_init__(self) -> None:
        if self.scored is not None and (self.scored.shape != self.values.shape or self.scored.dtype != bool):
            raise BadInput(f"{self.attack}: scored must be bool {self.values.shape}, got {self.scored.shape}")
        if self.groups is not None and self.groups.shape != self.values.shape[-1:]:
            raise BadInput(f"{self.attack}: groups {self.groups.shape} for scores of shape {self.values.shape}")
        if self.ids is not None and len(self.ids) != self.values.shape[-1]:
            raise BadInput(f"{self.attack}: {len(self.ids)} ids for scores of shape {self.values.shape}")
        if self.values.shape != self.member.shape or self.values.ndim != 2 or self.member.dtype != bool:
            raise BadInput(f"{self.attack}: scores {self.values.shape} and membership {self.member.shape} differ")
        bad = np.argwhere(~np.isfinite(self.values))
        if len(bad):
            t, q = bad[0]
            raise BadInput(f"{self.attack}: score of target {t}, point {q} is {self.values[t, q]}")


@dataclass(frozen=True)
class Measurement:
    """A number with its interval (95 %), the number of units counted, the unit, and how much that is worth.

    `unit` is what was drawn at random: "models" where each audited model has a membership draw of its own, "points"
    where the file holds one draw only (one model, or the same split again and again).
    """

    attack: str
    metric: str
    # "auc" | "balanced_accuracy" | "tpr" | "auc_difference" | "tpr_difference" | "accuracy" | "heldout_loss"
    # DP: "epsilon_claimed" | "epsilon_ceiling" (what this access could ever show) | "epsilon_point" | "epsilon_lower"
    value: float | None
    low: float | None
    high: float | None
    n: int
    unit: str  # whose membership was drawn: "models" or "points"
    fpr: float | None = None  # fraction: 0.01 is 1 %
    group: str | None = None
    points: str | None = None  # poisoning: "targets" | "others", the challenge points the row counts
    recipe: str | None = None  # poisoning: how the audited models were finetuned
    view: str | None = None  # poisoning: what the attacker sees of them
    when: str | None = None  # utility: "before" | "after" finetuning
    at: float | None = None  # a sweep: the value of what is swept
    seed: int | str | None = None  # of the experiment the row is of, or "mean": over several
    epsilon: float | None = None  # claimed by the private finetuning of the audited models
    delta: float | None = None  # DP: that goes with the epsilon
    bound: str | None = None  # epsilon_lower: the name of the bound; epsilon_claimed: of the accountant
    assumes: str | None = None  # epsilon_lower: what the bound needs to hold: "none" | "gdp" | "claimed-pld" | ...
    confidence: float | None = None  # epsilon_lower: that the true epsilon is at least the value; 0.95 is 95 %
    headline: bool | None = None  # epsilon_lower: True on the one row whose bound was fixed before the runs
    members: int | None = None  # pooled (model, point) pairs that are members
    non_members: int | None = None
    reason: str | None = None  # why value is None
    warning: str | None = None
    error: float | None = None  # standard error of the value, on its own scale
    df: float | None = None  # degrees of freedom of that error (Satterthwaite)
    effective: float | None = None  # independent (model, record) pairs that would give this error (Kish)
    choices: int | None = None  # of how many attacks this one was picked; its interval allows for the choice
    chance: float | None = None  # what guessing gives, where the design moves it (AUC: not .5)

    @property
    def label(self) -> str:
        """The metric as people write it, FPR in percent.

        >>> Measurement("lira", "tpr", 0.1, 0.0, 0.2, 16, "models", fpr=0.001).label
        'TPR@0.1%'
        """
        names = {
            "auc": "AUC",
            "balanced_accuracy": "balanced accuracy",
            "auc_difference": "AUC, difference",
            "heldout_loss": "held-out loss",
            "rouge_l": "ROUGE-L",
            "ssim": "SSIM",
            "psnr": "PSNR",
            "token_accuracy": "token accuracy",
            "similar_unique": "distinct, by similarity",
            "identified_blind": "identified by the prior alone",
            "epsilon_claimed": "epsilon, claimed",
            "epsilon_ceiling": "epsilon, most this access can show",
            "epsilon_point": "epsilon, point estimate",
            "epsilon_lower": "epsilon, lower bound",
        }
        if self.fpr is not None:
            return f"TPR@{self.fpr * 100:g}%" + ", difference" * (self.metric == "tpr_difference")
        return names.get(self.metric, self.metric)


@dataclass(frozen=True, eq=False)
class AuditResult:
    """One audit, complete: what `result.json`, `scores.npz` and the report are made of."""

    audit: str  # "mia" | "tmi" | "poisoning" | "datatrap" | "dp" | "score"
    config: Mapping[str, Any]
    seed: int
    environment: Mapping[str, Any]
    data: Mapping[str, Any]  # name, sizes, sha256, embedded
    measurements: tuple[Measurement, ...]
    controls: tuple[Measurement, ...] = ()
    timing: Mapping[str, float] = field(default_factory=dict)  # seconds per stage
    utility: Mapping[str, float] = field(default_factory=dict)  # what the audited models are worth
    warnings: tuple[str, ...] = ()
    verdict: str | None = None  # on a given checkpoint: "safe" | "suspicious" | "unknown"
    evidence: tuple[Mapping[str, Any], ...] = ()  # what the verdict rests on; each has test, found, explanation
    scores: tuple[Scores, ...] = ()  # per-record: kept beside result.json, never in it
    ids: tuple[str, ...] = ()  # names of the Q challenge points
    design: Mapping[str, Any] = field(default_factory=dict)  # how membership was dealt: audits.membership.reading
    leak: Mapping[str, Any] | None = None  # the test behind "Leak shown": audits.membership.reading.leak_test
    not_run: tuple[Mapping[str, str], ...] = ()  # attacks that were not run: attack, reason, fix
    left_out: tuple[Mapping[str, Any], ...] = ()  # records that an attack could not use: attack, records, of, reason

    @property
    def targets(self) -> int:
        """Poisoning: how many of the challenge points, the first ones, are targets; 0: not known."""
        return int(self.data.get("sizes", {}).get("targets", 0))

    def find(
        self,
        attack: str,
        metric: str,
        fpr: float | None = None,
        group: str | None = None,
        *,
        points: str | None = None,
        recipe: str | None = None,
        view: str | None = None,
        when: str | None = None,
        at: float | None = None,
        seed: int | str | None = None,
    ) -> Measurement:
        """The one measurement so named; of `points`, `recipe`, `view`, `when`, `seed`, what is None is not asked for.

        KeyError if there is none, or if those that are not asked for leave a choice.
        """
        every = {"points": points, "recipe": recipe, "view": view, "when": when, "seed": seed}
        asked = {key: value for key, value in every.items() if value is not None}
        found = [
            m
            for m in (*self.measurements, *self.controls)
            if (m.attack, m.metric, m.fpr, m.group, m.at) == (attack, metric, fpr, group, at)
            and all(getattr(m, key) == value for key, value in asked.items())
        ]
        if len(found) != 1:
            many = f"{len(found)} measurements are so named; " if found else ""
            raise KeyError(f"{many}{attack}, {metric}, fpr {fpr}, group {group}, at {at}, {asked}")
        return found[0]


@dataclass(frozen=True, eq=False)
class Slot:
    """One model of the game: who it is, what it was dealt, and the seed its randomness descends from."""

    role: str  # "shadow" | "victim" | "base"
    index: int
    seed: int
    member: Array | None  # (N,) bool over the secret pool; None for a model that has no secret


class Store(Protocol):
    """Content-addressed and atomic: an entry is there whole, or not at all."""

    def has(self, key: str) -> bool: ...
    def get(self, key: str) -> Params: ...
    def put(self, key: str, arrays: Mapping[str, Array]) -> None: ...
    def get_note(self, key: str) -> dict[str, Any] | None: ...
    def put_note(self, key: str, note: Mapping[str, Any]) -> None: ...


class Stage(Protocol):
    """One link of the chain: data, not a closure, so that it hashes (resume) and travels (processes, Ray).

    A frozen dataclass whose fields decide its result; `version` is raised when its code changes meaning. Its
    `libraries`, where it has them, are the packages whose code decides its result besides NumPy and torch; those of its
    fields count as well. Their versions are part of every key.
    """

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def chunk(self) -> int: ...
    def __call__(self, slots: Sequence[Slot], before: Sequence[Params], store: Store) -> list[Params]:
        """The parameters (or outputs) of the models in `slots`, made from those `before`, in that order."""


class Executor(Protocol):
    """Runs jobs somewhere; results in the order of the jobs."""

    def map(self, work: Callable[[J], R], jobs: Iterable[J]) -> Iterator[R]: ...


class Progress(Protocol):
    """Told what is going on; libraries do not print."""

    def __call__(self, what: str, done: int, total: int) -> None: ...
