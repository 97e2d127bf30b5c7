"""Arrays of NumPy: the header of a .npy, by the rules of numpy/lib/format.py, without evaluating it as code."""

import ast
import struct
from array import array
from dataclasses import replace

from .allowed import NUMPY, WIDTHS, text_width
from .collect import Found, leaves, records, unread
from .pickles import Job, machine, run
from .stream import Malformed, Stream

LONGEST = 1 << 16
PIECE = 1 << 20


def npy(job: Job, stream: Stream, name: str) -> None:
    """Add the array of a .npy; Malformed where its header and its bytes do not fit."""
    if stream.read(0, 6) != b"\x93NUMPY":
        raise Malformed("it is no .npy")
    major = stream.read(6, 1)[0]
    if major not in (1, 2, 3):
        raise Malformed("it is a .npy of a version that does not exist yet")
    code, start = ("<H", 10) if major == 1 else ("<I", 12)
    (length,) = struct.unpack(code, stream.read(8, start - 8))
    if length > LONGEST:
        raise Malformed("the header of its array is too long")
    kind, fortran, shape = _header(stream.read(start, length))
    start += length
    swapped = kind.startswith(">") and kind[1:] in NUMPY
    width = text_width(kind.lstrip(">="))
    kind = kind[1:] if swapped else kind
    if width:  # texts and dates are no weights
        _check_size(stream, start, width, shape)
        return None
    if kind not in NUMPY:
        if kind == "O":
            return _objects(job, stream, start, name)
        if "O" in kind:
            run(job, machine(job, stream), start)
        job.report.stop("unread-tensor", f"array {name[:80]!a} has items of type {kind[:20]!a}, which are not read")
        job.tensors.append(unread(name, shape))
        return None
    _check_size(stream, start, WIDTHS[NUMPY[kind]], shape)
    where, offset = stream.place, stream.start + start
    if swapped and WIDTHS[NUMPY[kind]] > 1:
        where, offset = "scratch", job.scratch.used
        _swap(job, stream, start, WIDTHS[NUMPY[kind]])
    job.tensors.append(Found(name, NUMPY[kind], shape, _steps(shape) if fortran else None, where, offset))
    return None


def _objects(job: Job, stream: Stream, start: int, name: str) -> None:
    """An array of Python objects is a pickle: the arrays that it holds."""
    value, end = run(job, machine(job, stream), start)
    if end != stream.size:
        job.report.stop("malformed", f"{stream.size - end:,} bytes follow the objects of array {name[:80]!a}")
    for one in records(leaves(value, job.limits["nodes"]), {}, job.scratch, job.dense, None):
        job.tensors.append(replace(one, name=f"{name}.{one.name}"))


def _check_size(stream: Stream, start: int, size: int, shape: tuple[int, ...]) -> None:
    for count in shape:
        size *= count
    if start + size != stream.size:
        raise Malformed("the bytes of its array are not as many as its shape takes")


def _swap(job: Job, stream: Stream, start: int, width: int) -> None:
    """Big-endian numbers, turned round, into the scratch file."""
    for at in range(start, stream.size, PIECE):
        numbers = array({2: "H", 4: "I", 8: "Q"}[width])
        numbers.frombytes(stream.read(at, min(PIECE, stream.size - at)))
        numbers.byteswap()
        job.scratch.add(numbers.tobytes())


def _header(raw: bytes) -> tuple[str, bool, tuple[int, ...]]:
    try:
        table = ast.literal_eval(raw.decode("latin1").strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError) as error:
        raise Malformed("the header of its array is no table") from error
    if not isinstance(table, dict) or table.keys() != {"descr", "fortran_order", "shape"}:
        raise Malformed("the header of its array is no table of descr, fortran_order and shape")
    kind, fortran, shape = table["descr"], table["fortran_order"], table["shape"]
    if not (isinstance(shape, tuple) and len(shape) <= 64 and all(type(n) is int and 0 <= n < 2**60 for n in shape)):
        raise Malformed("the shape of its array is none")
    if not isinstance(fortran, bool):
        raise Malformed("the order of its array is none")
    return str(kind).lstrip("<|") if isinstance(kind, str) else "O?", fortran, shape


def _steps(shape: tuple[int, ...]) -> tuple[int, ...] | None:
    steps, step = [], 1
    for size in shape:
        steps.append(step)
        step *= size
    return tuple(steps) if len(shape) > 1 else None
