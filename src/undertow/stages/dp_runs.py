"""Private finetunings with and without canaries, and what an adversary reads of them: the runs of a DP audit."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from undertow.models.architecture import Mlp
from undertow.rng import stream
from undertow.stages.common import load_examples, tensor
from undertow.training.choose import Plan
from undertow.training.privacy import Noise
from undertow.training.private import Crafted, pack, private_dense
from undertow.training.private_reads import flat_parameters, losses, record_gradients
from undertow.training.schedule import Fit, Schedule
from undertow.training.task import Task, torch_threads
from undertow.types import Array, Diverged, Examples, Params, Slot, Store

READS = ("black-box", "weights", "iterates")


@dataclass(frozen=True)
class DpRuns:
    """`block` runs for each slot: role "with" holds every canary, "without" none, "coins" each by a coin of its own.

    Every read (block, K) is in units of the clipping norm, higher = was there. If a canary's gradient keeps its
    direction and is clipped, and no other record has a part in that direction, it is the number of steps the canary
    joined, plus noise of deviation noise.multiplier sqrt(steps):

    black-box   the fall of the canary's loss over training
    weights     the move of the parameters along the canary's gradient at the checkpoint
    iterates    the same at every step; for canaries that keep to themselves the log likelihood ratio over steps
    """

    data: str  # the records, then the canaries that are records
    records: int  # of the finetuning; also the expected batch over the rate, in both worlds
    start: str  # the checkpoint
    hidden: tuple[int, ...]
    classes: int
    canaries: int
    crafted: bool  # canaries are gradients, not records
    apart: bool  # canaries keep to themselves: traps and crafted gradients
    sampling: str  # "poisson" | "shuffled"
    noise: Noise
    lr: float
    block: int
    plan: Plan
    name: ClassVar[str] = "dp-runs"
    version: ClassVar[int] = 1

    @property
    def chunk(self) -> int:
        return 1

    def __call__(self, slots: Sequence[Slot], before: Sequence[Params], store: Store) -> list[Params]:
        examples, state = load_examples(store, self.data), store.get(self.start)
        with torch_threads(self.plan.threads):
            return [_Block(self, slot, examples, state).play() for slot in slots]

    def module(self, width: int) -> nn.Module:
        return Mlp(self.hidden).build((width,), self.classes)


@dataclass(frozen=True, eq=False)
class _Block:
    """The runs of one slot."""

    stage: DpRuns
    slot: Slot
    examples: Examples
    state: Params

    def play(self) -> Params:
        s, steps = self.stage, _Steps(self)
        task = self.task(self.schedule())
        crafted = Crafted(self.coordinates, self.joins[:, :, s.records :].swapaxes(0, 1)) if s.crafted else None
        after = private_dense(task, s.noise, crafted, steps)
        reads = {"weights": self.moved(after), "iterates": steps.score()}
        if not s.crafted:
            reads["black-box"] = self.forgotten(after)
        if not all(np.isfinite(read).all() for read in reads.values()):
            raise Diverged("a private finetuning diverged (NaN or infinite weights): lower recipe.lr")
        return {**reads, "member": self.member}

    @cached_property
    def member(self) -> Array:
        """(block, K) bool."""
        shape = (self.stage.block, self.stage.canaries)
        if self.slot.role == "coins":
            return np.stack([self._stream(i, "coins").random(shape[1]) < 0.5 for i in range(shape[0])])
        return np.full(shape, self.slot.role == "with")

    @cached_property
    def joins(self) -> Array:
        """(block, S, N + K) bool: who is in which step, by coins that do not depend on who is a member."""
        s = self.stage
        there = np.concatenate([np.ones((s.block, s.records), bool), self.member], 1)
        if s.noise.rate == 1:
            return np.broadcast_to(there[:, None], (s.block, s.noise.steps, there.shape[1]))
        if s.sampling == "shuffled":
            return np.stack([self._shuffled(i, there[i]) for i in range(s.block)])
        shape = (s.noise.steps, there.shape[1])
        return np.stack([(self._stream(i, "batches").random(shape) < s.noise.rate) & there[i] for i in range(s.block)])

    def _shuffled(self, run: int, there: Array) -> Array:
        """Batches of one size from a fresh order of the members each epoch; what is left of an epoch is dropped."""
        s, rng, rows = self.stage, self._stream(run, "batches"), np.flatnonzero(there)
        size = max(1, round(s.noise.rate * s.records))
        epochs = math.ceil(s.noise.steps / (len(rows) // size))
        order = np.concatenate([rng.permutation(rows)[: len(rows) // size * size] for _ in range(epochs)])
        joins = np.zeros((s.noise.steps, there.size), bool)
        joins[np.arange(s.noise.steps)[:, None], order.reshape(-1, size)[: s.noise.steps]] = True
        return joins

    def schedule(self) -> Schedule:
        s, lr = self.stage, np.full(self.stage.noise.steps, self.stage.lr)
        visible = self.joins[:, :, : len(self.examples)]
        if s.noise.rate == 1:
            rows = np.arange(visible.shape[2]).reshape(1, 1, -1)
            return Schedule(np.broadcast_to(rows, (len(lr), 1, rows.size)), visible.swapaxes(0, 1), lr)
        return pack(list(visible), [np.arange(visible.shape[2])] * s.block, lr)

    def task(self, schedule: Schedule) -> Task:
        s = self.stage
        x, y = tensor(self.examples.x, s.plan), tensor(self.examples.y.astype(np.int64), s.plan)
        noise = [lambda i=i: self._stream(i, "noise") for i in range(s.block)]
        fit = Fit(momentum=0.0, decay="constant", lr=s.lr)
        return Task(
            s.module(x.shape[1]), [self.state] * s.block, x, y, schedule, fit, noise, [0] * s.block, records=s.records
        )  # fmt: skip

    @cached_property
    def coordinates(self) -> Array:
        """Of crafted gradients: parameters drawn at random, the same in every run."""
        total = flat_parameters(self.stage.module(self.examples.x.shape[1]), [self.state]).shape[1]
        return np.sort(stream(self.slot.seed, "dp-runs", "coordinates").permutation(total)[: self.stage.canaries])

    @cached_property
    def gradients(self) -> Array:
        """Of every canary at the checkpoint, (K, P) float64; a unit vector of a crafted one."""
        module = self.stage.module(self.examples.x.shape[1])
        if self.stage.crafted:
            total = flat_parameters(module, [self.state]).shape[1]
            unit: Array = (self.coordinates[:, None] == np.arange(total)).astype(np.float64)
            return unit
        x, y = self.examples.x[self.stage.records :], self.examples.y[self.stage.records :]
        dtype = torch.float64 if self.stage.plan.dtype == "float64" else torch.float32
        return record_gradients(module, self.state, x, y, dtype).astype(np.float64)

    @cached_property
    def lengths(self) -> Array:
        length: Array = np.maximum(np.linalg.norm(self.gradients, axis=1), 1e-12)
        return length

    @property
    def unit(self) -> float:
        """What one clipping norm moves a parameter by in one step."""
        s = self.stage
        return s.lr * s.noise.clip / (s.noise.rate * s.records)

    def moved(self, after: Sequence[Params]) -> Array:
        module = self.stage.module(self.examples.x.shape[1])
        moves = flat_parameters(module, [self.state]) - flat_parameters(module, after)
        return np.asarray(moves @ (self.gradients / self.lengths[:, None]).T) / self.unit

    def forgotten(self, after: Sequence[Params]) -> Array:
        x, y = self.examples.x[self.stage.records :], self.examples.y[self.stage.records :]
        module = self.stage.module(x.shape[1])
        fall = losses(module, [self.state], x, y) - losses(module, after, x, y)
        return fall / (self.lengths * self.unit)

    def _stream(self, run: int, purpose: str) -> np.random.Generator:
        role, place = self.slot.role, self.slot.index * self.stage.block + run
        return stream(self.slot.seed, "dp-runs", role, place, purpose)


class _Steps:
    """Told of every step's noisy sum; keeps what the sums say of the canaries."""

    def __init__(self, block: _Block) -> None:
        self.block = block
        self.total: Tensor | None = None
        directions = block.gradients / block.lengths[:, None]
        self.directions = torch.as_tensor(directions.T).float().to(block.stage.plan.device)

    def __call__(self, step: int, sums: Tensor) -> None:
        s, noise = self.block.stage, self.block.stage.noise
        seen = (sums.to(self.directions.dtype) @ self.directions).double() / noise.clip
        if s.apart and noise.rate < 1 and s.sampling == "poisson" and noise.multiplier:
            joined = math.log(noise.rate) + (2 * seen - 1) / (2 * noise.multiplier**2)
            seen = torch.logaddexp(joined, torch.tensor(math.log1p(-noise.rate), dtype=joined.dtype))
        self.total = seen if self.total is None else self.total + seen

    def score(self) -> Array:
        if self.total is None:
            raise ValueError("no step was taken")
        return self.total.cpu().numpy()
