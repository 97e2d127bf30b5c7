"""What the data-trap audit can be told, as frozen values; every field carries its own explanation."""

from dataclasses import dataclass
from typing import Literal

from undertow.audits.settings import EngineSettings, section
from undertow.training.schedule import Fit
from undertow.types import ConfigError, setting

TRANSFORMERS = ("vit", "bert", "gpt2")


@dataclass(frozen=True)
class TrapData:
    """The attacker's, the victim's and the test records; they are disjoint."""

    source: str = setting(
        "digits",
        "digits | cifar10 | caltech101 | trec | banking77, an .npz (x, y), a .jsonl, .csv, ... with text and label",
    )
    attacker: str = setting("", "where the attacker's records come from: cifar100; empty: from source too")
    field: str = setting("text", "texts: the field, or column, that holds them")
    folder: str = setting("", "where named datasets that are not embedded lie (--data)")
    auxiliary: int = setting(500, "records the attacker has: it pretrains and sets thresholds on them")
    victim: int = setting(1000, "records the victim finetunes on")
    test: int = setting(1000, "records that measure accuracy, at most")
    size: int = setting(0, "images: side in pixels they are brought to; 0: their own")
    tokens: int = setting(20, "texts: tokens that are kept of each")

    def __post_init__(self) -> None:
        if min(self.auxiliary, self.victim, self.test) < 1 or self.size < 0:
            raise ConfigError("data.auxiliary, victim and test are at least 1, size at least 0")
        if self.tokens < 3 or self.attacker not in ("", "cifar100"):
            raise ConfigError("data.tokens is at least 3, data.attacker is '' or 'cifar100'")


@dataclass(frozen=True)
class TrapModel:
    """The checkpoint that is trapped."""

    kind: Literal["mlp", "cnn", "vit", "bert", "gpt2"] = setting(
        "mlp", "mlp | cnn (its dense layers are trapped) | vit | bert | gpt2"
    )
    hidden: tuple[int, ...] = setting((512, 256), "mlp, cnn: widths of the dense layers below the head; at least two")
    width: int = setting(32, "cnn: channels of the first layer; vit, gpt2: width of the residual stream")
    depth: int = setting(3, "cnn: layers; vit, gpt2: blocks")
    patch: int = setting(8, "vit: side of a patch in pixels")
    checkpoint: str = setting(
        "", "vit, bert, gpt2: a folder of transformers with safetensors; vit, gpt2: empty pretrains one"
    )

    def __post_init__(self) -> None:
        if len(self.hidden) < 2 or min((*self.hidden, self.width, self.depth, self.patch)) < 1:
            raise ConfigError(f"model.hidden = {self.hidden}; traps need two dense layers below the head")
        if self.checkpoint and self.kind not in TRANSFORMERS:
            raise ConfigError(f"model.checkpoint is of a vit, bert or gpt2; model.kind = {self.kind!r} is made here")


@dataclass(frozen=True)
class Traps:
    """How they are planted."""

    count: int = setting(64, "traps")
    expected: float = setting(0.0, "finetuning records that fire a trap, on average; 0: planned from the numbers")
    nested: float = setting(0.5, "mlp, cnn: of those, the share that fires the trap's upper unit too; 0: one unit")
    slope: float = setting(0.0, "mlp, cnn: by which the channel grows with what fires a trap; 0: planned, and rows")
    rows: float = setting(4.0, "mlp, cnn: length of a trap's weights; the longer, the less one step moves it")
    layer: int = setting(0, "mlp, cnn: the dense layer that is trapped; 0 is the first, 1 the one above it")
    whole: bool = setting(False, "vit: a trap keeps a whole image, not one patch")
    side: int = setting(8, "vit: pixels a side that are kept of a patch")
    key: int = setting(16, "vit: numbers that tell images apart")

    def __post_init__(self) -> None:
        if self.count < 1 or self.expected < 0 or not 0 <= self.nested < 1 or self.slope < 0 or self.rows <= 0:
            raise ConfigError(
                "traps.count is at least 1, expected not negative, nested in [0, 1), slope not negative, rows positive"
            )
        if self.layer < 0:
            raise ConfigError(f"traps.layer = {self.layer}; the first is 0")
        if min(self.side, self.key) < 1:
            raise ConfigError("traps.side and traps.key are at least 1")


@dataclass(frozen=True)
class DataTrapConfig:
    """Pretrain, plant, finetune with a fresh head, read; and a clean twin with the same seeds and batches."""

    seed: int = setting(0, "everything random descends from it")
    seeds: int = setting(1, "experiments, with seeds from `seed` on; every one is reported")
    data: TrapData = section(TrapData(), "which records")
    model: TrapModel = section(TrapModel(), "the checkpoint")
    pretrain: Fit = section(Fit(), "how it is pretrained")
    traps: Traps = section(Traps(), "how it is trapped")
    strategy: Literal["full", "last-k", "lora", "linear"] = setting(
        "full",
        "what the victim trains: full | last-k (the dense layers from traps.layer on) | lora | linear (the head)",
    )
    lora_rank: int = setting(4, "rank of the LoRA updates")
    finetune: Fit = section(Fit(), "how the victim finetunes it")
    keep_head: bool = setting(False, "mlp, cnn: the victim keeps the checkpoint's head, which the attacker crafts too")
    head_rate: float = setting(1.0, "the victim's step size of the fresh head, in times finetune.lr")
    clip: float = setting(0.0, "the victim shortens longer gradients to this; 0: it does not")
    engine: EngineSettings = section(EngineSettings(), "speed, not meaning")

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise ConfigError(f"seeds = {self.seeds}; at least 1 is needed")
        if self.lora_rank < 1:
            raise ConfigError(f"lora_rank = {self.lora_rank}; at least 1 is needed")
        if self.head_rate <= 0 or self.clip < 0:
            raise ConfigError("head_rate is positive, clip not negative")
        if self.traps.layer and (self.strategy == "lora" or self.model.kind in TRANSFORMERS):
            raise ConfigError("traps.layer is of an mlp or a cnn whose layers are trained; leave it at 0 here")
        if self.keep_head and (self.strategy == "lora" or self.model.kind not in ("mlp", "cnn")):
            raise ConfigError("keep_head is of an mlp or a cnn that is trained without LoRA; leave it false here")
        if self.strategy == "last-k" and self.model.kind in TRANSFORMERS:
            raise ConfigError("strategy = 'last-k' is of an mlp or a cnn; a vit, bert or gpt2 is finetuned in full")
