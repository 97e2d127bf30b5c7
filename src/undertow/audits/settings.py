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

    source: str = setting("digits", "Records: 'digits' (embedded), a folder of yours, or 'hub' (with `pair`).")
    pair: str = setting(
        "", "tmi: pair of public datasets found in `source`, such as 'cifar100-cifar10'; empty uses your records."
    )
    classes: int = setting(0, "Pairs: number of pretraining classes; 0 uses all.")
    size: int = setting(
        0, "Pairs of images: side in pixels to which they are resized; 0 keeps the pair's own, 32 or 28."
    )
    pool: int = setting(0, "Number of records whose membership is the secret, even; 0 uses all.")
    other: int = setting(0, "Number of records of the stage that is not audited; 0 uses all.")
    draw: int = setting(0, "tmi: number of finetuning rows that each model draws from those; 0 uses all.")
    relation: Literal["same", "subset", "disjoint"] = setting(
        "subset", "tmi: finetuning rows of attacker and victims: 'same', 'subset' (draws of one pool) or 'disjoint'."
    )
    context: int = setting(64, "Texts: number of tokens kept of each.")
    vocabulary: int = setting(
        1024, "Texts: number of distinct tokens; 258 of them are the single bytes, a pad and <unk>."
    )
    label_noise: float = setting(
        0.0, "Share of the audited pool that gets a random label, which makes small models memorise."
    )
    same_labels: bool = setting(False, "tmi: pretraining and finetuning share their classes.")
    layout: Literal["auto", "NCHW", "NHWC"] = setting(
        "auto", "Images: position of the channels, 'NCHW' or 'NHWC'; 'auto' finds it, or asks."
    )
    field: str = setting("text", "Texts: name of the field or column that holds the text.")
    change_records: bool = setting(
        False, "Your own records: allow label_noise, pool, other and draw, which change records or leave some out."
    )
    drop_duplicates: bool = setting(False, "Remove records that occur twice instead of refusing them.")

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
        "mlp",
        "Architecture: 'mlp', 'cnn', 'resnet' (images), 'transformer' (texts), 'huggingface' (a config.json), or a "
        "plugin's.",
    )
    hidden: tuple[int, ...] = setting((128, 128), "mlp: widths of the hidden layers.")
    activation: Literal["relu", "tanh"] = setting("relu", "Activation: 'relu' or 'tanh'.")
    width: int = setting(32, "cnn, resnet: channels of the first stage; transformer: width of the embedding.")
    depth: int = setting(
        3, "cnn: number of convolutions; resnet: 8, 14, 20, ... (basic), 18 or 34; transformer: number of blocks."
    )
    norm: Literal["group", "batch"] = setting("group", "cnn, resnet: normalisation by 'group' or 'batch'.")
    stride: int = setting(1, "cnn: stride of the first convolution; 2 costs a quarter.")
    checkpoint: str = setting("", "huggingface: folder or hub id of a classifier's config.json.")
    factory: str = setting("", "Your own model instead: 'package.module:function', called as f(shape, classes).")
    head: str = setting(
        "", "factory: name, as in named_modules(), of the layer that finetuning replaces; empty finds it."
    )

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
        "auto", "Training engine; 'auto' chooses by a short timed probe."
    )
    chunk: int = setting(0, "Number of models trained together; 0 uses what fits in the cache.")
    dtype: Literal["float32", "float64", "bfloat16"] = setting(
        "float32", "Precision: 'float32', 'float64' or 'bfloat16' (products only; weights stay float32)."
    )
    threads: int = setting(1, "Threads per process; more processes (--workers) usually gain more.")
    device: Literal["auto", "cpu", "cuda"] = setting(
        "auto", "Device: 'cpu', 'cuda', or 'auto' for the GPU where there is one."
    )

    def __post_init__(self) -> None:
        if self.chunk < 0 or self.threads < 1:
            raise ConfigError(f"engine.chunk = {self.chunk}, engine.threads = {self.threads}; too small")


@dataclass(frozen=True)
class LeakageConfig:
    """One membership audit of the chain pretrain > finetune."""

    seed: int = setting(0, "Seed from which every random choice descends.")
    shadows: int = setting(
        64, "Number of models that the attacker trains, even; more of them make stronger attacks and take longer."
    )
    victims: int = setting(16, "Number of held-out models that are attacked; intervals are over these.")
    challenge: int = setting(0, "Number of the pool's records that are attacked; 0 attacks all.")
    views: int = setting(8, "Number of slightly changed copies of a record that each model answers.")
    view_jitter: float = setting(0.05, "Standard deviation of Gaussian noise on those copies; the first copy is clean.")
    view_shift: int = setting(
        0, "Images: largest translation of those copies in pixels; texts: tokens that they end earlier, at most."
    )
    view_flip: bool = setting(False, "Images: mirror half of those copies.")
    strategy: Strategy = setting("linear", "What finetuning trains: 'linear' (the head), 'last-k', 'full' or 'lora'.")
    victim_strategy: Literal["", "linear", "last-k", "full", "lora"] = setting(
        "", "tmi: what the victims' finetuning trains if the attacker guesses wrong; empty: as the shadows."
    )
    lora_rank: int = setting(4, "Rank of the LoRA updates.")
    last_layers: int = setting(2, "Number of layers that last-k trains, the head included.")
    attacks: tuple[str, ...] = setting((), "Names of the attacks; empty runs all that apply.")
    control: bool = setting(True, "tmi: also audit models without pretraining, where every attack must fall to chance.")
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
