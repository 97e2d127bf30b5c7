"""What an audit that trains models can be told: the configuration file, as frozen values.

Every field carries its own explanation; `undertow init-config` prints them.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from undertow.training.privacy import Privacy
from undertow.training.schedule import Fit
from undertow.types import ConfigError, setting

Strategy = Literal["linear", "last-k", "full", "lora"]


def section(default: Any, about: str) -> Any:
    """A dataclass field that is a table of its own."""
    return field(default_factory=lambda: default, metadata={"about": about})


@dataclass(frozen=True)
class DataSettings:
    """Which records, and how many."""

    source: str = setting("digits", "'digits' (embedded), a folder with your records, or (pairs) 'hub'")
    pair: str = setting("", "tmi: a pair of public datasets found in source, e.g. 'cifar100-cifar10'; '': none")
    classes: int = setting(0, "pairs: pretraining classes that are used; 0: all")
    size: int = setting(0, "pairs of images: side in pixels they are brought to; 0: the pair's own, 32 or 28")
    pool: int = setting(0, "records whose membership is the secret; even; 0: all there are")
    other: int = setting(0, "records of the stage that is not audited; 0: all there are")
    draw: int = setting(0, "tmi: finetuning rows each model draws from those; 0: all")
    relation: Literal["same", "subset", "disjoint"] = setting(
        "subset", "tmi: attacker's and victims' finetuning rows: same | subset (draws of one pool) | disjoint"
    )
    context: int = setting(64, "texts: tokens that are kept of each")
    vocabulary: int = setting(1024, "texts: tokens that are told apart; 258 are the single bytes, a pad and <unk>")
    label_noise: float = setting(0.0, "share of the audited pool given a random label (makes small models memorise)")
    same_labels: bool = setting(False, "tmi: pretraining and finetuning classes are the same ones")
    layout: Literal["auto", "NCHW", "NHWC"] = setting("auto", "images: where the channels are; auto: found, or asked")
    field: str = setting("text", "texts: the field, or column, that holds them")
    change_records: bool = setting(
        False, "your own records: allow label_noise, pool, other and draw, which change records or leave some out"
    )
    drop_duplicates: bool = setting(False, "remove records that occur twice, instead of refusing them")

    def __post_init__(self) -> None:
        for name in ("classes", "size", "pool", "other", "draw"):
            if getattr(self, name) < 0:
                raise ConfigError(f"data.{name} = {getattr(self, name)}; it cannot be negative")
        if self.context < 8 or self.vocabulary < 258:
            raise ConfigError(
                f"data.context = {self.context}, vocabulary = {self.vocabulary}; at least 8 and 258 are needed"
            )
        if not 0 <= self.label_noise <= 1:
            raise ConfigError(f"data.label_noise = {self.label_noise}; it is a share, 0 to 1")


@dataclass(frozen=True)
class ModelSettings:
    """What is trained."""

    kind: str = setting(
        "mlp", "mlp | cnn | resnet (images) | transformer (text) | huggingface (a config.json) | one of a plugin"
    )
    hidden: tuple[int, ...] = setting((128, 128), "widths of the perceptron's hidden layers")
    activation: Literal["relu", "tanh"] = setting("relu", "relu | tanh")
    width: int = setting(32, "cnn, resnet: channels of the first stage; transformer: size of the embedding")
    depth: int = setting(3, "cnn: convolutions; resnet: 8, 14, 20, ... (basic) or 18, 34; transformer: blocks")
    norm: Literal["group", "batch"] = setting("group", "cnn, resnet: group | batch normalisation")
    stride: int = setting(1, "cnn: step of the first convolution; 2 is four times cheaper")
    checkpoint: str = setting("", "huggingface: folder or hub id with the config.json of a classifier")
    factory: str = setting("", "your own model instead: 'package.module:function', called as f(shape, classes)")
    head: str = setting("", "factory: the layer that finetuning replaces, as named_modules() names it; '': found")

    def __post_init__(self) -> None:
        if any(width < 1 for width in self.hidden):
            raise ConfigError(f"model.hidden = {list(self.hidden)}; every width is at least 1")
        for name in ("width", "depth", "stride"):
            if getattr(self, name) < 1:
                raise ConfigError(f"model.{name} = {getattr(self, name)}; at least 1 is needed")
        if self.head and not self.factory:
            raise ConfigError(
                f"model.head = {self.head!r} goes with model.factory; the heads of other models are known"
            )
        if (self.kind == "huggingface") != bool(self.checkpoint):
            raise ConfigError("model.kind = 'huggingface' and model.checkpoint belong together; set both or neither")


@dataclass(frozen=True)
class EngineSettings:
    """How the models are trained: speed, not meaning; decided once and kept for a resumed run."""

    name: Literal["auto", "fat_gemm", "fused_mlp", "grouped_conv", "sequential"] = setting(
        "auto", "auto: a short timed probe chooses"
    )
    chunk: int = setting(0, "models trained together; 0: what fits in cache")
    dtype: Literal["float32", "float64", "bfloat16"] = setting(
        "float32", "float32 | float64 | bfloat16 (products only; weights stay float32)"
    )
    threads: int = setting(1, "threads per process; more processes (--workers) pay better")
    device: Literal["auto", "cpu", "cuda"] = setting("auto", "auto: the GPU where there is one")

    def __post_init__(self) -> None:
        if self.chunk < 0 or self.threads < 1:
            raise ConfigError(f"engine.chunk = {self.chunk}, engine.threads = {self.threads}; too small")


@dataclass(frozen=True)
class LeakageConfig:
    """One membership audit of the chain pretrain > finetune."""

    seed: int = setting(0, "everything random descends from it")
    shadows: int = setting(64, "models the attacker trains; even; more: stronger attacks, more time")
    victims: int = setting(16, "held-out models that are attacked; intervals are over these")
    challenge: int = setting(0, "records of the pool that are attacked; 0: all")
    views: int = setting(8, "slightly changed copies of a record that each model is asked about")
    view_jitter: float = setting(0.05, "Gaussian noise of those copies (the first is clean)")
    view_shift: int = setting(0, "images: those copies are moved by up to so many pixels; texts: end so much earlier")
    view_flip: bool = setting(False, "images: half of those copies are mirrored")
    strategy: Strategy = setting("linear", "finetuning: linear (head) | last-k | full | lora")
    victim_strategy: Literal["", "linear", "last-k", "full", "lora"] = setting(
        "", "tmi: how victims are finetuned where the attacker guesses wrong; '': as the shadows"
    )
    lora_rank: int = setting(4, "rank of the LoRA updates")
    last_layers: int = setting(2, "layers that last-k trains, the head included")
    attacks: tuple[str, ...] = setting((), "names of the attacks; empty: all that apply")
    control: bool = setting(True, "tmi: also play the game without pretraining; attacks must fall to chance")
    data: DataSettings = section(DataSettings(), "which records")
    model: ModelSettings = section(ModelSettings(), "what is trained")
    pretrain: Fit = section(Fit(), "how the base is trained; epochs = 0: not at all")
    finetune: Fit = section(Fit(epochs=20, lr=0.05, decay="constant"), "how it is finetuned")
    privacy: Privacy = section(Privacy(), "DP-SGD finetuning, of shadows and victims alike")
    engine: EngineSettings = section(EngineSettings(), "speed, not meaning")

    def __post_init__(self) -> None:
        if self.shadows < 4 or self.shadows % 2:
            raise ConfigError(f"shadows = {self.shadows}; it must be even and at least 4 (complementary pairs)")
        if self.victims < 1:
            raise ConfigError(f"victims = {self.victims}; at least 1 is needed")
        if self.views < 1 or self.lora_rank < 1:
            raise ConfigError("views and lora_rank are at least 1")
        if min(self.view_jitter, self.view_shift, self.challenge, self.seed) < 0:
            raise ConfigError("view_jitter, view_shift, challenge and seed are not negative")
        self._check_finetuning()

    def _check_finetuning(self) -> None:
        fit, strategies = self.finetune, {self.strategy, self.victim_strategy or self.strategy}
        if "linear" in strategies and (fit.shift or fit.flip):
            raise ConfigError("finetune.shift and flip move images; strategy = 'linear' trains on cached features")
        if not self.privacy.epsilon:
            return
        if fit.jitter or fit.shift or fit.flip:
            raise ConfigError("privacy.epsilon needs finetune.jitter = 0, shift = 0 and flip = false")
        if self.privacy.trainer == "closed-form" and strategies != {"linear"}:
            raise ConfigError(
                "privacy.trainer = 'closed-form' trains heads only: shadows and victims need strategy = 'linear'; "
                "for other strategies set privacy.trainer = 'opacus'"
            )
