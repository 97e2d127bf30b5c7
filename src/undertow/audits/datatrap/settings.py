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
        "Records: 'digits', 'cifar10', 'caltech101', 'trec', 'banking77', an .npz (x, y), or a .jsonl, .csv, ... of "
        "texts with labels.",
    )
    attacker: str = setting("", "Source of the attacker's records: 'cifar100'; empty takes them from `source`.")
    field: str = setting("text", "Texts: name of the field or column that holds the text.")
    folder: str = setting("", "Folder of the named datasets that are not embedded (--data).")
    auxiliary: int = setting(500, "Records that the attacker has: it pretrains and sets thresholds on them.")
    victim: int = setting(1000, "Records that the victim finetunes on.")
    test: int = setting(1000, "Largest number of records that measure accuracy.")
    size: int = setting(0, "Images: side in pixels to which they are resized; 0 keeps their own size.")
    tokens: int = setting(20, "Texts: number of tokens kept of each.")

    def __post_init__(self) -> None:
        if min(self.auxiliary, self.victim, self.test) < 1 or self.size < 0:
            raise ConfigError("data.auxiliary, victim and test are at least 1, size at least 0")
        if self.tokens < 3 or self.attacker not in ("", "cifar100"):
            raise ConfigError("data.tokens is at least 3, data.attacker is '' or 'cifar100'")


@dataclass(frozen=True)
class TrapModel:
    """The checkpoint that is trapped."""

    kind: Literal["mlp", "cnn", "vit", "bert", "gpt2"] = setting(
        "mlp", "Architecture: 'mlp', 'cnn' (its dense layers carry the traps), 'vit', 'bert' or 'gpt2'."
    )
    hidden: tuple[int, ...] = setting((512, 256), "mlp, cnn: widths of the dense layers below the head; at least two.")
    width: int = setting(32, "cnn: channels of the first layer; vit, gpt2: width of the residual stream.")
    depth: int = setting(3, "cnn: number of convolutions; vit, gpt2: number of blocks.")
    patch: int = setting(8, "vit: side of a patch in pixels.")
    checkpoint: str = setting(
        "", "vit, bert, gpt2: transformers folder with safetensors; empty pretrains a vit or gpt2 here."
    )

    def __post_init__(self) -> None:
        if len(self.hidden) < 2 or min((*self.hidden, self.width, self.depth, self.patch)) < 1:
            raise ConfigError(f"model.hidden = {self.hidden}; traps need two dense layers below the head")
        if self.checkpoint and self.kind not in TRANSFORMERS:
            raise ConfigError(f"model.checkpoint is of a vit, bert or gpt2; model.kind = {self.kind!r} is made here")


@dataclass(frozen=True)
class Traps:
    """How they are planted."""

    count: int = setting(64, "Number of traps.")
    expected: float = setting(
        0.0, "Expected number of finetuning records that fire a trap; 0 plans it from the record counts."
    )
    nested: float = setting(
        0.5, "mlp, cnn: share of those records that also fires the trap's upper unit; 0 uses one unit a trap."
    )
    slope: float = setting(0.0, "mlp, cnn: gain from trap activation to channel; 0 plans slope and rows from the data.")
    rows: float = setting(4.0, "mlp, cnn: L2 norm of a trap's weights; the longer, the less one step moves it.")
    layer: int = setting(0, "mlp, cnn: dense layer that carries the traps; 0 is the first.")
    whole: bool = setting(False, "vit: a trap stores a whole image instead of one patch.")
    side: int = setting(8, "vit: side in pixels of what is stored of a patch.")
    key: int = setting(16, "vit: number of features that tell images apart.")

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

    seed: int = setting(0, "Seed from which every random choice descends.")
    seeds: int = setting(1, "Number of experiments, with consecutive seeds from `seed` on; each one is reported.")
    data: TrapData = section(TrapData(), "which records")
    model: TrapModel = section(TrapModel(), "the checkpoint")
    pretrain: Fit = section(Fit(), "how it is pretrained")
    traps: Traps = section(Traps(), "how it is trapped")
    strategy: Literal["full", "last-k", "lora", "linear"] = setting(
        "full",
        "What the victim trains: 'full', 'last-k' (dense layers from traps.layer on), 'lora' or 'linear' (the head).",
    )
    lora_rank: int = setting(4, "Rank of the LoRA updates.")
    finetune: Fit = section(Fit(), "how the victim finetunes it")
    keep_head: bool = setting(
        False, "mlp, cnn: the victim keeps the checkpoint's head, which the attacker also crafts."
    )
    head_rate: float = setting(1.0, "Learning rate of the victim's fresh head, as a multiple of finetune.lr.")
    clip: float = setting(0.0, "Gradient norm to which the victim clips a batch; 0 does not clip.")
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
