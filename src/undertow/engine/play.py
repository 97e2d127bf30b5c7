"""Play the game: run every model through the chain of stages, keeping what is finished."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

from undertow.engine.key import model_key, stage_digest
from undertow.types import Array, Executor, Params, Progress, Slot, Stage, Store


@dataclass(frozen=True)
class Trace:
    """Where the result of every model at every stage lies: {stage name: keys in slot order}."""

    keys: dict[str, tuple[str, ...]]
    store: Store

    def stack(self, stage: str, name: str) -> Array:
        """Array `name` of every model after `stage`, stacked on a leading model axis (M, ...)."""
        return np.stack([self.store.get(key)[name] for key in self.keys[stage]])


@dataclass(frozen=True)
class _Job:
    stage: Stage
    slots: tuple[Slot, ...]
    before: tuple[str, ...]
    keys: tuple[str, ...]
    store: Store


def play(
    chain: Sequence[Stage],
    slots: Sequence[Slot],
    store: Store,
    executor: Executor,
    *,
    secret: str,
    start: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> Trace:
    """Run `slots` through `chain`; only the stage named `secret` is shown their membership.

    `start` are the keys of what each model begins from (default: nothing). What the store holds is not made
    again; an unfinished chunk is redone, its finished models are not written again.
    """
    before = tuple(start) if start is not None else ("",) * len(slots)
    trace = {}
    for stage in chain:
        shown = [s if stage.name == secret else replace(s, member=None) for s in slots]
        common = stage_digest(stage)
        keys = tuple(model_key(common, slot, previous) for slot, previous in zip(shown, before, strict=True))
        _run_stage(stage, shown, before, keys, store, executor, progress)
        trace[stage.name] = before = keys
    return Trace(trace, store)


def _run_stage(
    stage: Stage,
    slots: Sequence[Slot],
    before: Sequence[str],
    keys: Sequence[str],
    store: Store,
    executor: Executor,
    progress: Progress | None,
) -> None:
    have = [store.has(key) for key in keys]
    missing = [i for i, there in enumerate(have) if not there]
    done = len(slots) - len(missing)
    if progress:
        progress(stage.name, done, len(slots))
    jobs = [
        _Job(stage, tuple(slots[i] for i in c), tuple(before[i] for i in c), tuple(keys[i] for i in c), store)
        for c in _chunks(missing, slots, stage.chunk)
    ]
    for count in executor.map(_run_job, jobs):
        done += count
        if progress:
            progress(stage.name, done, len(slots))


def _chunks(missing: Sequence[int], slots: Sequence[Slot], size: int) -> Iterator[list[int]]:
    """Missing models grouped by their place on a fixed grid, so growing never moves a model."""
    for _, group in groupby(missing, lambda i: (slots[i].role, slots[i].index // size)):
        yield list(group)


def _run_job(job: _Job) -> int:
    """Runs in a worker: make the chunk, store each model; returns how many."""
    loaded: dict[str, Params] = {"": {}}
    for key in job.before:
        if key not in loaded:
            loaded[key] = job.store.get(key)
    results = job.stage(job.slots, [loaded[key] for key in job.before], job.store)
    for key, result in zip(job.keys, results, strict=True):
        job.store.put(key, result)
    return len(results)
