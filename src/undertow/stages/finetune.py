"""The second link: give the model a new head and train it on the downstream task."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from undertow.models.architecture import Architecture, Shape, head_name, initial_state
from undertow.models.causal_lm import with_neftune
from undertow.rng import seed_for, stream
from undertow.stages.common import load_examples, noise_makers, tensor, torch_seeds, train
from undertow.stages.strategies import (
    check_own_head,
    features,
    freeze_all_but_head,
    freeze_all_but_last,
    linear_like,
    with_head,
)
from undertow.training.choose import Plan
from undertow.training.lora import lora_state, merged, with_lora
from undertow.training.privacy import Noise
from undertow.training.private import poisson_order, private_engine
from undertow.training.qlora import rounded_nf4
from undertow.training.schedule import Fit, Schedule, own_order, shared_order
from undertow.training.task import Task, to_params
from undertow.types import Array, ConfigError, Examples, Params, Slot, Store

Strategy = Literal["linear", "last-k", "full", "lora", "qlora"]
Relation = Literal["same", "subset", "disjoint"]
LORA = ("peft", "transformers")  # whose code trains LoRA


@dataclass(frozen=True)
class Finetune:
    """Finetune each model on its own rows: those dealt where this stage holds the secret, else a random draw.

    `linear` trains the fresh head on cached frozen features, `last-k` the last `layers` layers (the fresh head is
    one of them), `lora` the fresh head and updates of `rank` beside every layer, merged afterwards; every other
    parameter and buffer stays bit-identical. `full` trains everything. `qlora` is `lora` on dense layers that were
    rounded to 4 bits (nf4): the result is the rounded base with its updates merged.

    Where labels are of tokens, no feature is cached: a text has as many as tokens. A causal language model keeps its
    head (`keep_head`), which only `full` may leave tied (`models.causal_lm.for_strategy`).

    Examples beyond those that were dealt are public: every model trains on all of them.
    """

    data: str  # store key of the downstream examples
    architecture: Architecture
    shape: Shape
    classes: int
    strategy: Strategy
    draw: int  # rows each model draws from the pool; 0: all of them
    fit: Fit
    plan: Plan
    shared_base: bool = False  # all models start from one base: its features are computed once
    layers: int = 2  # of last-k
    noise: Noise | None = None  # DP-SGD; None: not private
    rank: int = 4  # of lora and qlora
    relation: Relation = "subset"  # of the attacker's and the victims' rows
    keep_head: bool = False  # the base's own head is finetuned; else a fresh one
    repeat: int = 1  # times a dealt row is in its model's training set
    neftune: float = 0.0  # texts: noise of the token embeddings in training, NEFTune's alpha; 0: none
    head_rate: float = 1.0  # the head's step size, in times that of everything else
    clip: float = 0.0  # longer gradients are shortened to this; 0: none is
    name: ClassVar[str] = "finetune"
    version: ClassVar[int] = 3

    @property
    def libraries(self) -> tuple[str, ...]:
        """What the strategy and the private trainer rest on."""
        lora = LORA if self.strategy in ("lora", "qlora") else ()
        rounded = ("bitsandbytes",) if self.strategy == "qlora" else ()
        private = ("opacus",) if self.noise is not None and self.noise.trainer == "opacus" else ()
        return (*lora, *rounded, *private)

    @property
    def chunk(self) -> int:
        return self.plan.chunk

    def __call__(self, slots: Sequence[Slot], before: Sequence[Params], store: Store) -> list[Params]:
        examples = load_examples(store, self.data)
        engine = None if self.noise is None else next(iter(private_engine(self.noise).values()))
        results = train(lambda s, b: self.task(s, b, examples), slots, before, self.plan, engine)
        module = self.architecture.build(self.shape, self.classes)
        head = head_name(module)
        if self._cached(examples):
            return [with_head(base, head, new) for base, new in zip(before, results, strict=True)]
        if self.strategy in ("lora", "qlora"):
            module = with_lora(module, head, self.rank)
            return [merged(module, state, base) for base, state in zip(before, results, strict=True)]
        return results

    def task(self, slots: Sequence[Slot], before: Sequence[Params], examples: Examples) -> Task:
        """The training job of these models, starting from `before`."""
        cached = self._cached(examples)
        self._check_private(cached)
        x, y = tensor(examples.x, self.plan), tensor(examples.y.astype(np.int64), self.plan)
        module, states, x = self._begin(slots, before, x, cached)
        own_x = cached and not self.shared_base
        rows = [self.rows(slot, len(examples)) for slot in slots]
        schedule = self._schedule(slots, rows, len(examples), cached)
        noise, seeds = noise_makers(self.name, slots), torch_seeds(self.name, slots)
        rate = self.head_rate
        if cached:  # there is only the head
            schedule, rate = replace(schedule, lr=schedule.lr * rate), 1.0
        return Task(
            module, states, x, y, schedule, self.fit, noise, seeds, own_x, len(rows[0]), head_rate=rate, clip=self.clip
        )

    def _cached(self, examples: Examples) -> bool:
        """Whether the head alone is trained, on features that are computed once."""
        return self.strategy == "linear" and not examples.of_tokens

    def _check_private(self, cached: bool) -> None:
        if self.noise is None:
            return
        if self.noise.trainer == "closed-form" and not cached:
            raise ConfigError(
                "privacy.trainer = 'closed-form' trains heads of classifiers; use privacy.trainer = 'opacus'"
            )
        if self.head_rate != 1 or self.clip:
            raise ConfigError("DP-SGD clips in its own way, with one step size for all: head_rate = 1, clip = 0")
        if self.repeat > 1:
            raise ConfigError(
                f"repeat = {self.repeat}: DP-SGD promises for records that are there once; use repeat = 1"
            )

    def _begin(
        self, slots: Sequence[Slot], before: Sequence[Params], x: Tensor, cached: bool
    ) -> tuple[nn.Module, list[Params], Tensor]:
        """What the strategy trains, from which states, on which inputs (`cached`: features, (k, N, D) or (N, D))."""
        module = self.architecture.build(self.shape, self.classes)
        head = head_name(module)
        if self.strategy != "full":
            check_own_head(module, head, self.strategy)
        if self.neftune:
            module = with_neftune(module, self.neftune)
        if self.keep_head:
            fresh = [{n.removeprefix(head + "."): v for n, v in b.items() if n.startswith(head + ".")} for b in before]
        else:
            fresh = [self._fresh_head(slot, head) for slot in slots]
        states = [with_head(b, head, f) for b, f in zip(before, fresh, strict=True)]
        if cached:
            distinct = states[:1] if self.shared_base else states
            tables = [features(module, state, head, x) for state in distinct]
            return linear_like(module, head), fresh, tables[0] if self.shared_base else torch.stack(tables)
        if self.strategy == "linear":
            freeze_all_but_head(module, head)
        elif self.strategy == "last-k":
            freeze_all_but_last(module, self.layers)
        elif self.strategy in ("lora", "qlora"):
            if self.strategy == "qlora":
                states = [rounded_nf4(module, head, state) for state in states]
            module = with_lora(module, head, self.rank)
            seeds = [self._seed(slot, "lora") for slot in slots]
            states = [lora_state(module, state, seed) for state, seed in zip(states, seeds, strict=True)]
        return module, states, x

    def _schedule(self, slots: Sequence[Slot], rows: Sequence[Array], population: int, cached: bool) -> Schedule:
        if self.noise is not None:
            return poisson_order(self.fit, self.name, slots, rows)
        if self.shared_base and cached:
            return shared_order(self.fit, self.name, slots, _masks(rows, population))
        return own_order(self.fit, self.name, slots, rows)

    def rows(self, slot: Slot, population: int) -> Array:
        """The rows a model is finetuned on, of so many: its own where it was dealt any, else a random draw.

        `subset`: every model draws for itself from all rows. `same`: one draw for all. `disjoint`: victims draw
        for themselves from one half of the rows, every other model from the other half.
        """
        if slot.member is not None:
            public = np.arange(len(slot.member), population)
            return np.concatenate([np.tile(np.flatnonzero(slot.member), self.repeat), public])
        pool = np.arange(population)
        if self.relation == "disjoint":
            halves = stream(slot.seed, self.name, "halves").permutation(population)
            half = population // 2
            pool = np.sort(halves[half : 2 * half] if slot.role == "victim" else halves[:half])
        count = self.draw or len(pool)
        if not 1 <= count <= len(pool):
            side = f" on each side (data.relation = {self.relation!r})" if self.relation == "disjoint" else ""
            raise ConfigError(f"each model draws {count} finetuning rows, but there are only {len(pool)}{side}")
        who = ("everyone",) if self.relation == "same" else (slot.role, slot.index)
        rng = stream(slot.seed, self.name, *who, "rows")
        return np.sort(pool[rng.permutation(len(pool))[:count]])

    def _fresh_head(self, slot: Slot, head: str) -> Params:
        state = to_params(initial_state(self.architecture, self.shape, self.classes, self._seed(slot, "head")))
        return {n.removeprefix(head + "."): v for n, v in state.items() if n.startswith(head + ".")}

    def _seed(self, slot: Slot, purpose: str) -> int:
        return seed_for(slot.seed, self.name, slot.role, slot.index, purpose)


def _masks(rows: Sequence[Array], population: int) -> Array:
    masks = np.zeros((len(rows), population), bool)
    for m, mine in enumerate(rows):
        masks[m, mine] = True
    return masks
