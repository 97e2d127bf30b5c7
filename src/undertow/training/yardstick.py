"""Two standard jobs, for `undertow doctor` and the benchmarks: small perceptrons, and linear heads."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import nn

from undertow.engine.design import Design
from undertow.models.architecture import Architecture, Mlp, Shape, initial_state
from undertow.rng import stream
from undertow.training.choose import ENGINES, PROBE_STEPS, candidates, chunk_for, probe
from undertow.training.schedule import Fit, own_order, shared_order
from undertow.training.task import Task, to_params


def perceptrons(count: int, width: int = 64, hidden: tuple[int, ...] = (128, 128), batch: int = 100) -> Task:
    """`count` perceptrons, each on its own half of 400 random records of `width` numbers, 10 classes."""
    return _task(Mlp(hidden).build((width,), 10), count, (width,), Fit(epochs=40, batch=batch), shared=False)


def heads(count: int, width: int = 512, batch: int = 128) -> Task:
    """`count` linear heads on shared features, each trained on its own half of 4,000 rows, 10 classes."""
    return _task(nn.Linear(width, 10), count, (width,), Fit(epochs=4, batch=batch), shared=True, rows=4000)


def networks(count: int, architecture: Architecture, batch: int = 64) -> Task:
    """`count` convolutional networks, each on its own half of 256 random 32x32 images, moved and mirrored."""
    shape, fit = (3, 32, 32), Fit(epochs=40, batch=batch, shift=2, flip=True)
    return _task(architecture.build(shape, 10), count, shape, fit, shared=False, rows=256)


def token_models(count: int, batch: int = 16, context: int = 64) -> Task:
    """`count` GPT-2 of 0.9 million parameters, each on its own half of 64 random texts; needs transformers."""
    from undertow.models.causal_lm import causal_lm

    module = causal_lm("gpt2", 128, 4, 512, context).build((context,), 0)
    task = _task(module, count, (context,), Fit(epochs=4, batch=batch), shared=False, rows=64)
    ids = torch.as_tensor(stream(0, "yardstick tokens").integers(1, 512, size=(64, context + 1)))
    return replace(task, x=ids[:, :-1].contiguous(), y=ids[:, 1:].contiguous())


def timings() -> dict[str, dict[str, float]]:
    """Seconds per model-step of every engine that fits, for both jobs."""
    result = {}
    for name, make in (("perceptrons", perceptrons), ("linear heads", heads)):
        small = make(4)
        parameters = sum(int(v.size) for v in small.states[0].values())
        result[name] = {
            engine: probe(partial(_few, make), ENGINES[engine][0], chunk_for(engine, parameters, "cpu"))
            for engine in candidates(small)
        }
    return result


def _few(make: Callable[[int], Task], n: int) -> Task:
    return _first(make(n))


def _first(task: Task) -> Task:
    return replace(task, schedule=task.schedule.first(PROBE_STEPS))


def _task(module: nn.Module, count: int, shape: Shape, fit: Fit, shared: bool, rows: int = 400) -> Task:
    slots = Design(0, rows, max(4, count + count % 2), 1, rows).slots("shadow")[:count]
    member = np.stack([s.member for s in slots if s.member is not None])
    if shared:
        schedule = shared_order(fit, "yardstick", slots, member)
    else:
        schedule = own_order(fit, "yardstick", slots, [np.flatnonzero(m) for m in member])
    states = [to_params(initial_state(_Given(module), shape, 10, seed)) for seed in range(count)]
    x = torch.as_tensor(stream(0, "yardstick x").standard_normal((rows, *shape), dtype=np.float32))
    y = torch.as_tensor(stream(0, "yardstick y").integers(10, size=rows))
    noise = [lambda m=m: stream(0, "yardstick", m) for m in range(count)]
    return Task(module, states, x, y, schedule, fit, noise, list(range(count)))


class _Given:
    """An architecture that re-draws the parameters of a given module."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        for part in self.module.modules():
            if isinstance(part, (nn.Linear, nn.Conv2d)):
                part.reset_parameters()
        return self.module
