"""What the training stages share: their data, their threads, and the padding of a chunk."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from undertow.rng import seed_for, stream
from undertow.training.choose import ENGINES, ONE_BY_ONE, Plan
from undertow.training.schedule import Fit, own_order
from undertow.training.task import Engine, Task, torch_threads
from undertow.types import Array, ConfigError, Diverged, Examples, Params, Slot, Store


def load_examples(store: Store, key: str) -> Examples:
    """The examples stored under `key`."""
    arrays = store.get(key)
    return Examples(arrays["x"], arrays["y"], key[:12])


def tensor(values: Array, plan: Plan) -> torch.Tensor:
    """`values` on the plan's device; floating ones in the plan's dtype, of which bfloat16 is for products alone."""
    raw = torch.as_tensor(np.ascontiguousarray(values))
    if raw.is_floating_point():
        return raw.to(device=plan.device, dtype=torch.float64 if plan.dtype == "float64" else torch.float32)
    return raw.to(plan.device)


def in_precision(task: Task, plan: Plan) -> Task:
    """The task with its products in the plan's precision."""
    return replace(task, bfloat16=plan.dtype == "bfloat16")


def noise_makers(stage: str, slots: Sequence[Slot]) -> list[Callable[[], np.random.Generator]]:
    """A maker of each model's generator of jitter and moves."""
    return [lambda s=s: stream(s.seed, stage, s.role, s.index, "jitter") for s in slots]  # type: ignore[misc]


def torch_seeds(stage: str, slots: Sequence[Slot]) -> list[int]:
    """Each model's seed for layers with randomness of their own."""
    return [seed_for(s.seed, stage, s.role, s.index, "layers") for s in slots]


def own_task(
    name: str, module: nn.Module, states: list[Params], slots: Sequence[Slot], examples: Examples, fit: Fit, plan: Plan
) -> Task:
    """The job of stage `name` where each model sees the rows it was dealt (all, if it has no secret), shuffled."""
    everything = np.arange(len(examples))
    rows = [everything if slot.member is None else np.flatnonzero(slot.member) for slot in slots]
    return Task(
        module,
        states,
        tensor(examples.x, plan),
        tensor(examples.y.astype(np.int64), plan),
        own_order(fit, name, slots, rows),
        fit,
        noise_makers(name, slots),
        torch_seeds(name, slots),
    )


def in_place(slots: Sequence[Slot], before: Sequence[Params], chunk: int) -> tuple[list[Slot], list[Params]]:
    """The chunk with every place filled: model i at place i % chunk, absent ones by a copy of the first.

    Batched kernels may round differently at another batch size; a model's bits must not depend on who else
    was still missing.
    """
    if len({slot.index // chunk for slot in slots}) > 1:
        raise ValueError(f"a batched engine trains one chunk of {chunk} at a time")
    full = [replace(slots[0]) for _ in range(chunk)]
    full_before = [before[0]] * chunk
    for slot, state in zip(slots, before, strict=True):
        full[slot.index % chunk], full_before[slot.index % chunk] = slot, state
    return full, full_before


def train(
    make: Callable[[Sequence[Slot], Sequence[Params]], Task],
    slots: Sequence[Slot],
    before: Sequence[Params],
    plan: Plan,
    engine: Engine | None = None,
) -> list[Params]:
    """Run the plan's engine (or the given one) on the task of these models; results in the order of `slots`."""
    run, fits = (engine, lambda _: True) if engine is not None else ENGINES[plan.engine]
    with torch_threads(plan.threads):
        if plan.engine in ONE_BY_ONE:
            results = run(in_precision(make(slots, before), plan))
        else:
            task = in_precision(make(*in_place(slots, before, plan.chunk)), plan)
            if not fits(task):
                raise ConfigError(f"engine {plan.engine!r} cannot train this model; use 'auto'")
            placed = run(task)
            results = [placed[slot.index % plan.chunk] for slot in slots]
    for slot, result in zip(slots, results, strict=True):
        if not all(np.isfinite(value).all() for value in result.values() if value.dtype.kind == "f"):
            raise Diverged(
                f"training of {slot.role} {slot.index} diverged (NaN or infinite weights): lower the learning rate"
            )
    return results
