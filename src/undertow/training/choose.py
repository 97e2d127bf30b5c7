"""Which engine trains: decided once by a short timed probe, written down, and part of every key."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from undertow.training.fat_gemm import can_fatten, fat_gemm
from undertow.training.fused_mlp import can_fuse, fused_mlp
from undertow.training.grouped_conv import can_group, grouped_conv
from undertow.training.sequential import sequential
from undertow.training.task import Engine, Task, torch_threads
from undertow.types import ConfigError


def _plain(fits: Callable[[Task], bool]) -> Callable[[Task], bool]:
    """Batched engines know one step size for all layers, and do not clip."""
    return lambda task: task.head_rate == 1 and not task.clip and fits(task)


# In order of preference among equals: an earlier engine is kept where it is within 3 % of the fastest.
ENGINES: dict[str, tuple[Engine, Callable[[Task], bool]]] = {
    "fat_gemm": (fat_gemm, _plain(can_fatten)),
    "fused_mlp": (fused_mlp, _plain(can_fuse)),
    "grouped_conv": (grouped_conv, _plain(can_group)),
    "sequential": (sequential, lambda task: True),
}
ONE_BY_ONE = ("sequential", "opacus")  # engines whose models do not know of each other
CLOSE = 1.03  # times of two engines so close are one: a probe tells no smaller difference
PROBE_STEPS = 12
CACHE_BYTES = 6 << 20  # weights and momenta of a chunk stay in the last-level cache; more buys nothing


@dataclass(frozen=True)
class Plan:
    """How a stage is computed; decided before training, part of the key, so resume never probes again."""

    engine: str
    chunk: int  # models trained together, and the unit that an interruption redoes
    dtype: str = "float32"
    threads: int = 1
    device: str = "cpu"


def candidates(task: Task) -> list[str]:
    """The engines that can train this task, in order of preference; `sequential` is always one."""
    return [name for name, (_, fits) in ENGINES.items() if fits(task)]


def chunk_for(engine: str, parameters: int, device: str) -> int:
    """Models per chunk: a power of two that keeps weights and momenta in cache; wide on a GPU."""
    if device != "cpu":
        return 64 if engine not in ONE_BY_ONE else 8
    if engine in ("fat_gemm", "private_dense"):
        return 32 if engine == "fat_gemm" else 16
    if engine in (*ONE_BY_ONE, "grouped_conv"):
        return 4
    fit_in_cache = CACHE_BYTES // (8 * max(parameters, 1))
    return 1 << max(0, min(4, fit_in_cache.bit_length() - 1))


def probe(make_task: Callable[[int], Task], run: Engine, chunk: int, threads: int = 1) -> float:
    """Seconds per model-step of one engine on the first steps of the real task; best of three."""
    task = make_task(chunk)
    times = []
    with torch_threads(threads):
        run(task)  # warm-up: caches, kernels
        for _ in range(3):
            start = time.perf_counter()
            run(task)
            _wait(task.device)
            times.append(time.perf_counter() - start)
    return min(times) / max(task.schedule.steps * len(task), 1)


def choose(seconds: dict[str, float]) -> str:
    """The fastest engine of `seconds`; among those within 3 % of it the first, in order of preference.

    >>> choose({"fused_mlp": 1.0, "sequential": 0.98}), choose({"fused_mlp": 1.0, "sequential": 0.9})
    ('fused_mlp', 'sequential')
    """
    best = min(seconds.values())
    return next(name for name, each in seconds.items() if each <= CLOSE * best)


def pick_device(wanted: str) -> str:
    """`auto` is the GPU where torch sees one; ConfigError for a device that is not there."""
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ConfigError("engine.device = 'cuda', but torch sees no GPU; use 'auto' or 'cpu'")
    return wanted


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
