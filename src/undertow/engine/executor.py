"""Where jobs run. One method, `map`; everything else is the executor's own business."""

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import get_context, parent_process

from undertow.registry import Registry, callable_value
from undertow.types import ConfigError, Executor, J, R, WorkerDied


@dataclass(frozen=True)
class Serial:
    """In this process, one job after the other; what tests and debuggers want."""

    def map(self, work: Callable[[J], R], jobs: Iterable[J]) -> Iterator[R]:
        return map(work, jobs)


@dataclass
class Processes:
    """In `workers` processes of their own; `work` and jobs must be importable data.

    The processes start at the first job and stay for the next ones: importing torch takes a second.
    """

    workers: int
    _pool: ProcessPoolExecutor | None = field(default=None, init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ConfigError(f"workers = {self.workers}; at least 1 is needed")

    def map(self, work: Callable[[J], R], jobs: Iterable[J]) -> Iterator[R]:
        todo = list(jobs)
        if not todo:
            return
        if self._pool is None:
            # Not fork: it copies torch's thread pool in an unusable state.
            context = get_context("spawn")
            self._pool = ProcessPoolExecutor(self.workers, mp_context=context, initializer=_prepare_worker)
        futures = [self._pool.submit(work, job) for job in todo]
        try:
            for future in futures:
                yield future.result()
        except BrokenProcessPool as error:
            self._pool = None
            raise WorkerDied(
                "a worker process was killed (out of memory?); what it had finished is kept: "
                "run the same command again, with fewer --workers if memory is short"
            ) from error
        finally:
            for future in futures:
                future.cancel()


def choose_executor(workers: int, name: str = "") -> Executor:
    """The named executor with so many workers; "": `Serial` for one worker, else that many processes.

    ConfigError, with the nearest name, where there is none of that name.
    """
    return EXECUTORS.find(name or ("serial" if workers == 1 else "processes"))(workers)


def _serial(workers: int) -> Executor:
    if workers != 1:
        raise ConfigError(f"workers = {workers}; the executor 'serial' has 1")
    return Serial()


EXECUTORS: Registry[Callable[[int], Executor]] = Registry(
    "undertow.executors",
    "executor",
    {"serial": _serial, "processes": Processes, "forks": "undertow.engine.forks:Forks"},
    callable_value,
)


def _prepare_worker() -> None:
    """An interrupt is the parent's business; and a worker ends with its parent, were it killed (-9)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        parent = parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
