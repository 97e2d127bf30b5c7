"""Arrays of joblib.dump: after the opcodes that describe one, its bytes stand in the pickle, which then goes on."""

from .allowed import NUMPY, WIDTHS, text_width
from .machine import Machine
from .opcodes import Blob
from .steps import execute
from .stream import Malformed
from .values import NumpyArray, NumpyType, Record, Table


def array_after(m: Machine, record: Record, at: int) -> int:
    """Put the array that follows at `at` in the place of its description; where the pickle goes on.

    Format: joblib/numpy_pickle.py, NumpyArrayWrapper: one byte for the length of a padding, the padding, the numbers;
    arrays of objects are a pickle of their own. Malformed where the description is none, or the file is too short.
    """
    state = record.given[-1]
    table = {key: value for key, value in state.pairs if isinstance(key, str)} if isinstance(state, Table) else {}
    kind, shape = table.get("dtype"), table.get("shape")
    if not isinstance(kind, NumpyType) or not isinstance(shape, tuple) or len(shape) > 64:
        raise Malformed("an array of joblib in it has no type or shape")
    if kind.code.startswith("O"):
        inner = Machine(m.stream, m.report, m.budget, m.rules, m.build, m.persistent, m.inert)
        inner.after_build = m.after_build
        value, end = execute(inner, at)
        m.literals += inner.literals
        m.calls += inner.calls
        record.given[:] = [value]
        return end
    if table.get("numpy_array_alignment_bytes") is not None:
        at += 1 + m.stream.read(at, 1)[0]
    width = WIDTHS[NUMPY[kind.code]] if kind.code in NUMPY else text_width(kind.code)
    if not width:
        m.report.stop("unread-tensor", f"an array of joblib in it has items of type {kind.code[:20]!a}, not read")
        raise Malformed("an array of joblib in it is of a type whose size is not known")
    size = width
    for count in shape:
        if type(count) is not int or not 0 <= count < 2**60:
            raise Malformed("an array of joblib in it has no shape")
        size *= count
    if at + size > m.stream.size:
        raise Malformed("an array of joblib in it is cut")
    data = Blob(m.stream.start + at, size, m.stream.place)
    fortran = table.get("order") == "F"
    known = NUMPY.get(kind.code, "")
    record.given[:] = [NumpyArray(known, tuple(n for n in shape if isinstance(n, int)), fortran, data)]
    return at + size
