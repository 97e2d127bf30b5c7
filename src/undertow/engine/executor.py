"""Where jobs run. One method, `map`; everything else is the executor's own business."""

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context, parent_process

from undertow.types import ConfigError, J, R, WorkerDied


@dataclass(frozen=True)
class Serial:
    """In this process, one job after the other; what tests and debuggers want."""

    def map(self, work: Callable[[J], R], jobs: Iterable[J]) -> Iterator[R]:
        return map(work, jobs)


@dataclass(frozen=True)
class Processes:
    """In `workers` fresh processes of one thread each; `work` and jobs must be importable data."""

    workers: int

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ConfigError(f"workers = {self.workers}; at least 1 is needed")

    def map(self, work: Callable[[J], R], jobs: Iterable[J]) -> Iterator[R]:
        todo = list(jobs)
        if not todo:
            return
        context = get_context("spawn")  # fork copies torch's thread pool in an unusable state
        count = min(self.workers, len(todo))
        with ProcessPoolExecutor(count, mp_context=context, initializer=_end_with_parent) as pool:
            futures = [pool.submit(work, job) for job in todo]
            try:
                for future in futures:
                    yield future.result()
            except BrokenProcessPool as error:
                raise WorkerDied(
                    "a worker process was killed (out of memory?); what it had finished is kept: "
                    "run the same command again, with fewer --workers if memory is short"
                ) from error
            finally:
                pool.shutdown(wait=True, cancel_futures=True)


def choose_executor(workers: int) -> Serial | Processes:
    """`Serial` for one worker, else that many processes."""
    return Serial() if workers == 1 else Processes(workers)


def _end_with_parent() -> None:
    """A worker whose parent was killed (-9) would wait for work for ever: end with it."""

    def watch() -> None:
        parent = parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
