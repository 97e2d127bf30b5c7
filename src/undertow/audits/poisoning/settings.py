"""What the poisoning audit can be told, as frozen values; every field carries its own explanation."""

from dataclasses import dataclass
from typing import Literal

from undertow.audits.settings import EngineSettings, section
from undertow.training.objective import Objective
from undertow.training.schedule import Fit
from undertow.types import ConfigError, setting

ARMS = ("clean", "benign", "poisoned")
FEWEST_MODELS = 6  # without a pair, two that have each record and two that have not: what LiRA needs


@dataclass(frozen=True)
class Candidates:
    """Whose membership is the secret, and what else the chain is fed."""

    source: str = setting(
        "digits", "digits | pii | ai4privacy | presidio | cifar100, or a file: .jsonl, .csv, ... (texts), .npz (x, y)"
    )
    field: str = setting("text", "texts: the field, or column, that holds them")
    folder: str = setting("", "where named datasets that are not embedded lie (--data)")
    points: int = setting(400, "candidate records; each victim is finetuned on half of them; even")
    targets: int = setting(80, "of these, how many the attacker has poisoned; the others are not in its set")
    auxiliary: str = setting("documentation", "texts: ordinary text: documentation | wikitext2 | a file or folder")
    public: int = setting(0, "records of public data in every victim's finetuning set")
    repeat: int = setting(1, "times a candidate is in the finetuning set of a model that has it")
    noise: float = setting(0.0, "images: Gaussian noise fixed to each record (makes small pictures individual)")
    context: int = setting(48, "texts: tokens that are kept of each")
    vocabulary: int = setting(1536, "texts: tokens of the vocabulary, where the model brings none")

    def __post_init__(self) -> None:
        if self.points < 4 or self.points % 2:
            raise ConfigError(f"data.points = {self.points}; it must be even and at least 4")
        if not 2 <= self.targets <= self.points:
            raise ConfigError(f"data.targets = {self.targets}; it must be in 2..{self.points} (data.points)")
        if self.repeat < 1:
            raise ConfigError(f"data.repeat = {self.repeat}; at least 1 is needed")
        if min(self.public, self.noise) < 0 or self.context < 8 or self.vocabulary < 258:
            raise ConfigError("data.public and noise are not negative; context is at least 8, vocabulary 258")


@dataclass(frozen=True)
class BaseModel:
    """The checkpoint that is poisoned."""

    kind: Literal["mlp", "cnn", "causal-lm", "clip", "image-classifier", "text-classifier"] = setting(
        "mlp", "mlp | cnn | causal-lm | clip; of a checkpoint to judge also image-classifier | text-classifier"
    )
    checkpoint: str = setting(
        "", "folder or hub id of a trained model, or 'stories260k' (in data.folder); '': one is pretrained here"
    )
    family: Literal["gpt2", "gpt_neox", "llama"] = setting("gpt2", "causal-lm without a checkpoint: its family")
    hidden: tuple[int, ...] = setting((), "mlp: widths of the hidden layers; empty: two of width")
    width: int = setting(256, "mlp: see hidden; cnn: channels of the first stage; others: size of the embedding")
    depth: int = setting(2, "layers")

    def __post_init__(self) -> None:
        if min((self.width, self.depth, *self.hidden)) < 1:
            raise ConfigError("model.width, depth and hidden are at least 1")


@dataclass(frozen=True)
class PoisoningConfig:
    """One game: three arms of one checkpoint, the same membership, the same seeds; what differs is the poison."""

    seed: int = setting(0, "everything random descends from it")
    models: int = setting(32, "finetuned models per arm; even (complementary halves); each is attacked by the others")
    recipes: tuple[str, ...] = setting(("full",), "how victims finetune (undertow audit poisoning --list-recipes)")
    views: tuple[str, ...] = setting(
        ("exact",), "what the attacker sees: exact | top-5 | int8 | int4 | watermark | label"
    )
    sweep: str = setting("", "a key such as 'poison.steps' or 'data.targets' that is varied")
    sweep_values: tuple[float, ...] = setting((), "its values")
    benchmarks: tuple[str, ...] = setting(
        (), "language models: tasks of lm-evaluation-harness, names or .yaml files, for each checkpoint"
    )
    data: Candidates = section(Candidates(), "which records")
    model: BaseModel = section(BaseModel(), "the checkpoint")
    pretrain: Fit = section(Fit(), "how it is pretrained, where it is")
    poison: Objective = section(Objective(), "what the attacker does to it")
    finetune: Fit = section(Fit(epochs=5, batch=32, lr=0.01), "how victims finetune it")
    engine: EngineSettings = section(EngineSettings(), "speed, not meaning")

    def __post_init__(self) -> None:
        if self.models < FEWEST_MODELS or self.models % 2:
            raise ConfigError(
                f"models = {self.models}; it must be even and at least {FEWEST_MODELS} (complementary pairs, each "
                "attacked by the others)"
            )
        if bool(self.sweep) != bool(self.sweep_values):
            raise ConfigError("sweep and sweep_values belong together; set both or neither")
