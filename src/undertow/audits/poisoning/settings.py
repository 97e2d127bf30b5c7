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
        "digits",
        "Records: 'digits', 'pii', 'ai4privacy', 'presidio', 'cifar100', or a file: .jsonl, .csv, ... (texts), .npz "
        "(x, y).",
    )
    field: str = setting("text", "Texts: name of the field or column that holds the text.")
    folder: str = setting("", "Folder of the named datasets that are not embedded (--data).")
    points: int = setting(400, "Number of candidate records, even; each victim is finetuned on half of them.")
    targets: int = setting(80, "Number of candidates that the attacker poisons; it does not have the others.")
    auxiliary: str = setting(
        "documentation", "Texts: ordinary text from 'documentation', 'wikitext2', a file or a folder."
    )
    public: int = setting(0, "Number of public records in every victim's finetuning set.")
    repeat: int = setting(1, "Number of times that a candidate occurs in the finetuning set of a model that has it.")
    noise: float = setting(
        0.0, "Images: standard deviation of Gaussian noise fixed to each record, which makes small pictures individual."
    )
    context: int = setting(48, "Texts: number of tokens kept of each.")
    vocabulary: int = setting(1536, "Texts: size of the vocabulary where the model brings none.")

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
        "mlp",
        "Architecture: 'mlp', 'cnn', 'causal-lm' or 'clip'; with --checkpoint also 'image-classifier' or "
        "'text-classifier'.",
    )
    checkpoint: str = setting(
        "", "Folder or hub id of a trained model, or 'stories260k' (in data.folder); empty pretrains one here."
    )
    family: Literal["gpt2", "gpt_neox", "llama"] = setting("gpt2", "causal-lm without a checkpoint: model family.")
    hidden: tuple[int, ...] = setting((), "mlp: widths of the hidden layers; empty makes two of `width`.")
    width: int = setting(
        256, "mlp: width of the hidden layers; cnn: channels of the first stage; others: width of the embedding."
    )
    depth: int = setting(2, "Number of layers.")

    def __post_init__(self) -> None:
        if min((self.width, self.depth, *self.hidden)) < 1:
            raise ConfigError("model.width, depth and hidden are at least 1")


@dataclass(frozen=True)
class PoisoningConfig:
    """One game: three arms of one checkpoint, the same membership, the same seeds; what differs is the poison."""

    seed: int = setting(0, "Seed from which every random choice descends.")
    models: int = setting(
        32, "Number of finetuned models per arm, even (complementary halves); each is attacked by the others."
    )
    recipes: tuple[str, ...] = setting(
        ("full",), "Finetuning recipes of the victims (undertow audit poisoning --list-recipes)."
    )
    views: tuple[str, ...] = setting(
        ("exact",), "What the attacker sees: 'exact', 'top-5', 'int8', 'int4', 'watermark' or 'label'."
    )
    sweep: str = setting("", "Key that is varied, such as 'poison.steps' or 'data.targets'; empty varies none.")
    sweep_values: tuple[float, ...] = setting((), "Values of that key.")
    benchmarks: tuple[str, ...] = setting(
        (), "Language models: tasks of lm-evaluation-harness (names or .yaml files) run on each checkpoint."
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
