"""What the DP audit can be told, as frozen values; every field carries its own explanation."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from undertow.audits.settings import EngineSettings, section
from undertow.metrics.epsilon import check_number, check_whole
from undertow.types import ConfigError, setting

ACCESSES = ("black-box", "weights", "iterates")
Headline = Literal[
    "auto", "clopper-pearson", "gdp", "gdp-accuracy", "claimed-pld", "claimed-pld-accuracy", "one-run", "one-run-gdp"
]


@dataclass(frozen=True)
class DpData:
    """The records that are finetuned on, and some that are not."""

    source: str = setting("digits", "Records: 'digits', 'cifar10', or an .npz with x (N, ...) in 0..1 and y (N,).")
    folder: str = setting("", "Folder of the named datasets that are not embedded (--data).")
    records: int = setting(200, "Number of records of the private finetuning, canaries not counted.")
    auxiliary: int = setting(
        500, "Number of records that the auditor has: for natural canaries, and to pretrain with init = 'pretrained'."
    )
    size: int = setting(0, "Images: side in pixels to which they are resized; 0 keeps their own size.")

    def __post_init__(self) -> None:
        if min(self.records, self.auxiliary) < 1 or self.size < 0:
            raise ConfigError("data.records and auxiliary are at least 1, size at least 0")


@dataclass(frozen=True)
class DpRecipe:
    """The private finetuning that is audited: DP-SGD without momentum, constant step size."""

    steps: int = setting(20, "Number of optimiser steps.")
    rate: float = setting(1.0, "Sampling rate q: share of the records in a step; 1 takes all of them in every step.")
    sampling: Literal["poisson", "shuffled"] = setting(
        "poisson", "Sampling of batches: 'poisson' (as the accountant assumes) or 'shuffled'."
    )
    lr: float = setting(0.2, "Learning rate, constant.")
    clip: float = setting(1.0, "Largest L2 norm of one record's gradient; longer gradients are clipped to it.")
    noise: float = setting(0.0, "Noise multiplier; 0 takes the least that meets epsilon by the PLD accountant.")

    def __post_init__(self) -> None:
        check_whole("recipe.steps", self.steps)
        check_number("recipe.rate", self.rate, 0, 1, "(]", "0.05")
        for name in ("lr", "clip"):
            check_number(f"recipe.{name}", getattr(self, name), 0, float("inf"))
        check_number("recipe.noise", self.noise, 0, float("inf"), "[)", "1 (0: the least that meets epsilon)")
        if self.sampling == "shuffled" and self.rate == 1:
            raise ConfigError("recipe.sampling = 'shuffled' needs rate < 1: at rate 1 every step sees every record")


@dataclass(frozen=True)
class DpConfig:
    """Train with a canary and without it, or once with many; bound epsilon; compare with the claim."""

    seed: int = setting(0, "Seed from which every random choice descends.")
    epsilon: float = setting(
        8.0, "Epsilon of the claimed (epsilon, delta); with recipe.noise = 0 training is calibrated to it."
    )
    delta: float = setting(1e-5, "Delta of the claimed (epsilon, delta).")
    access: Literal["black-box", "weights", "iterates"] = setting(
        "weights",
        "What the adversary sees: 'black-box' (outputs of the final model), 'weights' (the final model) or "
        "'iterates' (every step).",
    )
    canary: Literal["trap", "gradient", "mislabelled", "random"] = setting(
        "trap",
        "Inserted record: 'trap' (in a planted checkpoint), 'gradient' (crafted, no record), 'mislabelled' or "
        "'random' (ordinary).",
    )
    init: Literal["auto", "planted", "pretrained", "fresh"] = setting(
        "auto",
        "Initial checkpoint: 'planted', 'pretrained' (on the auxiliary records) or 'fresh'; 'auto' plants for traps "
        "only.",
    )
    runs: int = setting(
        1000, "Number of runs with the canary, and as many without; with one_run: number of runs that are pooled."
    )
    one_run: bool = setting(False, "Insert many canaries into each run, each by a coin of its own.")
    canaries: int = setting(400, "Number of canaries of each run, with one_run.")
    confidence: float = setting(0.95, "Confidence of the lower bounds, as a fraction.")
    bound: Literal[
        "auto",
        "clopper-pearson",
        "gdp",
        "gdp-accuracy",
        "claimed-pld",
        "claimed-pld-accuracy",
        "one-run",
        "one-run-gdp",
    ] = setting(
        "auto",
        "Bound of the headline, fixed before the runs; 'auto' is the tightest whose assumption is the claimed "
        "mechanism.",
    )
    hidden: tuple[int, ...] = setting((16,), "Widths of the dense layers below the head; empty trains a linear model.")
    data: DpData = section(DpData(), "which records")
    recipe: DpRecipe = section(DpRecipe(), "the private finetuning")
    engine: EngineSettings = section(EngineSettings(), "speed, not meaning")

    def __post_init__(self) -> None:
        self._check_claim()
        check_whole("runs", self.runs, 1 if self.one_run else 2)
        check_whole("canaries", self.canaries, 2)
        self._check_canary()

    def _check_claim(self) -> None:
        check_number("epsilon", self.epsilon, 0, float("inf"), "()", "8")
        check_number("delta", self.delta, 0, 1, "()", "1e-5")
        check_number("confidence", self.confidence, 0.5, 1, "[)", "0.95")

    def _check_canary(self) -> None:
        if self.canary == "gradient" and self.access == "black-box":
            raise ConfigError("canary = 'gradient' is no record a model could be asked about: use access 'weights'")
        if (self.canary == "trap") != (self.checkpoint == "planted"):
            raise ConfigError("init = 'planted' goes with canary = 'trap', and only with it")
        if self.canary == "trap" and len(self.hidden) != 1:
            raise ConfigError(f"hidden = {list(self.hidden)}: traps are planted in one hidden layer, such as [16]")
        if self.bound != "auto" and self.one_run != self.bound.startswith("one-run"):
            raise ConfigError(f"bound = {self.bound!r} does not go with one_run = {str(self.one_run).lower()}")
        if "gdp" in self.bound and self.recipe.rate < 1:
            raise ConfigError(f"bound = {self.bound!r} is of a Gaussian mechanism; at recipe.rate < 1 it is none")

    @property
    def checkpoint(self) -> str:
        """What `init` stands for."""
        return self.init if self.init != "auto" else "planted" if self.canary == "trap" else "fresh"

    @property
    def headline(self) -> str:
        """The name of the bound that is the headline.

        `auto`: where every step sees all records the claimed mechanism is exactly Gaussian; Poisson-subsampled it has
        the curve of its privacy loss distribution; of anything else nothing is assumed.
        """
        if self.bound != "auto":
            return self.bound
        if self.one_run:
            return "one-run-gdp" if self.recipe.rate == 1 else "one-run"
        if self.recipe.rate == 1:
            return "gdp-accuracy"
        return "claimed-pld-accuracy" if self.recipe.sampling == "poisson" else "clopper-pearson"


DIGITS = DpConfig()
SUBSAMPLED = DpRecipe(steps=200, rate=0.05)
PRESETS: Mapping[str, tuple[str, DpConfig]] = {
    "digits": ("embedded digits, full batches, a trap, 1,000 runs with and without it (the default)", DIGITS),
    "digits-one-run": (
        "400 trap canaries in each of ten runs",
        replace(DIGITS, one_run=True, runs=10),
    ),
    "digits-subsampled": (
        "Poisson batches of 5 %: what the final model can show is below the claim",
        replace(DIGITS, data=replace(DIGITS.data, records=400), recipe=SUBSAMPLED),
    ),
    "digits-iterates": (
        "the same, seen at every step",
        replace(DIGITS, access="iterates", data=replace(DIGITS.data, records=400), recipe=SUBSAMPLED),
    ),
    "digits-mislabelled": (
        "no hostile checkpoint: a record with a wrong label, 200 runs with and without it",
        replace(DIGITS, canary="mislabelled", runs=200),
    ),
    "cifar10": (
        "1,000 CIFAR-10 images, black-box, epsilon 10, 200 runs with and without the trap's record (--data)",
        replace(
            DIGITS, epsilon=10.0, access="black-box", runs=200, data=DpData(source="cifar10", records=1000),
        ),
    ),
}  # fmt: skip


def preset(name: str) -> DpConfig:
    """The named preset; ConfigError naming the nearest."""
    from undertow.registry import check_named

    check_named("preset", [name], PRESETS, "--list-presets")
    return PRESETS[name][1]


def listing() -> list[tuple[str, str]]:
    """The presets: name, and what it is in one line."""
    return [(name, about) for name, (about, _) in PRESETS.items()]
