"""What comes of an audit: its numbers, and the result that holds them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from undertow.nouns.data import Scores
from undertow.nouns.metric import DIFFERENCE, metric_of

SCHEMA = "undertow.result/2"  # of result.json; the number rises when a reader of the old one would misread
READABLE = (SCHEMA, "undertow.result/1")  # /1: without the table of metrics


@dataclass(frozen=True)
class Measurement:
    """A number with its interval (95 %), the number of units counted, the unit, and how much that is worth.

    `unit` is what was drawn at random: "models" where each audited model has a membership draw of its own, "points"
    where the file holds one draw only (one model, or the same split again and again).
    """

    attack: str
    metric: str  # the name of a Metric (nouns/metric.py says what each is, its unit and direction)
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
        if self.fpr is not None:
            return f"TPR@{self.fpr * 100:g}%" + ", difference" * self.metric.endswith(DIFFERENCE)
        return metric_of(self.metric).label


@dataclass(frozen=True, eq=False)
class AuditResult:
    """One audit, complete: what `result.json`, `scores.npz` and the report are made of."""

    audit: str  # "mia" | "tmi" | "poisoning" | "datatrap" | "dp" | "score" | "model" | "lm"
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
    validity: Mapping[str, Any] | None = None  # lm: distribution_shift_auc, low, high: told apart without the model

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
