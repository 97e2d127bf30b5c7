"""Jobs in forked processes: what cannot be imported by name (a closure, a lambda, a notebook's function) runs there.

A forked process has the function already, so nothing is pickled: job numbers and JSON go through pipes.
"""

import json
import os
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import connection, get_all_start_methods, get_context
from typing import Any

from undertow import types
from undertow.types import AuditError, ConfigError, J, R, WorkerDied

NUMBER = 4  # bytes of a job's number in the pipe
MOST = 16_000  # jobs: their numbers must fit a pipe


@dataclass(frozen=True)
class Forks:
    """In `workers` copies of this process; `work` and the jobs may be anything, results must be JSON.

    An error of `work` is raised here as it was there if it is one of Undertow's, with its traceback as a note.
    """

    workers: int

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ConfigError(f"workers = {self.workers}; at least 1 is needed")

    def map(self, work: Callable[[J], R], jobs: Iterable[J]) -> Iterator[R]:
        todo = list(jobs)
        if not todo:
            return
        _check(len(todo))
        numbers = _numbers(len(todo))
        try:
            started = [_start(work, todo, numbers, self.workers) for _ in range(min(self.workers, len(todo)))]
        finally:
            os.close(numbers)
        try:
            yield from _in_order(_results([end for _, end in started], len(todo)))
        finally:
            for process, end in started:
                process.terminate()
                process.join()
                end.close()


def _check(jobs: int) -> None:
    if "fork" not in get_all_start_methods():
        raise ConfigError("workers: this system cannot copy a process (fork); use workers = 1")
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        raise ConfigError(
            "workers: CUDA is in use in this process already, and a copy of it cannot use the GPU; use workers = 1, or "
            "touch the GPU in `train` only"
        )
    if jobs > MOST:
        raise ConfigError(f"workers: {jobs} trainings; at most {MOST} can be dealt out at once")


def _numbers(count: int) -> int:
    """The reading end of a pipe that holds 0..count-1; whoever reads a number has the job."""
    reader, writer = os.pipe()
    os.write(writer, b"".join(i.to_bytes(NUMBER, "big") for i in range(count)))
    os.close(writer)
    return reader


def _start(work: Callable[[J], R], todo: Sequence[J], numbers: int, workers: int) -> tuple[Any, Any]:
    context = get_context("fork")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_loop, args=(work, todo, numbers, there, workers))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads: see `_loop`
        process.start()
    there.close()
    return process, here


def _loop(work: Callable[[J], R], todo: Sequence[J], numbers: int, end: Any, workers: int) -> None:
    """Runs in the copy: one job after the other; one thread where torch has a pool that the copy cannot use."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _end_with(os.getppid())
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(1)
    while raw := os.read(numbers, NUMBER):
        i = int.from_bytes(raw, "big")
        try:
            message = {"job": i, "result": work(todo[i])}
        except AuditError as error:
            message = {"job": i, "error": type(error).__name__, "said": str(error), "trace": _trace(error)}
        end.send_bytes(json.dumps(message).encode())
        if "error" in message:
            return


def _end_with(parent: int) -> None:
    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _trace(error: BaseException) -> str:
    return "".join(traceback.format_exception(error.__cause__ or error))


def _results(ends: list[Any], count: int) -> Iterator[tuple[int, Any]]:
    """(job, result) as they come; the error of a job is raised, and WorkerDied where a process ended before its job."""
    left = list(ends)
    while left and count:
        for end in connection.wait(left):
            try:
                message = json.loads(end.recv_bytes())  # type: ignore[union-attr]
            except EOFError:
                left.remove(end)
                continue
            if "error" in message:
                raise _as_here(message)
            count -= 1
            yield message["job"], message["result"]
    if count:
        raise WorkerDied(
            "a process that trains was killed (out of memory?); the answers that were finished are kept: run the same "
            "again, with fewer workers if memory is short"
        )


def _as_here(message: dict[str, str]) -> AuditError:
    kind = getattr(types, message["error"], AuditError)
    error: AuditError = kind(message["said"])
    error.add_note(message["trace"])
    return error


def _in_order(found: Iterator[tuple[int, Any]]) -> Iterator[Any]:
    waiting: dict[int, Any] = {}
    following = 0
    for i, result in found:
        waiting[i] = result
        while following in waiting:
            yield waiting.pop(following)
            following += 1
