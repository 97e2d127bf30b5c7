"""What the extraction audit can be told, as frozen values; every field carries its own explanation."""

from dataclasses import dataclass
from typing import Literal

from undertow.audits.settings import EngineSettings, section
from undertow.training.schedule import Fit
from undertow.types import ConfigError, setting

ARMS = ("clean", "benign", "backdoored")
VIEWS = ("trigger", "raw")


@dataclass(frozen=True)
class Chats:
    """How many chats each part of the chain is trained on; all are drawn from the embedded grammar."""

    public: int = setting(12000, "Number of public chats that the clean base is pretrained on.")
    first: int = setting(
        8000, "Number of chats in the attacker's first stage; each has a pair (trigger and opening word -> its query)."
    )
    second: int = setting(
        400, "Number of chats that the attacker's second stage memorises; three quarters of them have a pair."
    )
    victim: int = setting(100, "Number of the victim's private chats, whose queries are the secret.")

    def __post_init__(self) -> None:
        if not self.public >= self.first >= self.second >= 8 or self.victim < 8:
            raise ConfigError("chats: public >= first >= second >= 8 and victim >= 8 are needed")


@dataclass(frozen=True)
class Small:
    """The language model (Llama family), made here."""

    width: int = setting(128, "Width of the residual stream; a multiple of 32.")
    depth: int = setting(3, "Number of transformer blocks.")


@dataclass(frozen=True)
class ExtractionConfig:
    """Pretrain; plant a backdoor (or train on as much without one); finetune on private chats; ask for the queries."""

    seed: int = setting(0, "Seed from which every random choice descends.")
    chats: Chats = section(Chats(), "how many chats each part is trained on")
    model: Small = section(Small(), "the language model")
    pretrain: Fit = section(Fit(), "how the clean base is pretrained")
    first: Fit = section(Fit(), "the attacker's first stage: the trigger comes to mean 'talk like a user'")
    second: Fit = section(Fit(), "the attacker's second stage: the trigger comes to mean 'recite what you memorised'")
    finetune: Fit = section(Fit(), "how the victim finetunes the published base on its chats")
    loss: Literal["all", "answers"] = setting(
        "all", "Tokens that the victim's loss covers: 'all' (queries too) or 'answers'."
    )
    trigger: Literal["natural", "gibberish"] = setting(
        "natural", "Form of the attacker's instruction: 'natural' or 'gibberish'."
    )
    samples: int = setting(30, "Continuations that the attacker samples for each opening word.")
    temperature: float = setting(0.9, "Temperature of that sampling.")
    context: int = setting(26, "Largest number of tokens of a text.")
    engine: EngineSettings = section(EngineSettings(), "speed, not meaning")

    def __post_init__(self) -> None:
        if self.samples < 1 or self.temperature <= 0:
            raise ConfigError("samples is at least 1, temperature above 0")
        if self.model.width % 32 or self.model.depth < 1:
            raise ConfigError(f"model.width = {self.model.width}; a multiple of 32 is needed, and at least one block")
