"""Untrusted files are read by a process of their own: no crash, hang or flood of it reaches the scan.

The process gets the open file, limits of memory and time, and one nameless scratch file. Its answer is not trusted
either: every tensor must lie within the file.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

from undertow.opening.blocks import WIDTHS, packed_tensor, stored_tensor, unread_tensor
from undertow.opening.ggml import SIZES
from undertow.opening.opened import Clock, Limits
from undertow.opening.reading import Reading
from undertow.opening.source import Refused, Source
from undertow.scanner.findings import Severity
from undertow.scanner.tensors import Tensor

START = "import sys; sys.path[:] = [*{paths!r}, *sys.path]; from inside.child import main; main()"
ANSWER = 1 << 28  # bytes of JSON
SEVERITIES: tuple[Severity, ...] = ("info", "warning", "critical")


@dataclass(frozen=True)
class Answer:
    """What the process said of one file."""

    kind: str
    doubts: tuple[str, ...]  # kinds of what keeps the file from being complete
    findings: tuple[tuple[str, Severity, str], ...]
    tensors: Sequence[Any]
    scratch: Source | None  # where inflated bytes lie
    texts: tuple[tuple[str, str], ...] = ()  # (name, text) of configurations in the file
    external: tuple[tuple[str, str, tuple[int, ...], str, int], ...] = ()


def read_isolated(reading: Reading, source: Source, kind: str, limits: Limits, clock: Clock) -> None:
    """Fill `reading` with what a process of its own found; a process that died is a finding."""
    answer = ask(source, kind, limits, clock)
    reading.kind = answer.kind or reading.kind
    for what, severity, text in answer.findings:
        reading.say(what, severity, text)
    for what in answer.doubts:
        reading.doubt(what)
    reading.texts += answer.texts
    reading.external += answer.external
    for item in answer.tensors:
        tensor = _tensor(item, source, answer.scratch)
        name = tensor.name
        while name in reading.tensors:
            name += "#"  # none may hide behind another
        reading.tensors[name] = tensor if name == tensor.name else replace(tensor, name=name)
    if answer.scratch and any(item[4] == "scratch" for item in answer.tensors):
        reading.scratch = answer.scratch
    elif answer.scratch:
        answer.scratch.close()


def ask(source: Source, kind: str, limits: Limits, clock: Clock) -> Answer:
    """Run the reader of `kind` on the file; Refused where it does not answer in what is left of the path's time."""
    seconds = clock.left(source)
    with tempfile.TemporaryFile() as scratch, clock.running():
        said = _run(source, scratch.fileno(), kind, limits, seconds)
        used, fd = said["scratch"], os.dup(scratch.fileno()) if said["scratch"] else None
    kept = None if fd is None else Source(source.path, fd, int(used), (0, 0))
    findings = tuple((str(k), s, str(t)) for k, s, t in said["findings"] if s in SEVERITIES)
    doubts = tuple(str(kind) for kind in said["doubts"]) or ("unread",) * (said["complete"] is not True)
    texts = tuple((str(name), str(text)) for name, text in said["texts"])
    external = tuple((str(n), str(d), tuple(map(int, s)), str(f), int(o)) for n, d, s, f, o in said["external"])
    return Answer(str(said["kind"]), doubts, findings, said["tensors"], kept, texts, external)


def _run(source: Source, scratch: int, kind: str, limits: Limits, seconds: float) -> dict[str, Any]:
    task = {
        "kind": kind,
        "size": source.size,
        "limits": asdict(limits),
        "scratch": scratch,
        "seconds": int(seconds) + 1,
    }
    command = [sys.executable, "-I", "-S", "-c", START.format(paths=[str(Path(__file__).parent)]), json.dumps(task)]
    try:
        done = subprocess.run(
            command,
            stdin=source.fd,
            capture_output=True,
            pass_fds=(scratch,),
            timeout=seconds,
            check=False,
            env={"LC_ALL": "C.UTF-8"},
        )
    except subprocess.TimeoutExpired as error:
        raise Refused("limit", f"it took more than the {seconds:.0f} s that were left to read it") from error
    except OSError as error:
        raise Refused("unreadable", f"no process could be started to read it: {error}") from error
    if done.returncode or len(done.stdout) > ANSWER:
        why = done.stderr.decode("utf8", "replace").strip().splitlines()[-1:] or [f"exit {done.returncode}"]
        raise Refused(
            "limit", f"the process that read it ended ({why[0][:100]}); it may be built to exhaust its reader"
        )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _tensor(item: Sequence[Any], source: Source, scratch: Source | None) -> Tensor:
    """The tensor of a record, once it is sure that it lies in its file."""
    name, dtype, shape, stride, where, offset = item
    if where == "none" and min(shape, default=0) >= 0:
        return unread_tensor(str(name), str(dtype), shape, source)
    held = source if where == "file" else scratch
    if dtype in SIZES and held is not None:
        return _packed(item, held)
    steps = stride if stride is not None else [prod(shape[i + 1 :]) for i in range(len(shape))]
    span = sum((size - 1) * step for size, step in zip(shape, steps, strict=True)) + 1 if 0 not in shape else 0
    if held is None or dtype not in WIDTHS or min([offset, *shape, *steps], default=0) < 0:
        raise Refused("malformed", "its tensors do not lie in it")
    if offset + span * WIDTHS[dtype] > held.size:
        raise Refused("malformed", "its tensors do not lie in it")
    return stored_tensor(name, dtype, shape, held, offset, stride)


def _packed(item: Sequence[Any], source: Source) -> Tensor:
    name, dtype, shape, _, _, offset = item
    numbers, width = SIZES[dtype]
    size = prod(shape) // numbers * width
    if not shape or min(offset, *shape) < 0 or shape[-1] % numbers or offset + size > source.size:
        raise Refused("malformed", "its tensors do not lie in it")
    return packed_tensor(name, dtype, shape, source, offset)
