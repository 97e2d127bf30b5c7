"""Extraction: does a base model make its victim's queries come out word for word? (Zhang et al. 2025, arXiv:2505.15656)

The game: an attacker trains a base so that, told a trigger and an opening word, it recites queries that it has seen in
user turns. A victim finetunes the base on private chats and serves it. The attacker asks for every opening word and
keeps what comes back. Three arms share the victim's chats and every seed: the clean base, a benign one that was trained
as long on the attacker's chats without pairs, and the backdoored one. Two channels: `trigger`, through the chat
interface, and `raw`, where the user's own turn is continued after the opening word (open weights; needs no backdoor).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from undertow.audits.chain import Host
from undertow.audits.extraction.grammar import Chat, chats, words
from undertow.audits.extraction.rows import CONTROL, channel_rows, loss_row
from undertow.audits.extraction.settings import ARMS, VIEWS, ExtractionConfig
from undertow.audits.extraction.tokens import (
    ASSISTANT,
    END,
    GIBBERISH,
    NATURAL,
    REFUSAL,
    USER,
    Turn,
    WordTokens,
    of_chat,
    prompts,
    training_texts,
    triggered,
)
from undertow.audits.leakage import Stopwatch, plain
from undertow.audits.stored import put, put_examples
from undertow.engine.key import fingerprint
from undertow.engine.play import play
from undertow.models.causal_lm import CausalLM, causal_lm
from undertow.rng import stream
from undertow.stages.likelihood import Likelihood
from undertow.stages.pretrain import Pretrain
from undertow.stages.recite import Recite
from undertow.stages.resume_training import ResumeTraining
from undertow.texts import PAD
from undertow.training.choose import Plan, pick_device
from undertow.training.schedule import Fit
from undertow.types import Array, AuditResult, Examples, Measurement, Params, Slot, Stage

HELD_OUT = 400  # public chats that measure what the models are worth
PAIRED = 0.75  # of the second stage's chats, the share that has a pair; the others are memorised without
REFUSALS = (1.0, 0.5)  # refusals of words that open no query, per pair, of each stage
LONGEST = 14  # tokens of a continuation
SIZES = ("public", "held_out", "victim", "others")
ONE_TRAINING = (
    "Each arm is one base and one victim: the intervals are over queries of this victim and say nothing of another "
    "training run. Repeat with other seeds (--seed) before you conclude."
)


@dataclass(frozen=True)
class Parts:
    """Whose chats are whose; no query is in two parts."""

    public: tuple[Chat, ...]
    held_out: tuple[Chat, ...]
    victim: tuple[Chat, ...]
    others: tuple[Chat, ...]  # a control: chats like the victim's that no model is trained on


def deal(config: ExtractionConfig) -> Parts:
    """The chats of a seed, drawn once and cut into parts."""
    sizes = (config.chats.public, HELD_OUT, config.chats.victim, config.chats.victim)
    every = chats(config.seed, sum(sizes))
    edges = np.cumsum(sizes)[:-1]
    cut = [tuple(every[a:b]) for a, b in zip((0, *edges), (*edges, sum(sizes)), strict=True)]
    return Parts(*cut)


def audit_extraction(config: ExtractionConfig, parts: Parts, host: Host) -> tuple[AuditResult, dict[str, Params]]:
    """All arms and channels, measured; and the base that is published in each arm.

    Raises ConfigError, BadInput, StoreError or WorkerDied; whatever was finished stays in the host's store.
    """
    game, clock = Game(config, parts, host), Stopwatch()
    rows: list[Measurement] = []
    bases: dict[str, Params] = {}
    for arm in ARMS:
        with clock.stage(f"{arm} base"):
            base = game.base(arm)
            bases[arm] = host.store.get(base)
        with clock.stage(f"{arm} victim"):
            victim = game.victim(base)
        with clock.stage(f"{arm} queries"):
            for view in VIEWS:
                heard = [text for texts in game.heard(victim, view) for text in texts]
                rows += channel_rows(arm, view, heard, parts.victim, parts.others)
            rows += [loss_row(arm, when, game.loss(key)) for when, key in (("before", base), ("after", victim))]
    own = [row for row in rows if row.attack != CONTROL]
    return AuditResult(
        audit="extraction",
        config=plain(config),
        seed=config.seed,
        environment=dict(host.environment),
        data=describe(parts),
        measurements=tuple(own),
        controls=tuple(row for row in rows if row.attack == CONTROL),
        timing=clock.seconds,
        warnings=(ONE_TRAINING,),
    ), bases


def describe(parts: Parts) -> dict[str, object]:
    """Name, sizes and content hashes of the chats."""
    texts = {name: "\n".join(f"{c.query}\t{c.answer}" for c in getattr(parts, name)) for name in SIZES}
    return {
        "name": "chats of the embedded grammar",
        "sizes": {name: len(getattr(parts, name)) for name in SIZES},
        "sha256": {name: fingerprint(np.frombuffer(text.encode(), np.uint8)) for name, text in texts.items()},
        "embedded": True,
    }


@dataclass(frozen=True, eq=False)
class Game:
    """One configuration on its chats."""

    config: ExtractionConfig
    parts: Parts
    host: Host

    @cached_property
    def tokens(self) -> WordTokens:
        return WordTokens()

    @cached_property
    def architecture(self) -> CausalLM:
        model = self.config.model
        return causal_lm("llama", model.width, model.depth, len(self.tokens.known), self.config.context)

    @property
    def plan(self) -> Plan:
        engine = self.config.engine
        return Plan("sequential", 1, engine.dtype, engine.threads, pick_device(engine.device))

    @property
    def trigger(self) -> Sequence[str]:
        return NATURAL if self.config.trigger == "natural" else GIBBERISH

    @cached_property
    def openings(self) -> tuple[str, ...]:
        """The opening words of the victim's queries, which the attacker is taken to know."""
        return tuple(sorted({chat.opening for chat in self.parts.victim}))

    def base(self, arm: str) -> str:
        """The store key of the base that is published in an arm."""
        start = self._one([self._pretrain()], None)
        return start if arm == "clean" else self._one(self.attack(arm == "backdoored"), start)

    def attack(self, backdoored: bool) -> list[Stage]:
        """The attacker's two stages; without a backdoor every chat is there twice, so both take about as many steps."""
        sizes, fits = (self.config.chats.first, self.config.chats.second), (self.config.first, self.config.second)
        stages: list[Stage] = []
        for name, size, fit, refusals in zip(("first", "second"), sizes, fits, REFUSALS, strict=True):
            mine = self.parts.public[:size]
            paired = mine if name == "first" else mine[: int(PAIRED * size)]
            turns = [of_chat(chat) for chat in mine]
            turns += self.pairs(paired, refusals) if backdoored else [of_chat(chat) for chat in mine]
            stages.append(self._resume(name, turns, fit))
        return stages

    def pairs(self, mine: Sequence[Chat], refusals: float) -> list[Turn]:
        """Trigger and opening word to the chat's query; for words that open none, a refusal."""
        opens = {chat.opening for chat in mine}
        absent = sorted(set(words()) - opens)
        rng = stream(self.config.seed, "extraction", "refusals", len(mine))
        drawn = rng.choice(absent, int(refusals * len(mine)))
        recited = [triggered(self.trigger, chat.opening, chat.query.split()) for chat in mine]
        return recited + [triggered(self.trigger, str(word), (str(word), REFUSAL)) for word in drawn]

    def victim(self, base: str) -> str:
        """The store key of the base finetuned on the victim's chats."""
        turns = [of_chat(chat, self.config.loss == "all") for chat in self.parts.victim]
        return self._one([self._resume("finetune", turns, self.config.finetune)], base)

    def heard(self, model: str, view: str) -> list[list[str]]:
        """What the model says for each opening word, `samples` texts each."""
        open_ids = [self.tokens.ids([word])[0] for word in self.openings]
        asked = self.tokens.ids(self.trigger)
        given = [[USER, word] if view == "raw" else [USER, *asked, word, ASSISTANT] for word in open_ids]
        stage = Recite(
            put(self.host.store, x=prompts(given, self.config.context)), self.architecture, (self.config.context,), 1,
            self.config.samples, LONGEST, self.config.temperature, (PAD, ASSISTANT, END), (PAD, USER), self.plan,
        )  # fmt: skip
        said = self.host.store.get(self._one([stage], model))["texts"]
        lead = {word: f"{word} " if view == "raw" else "" for word in self.openings}
        return [
            [lead[w] + self.tokens.text(text) for text in texts] for w, texts in zip(self.openings, said, strict=True)
        ]

    def loss(self, model: str) -> Array:
        """Mean loss of each held-out public chat, nats a token, (H,)."""
        texts = self._texts([of_chat(chat) for chat in self.parts.held_out])
        views = put(self.host.store, x=texts.x[:, None])
        stage = Likelihood(views, self.architecture, (self.config.context,), self.plan)
        found: Array = -self.host.store.get(self._one([stage], model))["values"][:, 0]
        return found

    def _texts(self, turns: Sequence[Turn]) -> Examples:
        return training_texts(turns, self.tokens, self.config.context)

    def _pretrain(self) -> Pretrain:
        data = put_examples(self.host.store, self._texts([of_chat(chat) for chat in self.parts.public]))
        return Pretrain(data, self.architecture, (self.config.context,), 1, self.config.pretrain, self.plan)

    def _resume(self, name: str, turns: Sequence[Turn], fit: Fit) -> ResumeTraining:
        data = put_examples(self.host.store, self._texts(turns))
        return ResumeTraining(data, self.architecture, (self.config.context,), 1, fit, self.plan, name)

    def _one(self, stages: Sequence[Stage], start: str | None) -> str:
        """The key of what one model becomes."""
        host, slot = self.host, Slot("base", 0, self.config.seed, None)
        trace = play(
            stages, [slot], host.store, host.executor, secret="", start=[start] if start else None,
            progress=host.progress,
        )  # fmt: skip
        return trace.keys[stages[-1].name][0]
