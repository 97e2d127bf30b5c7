"""What the data-trap audit can be told, as frozen values; every field carries its own explanation."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from undertow.audits.settings import EngineSettings, section
from undertow.training.schedule import Fit
from undertow.types import ConfigError, setting


@dataclass(frozen=True)
class TrapData:
    """Three parts of one kind of records."""

    source: str = setting("digits", "digits | cifar10, or an .npz with x (N, ...) in 0..1 and y (N,)")
    folder: str = setting("", "where named datasets that are not embedded lie (--data)")
    auxiliary: int = setting(500, "records the attacker has: it pretrains and sets thresholds on them")
    victim: int = setting(1000, "records the victim finetunes on")
    test: int = setting(1000, "records that measure accuracy, at most")
    size: int = setting(0, "images: side in pixels they are brought to; 0: their own")

    def __post_init__(self) -> None:
        if min(self.auxiliary, self.victim, self.test) < 1 or self.size < 0:
            raise ConfigError("data.auxiliary, victim and test are at least 1, size at least 0")


@dataclass(frozen=True)
class TrapModel:
    """The checkpoint that is trapped."""

    kind: Literal["mlp", "cnn"] = setting("mlp", "mlp | cnn (its dense layers are trapped)")
    hidden: tuple[int, ...] = setting((512, 256), "widths of the dense layers below the head; at least two")
    width: int = setting(32, "cnn: channels of the first layer")
    depth: int = setting(3, "cnn: layers")

    def __post_init__(self) -> None:
        if len(self.hidden) < 2 or min((*self.hidden, self.width, self.depth)) < 1:
            raise ConfigError(f"model.hidden = {self.hidden}; traps need two dense layers below the head")


@dataclass(frozen=True)
class Traps:
    """How they are planted."""

    count: int = setting(64, "traps")
    expected: float = setting(0.0, "finetuning records that fire a trap, on average; 0: planned from the numbers")
    nested: float = setting(0.5, "of those, the share that fires the trap's upper unit too; 0: traps of one unit")
    slope: float = setting(0.0, "by which the channel to the head grows with what fires a trap; 0: planned, and rows")
    rows: float = setting(4.0, "length of a trap's weights; the longer, the less one step moves it")

    def __post_init__(self) -> None:
        if self.count < 1 or self.expected < 0 or not 0 <= self.nested < 1 or self.slope < 0 or self.rows <= 0:
            raise ConfigError(
                "traps.count is at least 1, expected not negative, nested in [0, 1), slope not negative, rows positive"
            )


@dataclass(frozen=True)
class DataTrapConfig:
    """Pretrain, plant, finetune with a fresh head, read; and a clean twin with the same seeds and batches."""

    seed: int = setting(0, "everything random descends from it")
    seeds: int = setting(1, "experiments, with seeds from `seed` on; every one is reported")
    data: TrapData = section(TrapData(), "which records")
    model: TrapModel = section(TrapModel(), "the checkpoint")
    pretrain: Fit = section(Fit(), "how it is pretrained")
    traps: Traps = section(Traps(), "how it is trapped")
    strategy: Literal["full", "last-k"] = setting("full", "what the victim trains: full | last-k (the dense layers)")
    finetune: Fit = section(Fit(), "how the victim finetunes it")
    engine: EngineSettings = section(EngineSettings(), "speed, not meaning")

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise ConfigError(f"seeds = {self.seeds}; at least 1 is needed")


DIGITS = DataTrapConfig(
    pretrain=Fit(epochs=60, batch=64, lr=0.2, momentum=0.0, decay="constant"),
    traps=Traps(slope=1500.0, rows=4.0),
    finetune=Fit(epochs=5, batch=32, lr=0.05, momentum=0.0, decay="constant"),
    engine=EngineSettings(name="sequential"),
)
CIFAR = replace(
    DIGITS,
    data=TrapData(source="cifar10", auxiliary=4000, victim=2000),
    pretrain=Fit(epochs=10, batch=64, lr=0.05, momentum=0.9),
    traps=Traps(),
    finetune=replace(DIGITS.finetune, lr=0.02),
)
PRESETS: Mapping[str, tuple[str, DataTrapConfig]] = {
    "digits-mlp": ("embedded scanned digits, a perceptron, plain SGD (the default)", DIGITS),
    "digits-momentum": (
        "the same, the victim uses momentum and weight decay",
        replace(DIGITS, finetune=replace(DIGITS.finetune, lr=0.02, momentum=0.9, weight_decay=1e-3)),
    ),
    "digits-adamw": (
        "the same, the victim uses AdamW",
        replace(
            DIGITS,
            traps=replace(DIGITS.traps, rows=0.3),
            finetune=replace(DIGITS.finetune, optimizer="adamw", lr=1e-3, momentum=0.9, weight_decay=0.01),
        ),
    ),
    "cifar10-mlp": ("CIFAR-10 images, a perceptron (--data)", CIFAR),
    "cifar10-cnn": ("CIFAR-10 images, traps on the frozen features of a small CNN (--data)", replace(
        CIFAR, model=TrapModel(kind="cnn"), strategy="last-k",
        pretrain=Fit(epochs=10, batch=64, optimizer="adamw", lr=2e-3),
    )),
}  # fmt: skip


def preset(name: str) -> DataTrapConfig:
    """The named preset; ConfigError naming the nearest."""
    from undertow.audits.poisoning_presets import check_named

    check_named("preset", [name], PRESETS, "--list-presets")
    return PRESETS[name][1]


def listing() -> list[tuple[str, str]]:
    """The presets: name, and what it is in one line."""
    return [(name, about) for name, (about, _) in PRESETS.items()]
