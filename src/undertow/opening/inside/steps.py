"""What each opcode does to the machine, as CPython's Lib/pickle.py says, except that nothing is imported or called."""

from collections.abc import Callable, Generator

from .machine import CODE, MALFORMED, Machine
from .opcodes import CONSTANTS, Blob, Opcode, opcodes
from .stream import Malformed, TooMuch
from .values import Bag, Opaque, Record, Table

RAW_BEHIND = "joblib.numpy_pickle.NumpyArrayWrapper"  # objects behind which bytes stand that are no instructions


def execute(m: Machine, offset: int) -> tuple[object, int]:
    """The object of the pickle at `offset`, as the machine describes it, and where the pickle ends.

    Malformed where it breaks a rule (what its rest would import is named all the same); TooMuch beyond the budget.
    """
    frame = at = offset
    count, budget, steps, memo = 0, m.budget, STEPS, m.memo
    code = opcodes(m.stream, offset, budget.text)
    try:
        for name, argument, begin, at in code:
            count += 1
            if not count & 15:
                _charge(m, 16)
            if begin < frame < at and name != "FRAME":
                raise Malformed("an instruction crosses the end of its frame")
            step = steps.get(name)
            if step is _literal:  # the most frequent: without a call
                m.held += 1
                m.stack.append(argument)
            elif step is _memoize and m.stack:
                memo[len(memo)] = m.stack[-1]
            elif step is _get and argument in memo:
                m.held += 1
                m.stack.append(memo[argument])
            elif step is not None:
                step(m, argument)
            elif name == "BUILD":
                at = _build(m, at, code)
            elif name == "STOP":
                return _stop(m), at
            elif name == "FRAME":
                frame = _frame(m, argument, begin, at, frame)
            else:
                raise Malformed(f"the opcode {name} has no place in a checkpoint")
    except Malformed:
        _glance(m, at)
        raise
    finally:
        budget.opcodes -= count & 15
    raise Malformed("a pickle of it has no end")


def _charge(m: Machine, count: int) -> None:
    """Pay for instructions; TooMuch where the budget, or the memory for objects, is spent."""
    m.budget.opcodes -= count
    if m.budget.opcodes < 0 or m.held > m.budget.stack or len(m.memo) > m.budget.stack:
        raise TooMuch("its pickles have more instructions or objects than the limit")


def _frame(m: Machine, length: object, begin: int, end: int, frame: int) -> int:
    if not isinstance(length, int) or end + length > m.stream.size or begin < frame:
        raise Malformed("a frame of it is false")
    return end + length


def _stop(m: Machine) -> object:
    if len(m.stack) != 1 or m.below:
        raise Malformed("a pickle of it ends with more or less than one object")
    return m.stack[0]


def _literal(m: Machine, value: object) -> None:
    m.held += 1
    m.stack.append(value)


def _bytes(m: Machine, value: object) -> None:
    if isinstance(value, bytes | Blob):
        m.literals.append(value)
    m.push(value)


def _glance(m: Machine, at: int) -> None:
    """After a fault: name what the rest would still import, so far as it can be read."""
    try:
        for name, argument, _, _ in opcodes(m.stream, at, m.budget.text):
            m.budget.opcodes -= 1
            if m.budget.opcodes < 0:
                return
            if name in ("GLOBAL", "INST"):
                _find_global(m, argument)
    except (Malformed, TooMuch):
        return


def _find_global(m: Machine, names: object) -> object:
    module, name = names if isinstance(names, tuple) else (None, None)
    return m.find(module, name)


def _reduce(m: Machine, _: object) -> None:
    args, function = m.pop(), m.pop()
    m.push(m.call(function, args))


def _new(m: Machine, _: object) -> None:
    args, function = m.pop(), m.pop()
    m.push(m.call(function, args, new=True))


def _new_ex(m: Machine, _: object) -> None:
    words, args, function = m.pop(), m.pop(), m.pop()
    if not isinstance(words, Table) or words.pairs:
        m.report.stop(MALFORMED, "a pickle of it makes an object with named arguments")
    m.push(m.call(function, args, new=True))


def _obj(m: Machine, _: object) -> None:
    function, *args = m.marked() or [None]
    m.push(m.call(function, tuple(args)))


def _inst(m: Machine, names: object) -> None:
    args = tuple(m.marked())
    m.push(m.call(_find_global(m, names), args))


def _stack_global(m: Machine, _: object) -> None:
    name, module = m.pop(), m.pop()
    m.push(m.find(module, name))


def _extension(m: Machine, number: object) -> None:
    m.report.stop(CODE, f"it imports number {number} of a registry of extensions", "critical")
    m.push(Opaque("extension"))


def _persistent(m: Machine, argument: object) -> None:
    identity = m.pop() if argument is None else argument
    if m.persistent is None or argument is not None:
        m.report.stop(MALFORMED, "a pickle of it asks for an object from outside")
        m.push(Opaque("persistent"))
    else:
        m.push(m.persistent(identity))


def _build(m: Machine, at: int, code: Generator[Opcode, int | None, None]) -> int:
    """Set a state; where the pickle goes on, which is further behind for objects that bytes follow."""
    state, target = m.pop(), m.top()
    if isinstance(target, Record):
        target.given.append(state)
        m.held += 1
        if target.kind.what == RAW_BEHIND and m.after_build is not None:
            end = m.after_build(m, target, at)
            code.send(end)
            return end
    elif not isinstance(target, Opaque):
        m.build(m, (target, state))
    return at


def _append(m: Machine, items: list[object]) -> None:
    target = m.top()
    if isinstance(target, list):
        m.held += len(items)
        target.extend(items)
    elif isinstance(target, Record):
        m.held += len(items)
        target.given.extend(items)
    elif not isinstance(target, Opaque):
        raise Malformed("a pickle of it appends to what is no list")


def _set_items(m: Machine, items: list[object]) -> None:
    target = m.top()
    keys = iter(items)
    try:
        pairs = list(zip(keys, keys, strict=True))
    except ValueError as error:
        raise Malformed("a pickle of it sets a key without a value") from error
    if isinstance(target, Table):
        m.held += len(items)
        target.pairs += pairs
    elif isinstance(target, Record):
        m.held += len(items)
        target.given.append(Table(pairs))
    elif not isinstance(target, Opaque):
        raise Malformed("a pickle of it sets items of what is no dict")


def _add_items(m: Machine, _: object) -> None:
    items = m.marked()
    target = m.top()
    if isinstance(target, Bag):
        m.held += len(items)
        target.items.extend(items)
    elif not isinstance(target, Opaque):
        raise Malformed("a pickle of it adds to what is no set")


def _dict(m: Machine, _: object) -> None:
    items = m.marked()
    m.push(Table())
    _set_items(m, items)


def _set_item(m: Machine, _: object) -> None:
    value, key = m.pop(), m.pop()
    _set_items(m, [key, value])


def _tuple(count: int) -> Callable[[Machine, object], None]:
    def step(m: Machine, _: object) -> None:
        if len(m.stack) < count:
            raise Malformed("a pickle of it takes from an empty stack")
        items = tuple(m.stack[-count:])
        del m.stack[-count:]
        m.held -= count - 1
        m.stack.append(items)

    return step


def _marked_as(build: Callable[[list[object]], object]) -> Callable[[Machine, object], None]:
    def step(m: Machine, _: object) -> None:
        items = m.marked()
        m.push(build(items))
        m.held += len(items)

    return step


def _pop(m: Machine, _: object) -> None:
    if m.stack:
        m.pop()
    else:
        m.marked()


def _pop_mark(m: Machine, _: object) -> None:
    m.marked()


def _mark(m: Machine, _: object) -> None:
    if len(m.below) > 100_000:
        raise TooMuch("a pickle of it has more than 100,000 marks")
    m.below.append(m.stack)
    m.stack = []


def _put(m: Machine, number: object) -> None:
    if not isinstance(number, int) or number < 0:
        raise Malformed("a pickle of it numbers its memo below 0")
    m.memo[number] = m.top()


def _memoize(m: Machine, _: object) -> None:
    m.memo[len(m.memo)] = m.top()


def _get(m: Machine, number: object) -> None:
    if not isinstance(number, int) or number not in m.memo:
        raise Malformed("a pickle of it takes from its memo what was not put there")
    m.push(m.memo[number])


def _proto(_: Machine, number: object) -> None:
    if not isinstance(number, int) or number > 5:
        raise Malformed("it is a pickle of a protocol that does not exist yet")


def _push(make: Callable[[], object]) -> Callable[[Machine, object], None]:
    return lambda m, _: m.push(make())


NUMBERS = frozenset({"FLOAT", "INT", "BININT", "BININT1", "LONG", "BININT2", "BINFLOAT", "LONG1", "LONG4"})
TEXTS = frozenset(
    {"STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
)
BYTES = frozenset({"BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"})
STEPS: dict[str, Callable[[Machine, object], None]] = {
    "MARK": _mark,
    "POP": _pop,
    "POP_MARK": _pop_mark,
    "DUP": lambda m, _: m.push(m.top()),
    **dict.fromkeys(CONSTANTS, _literal),
    "EMPTY_LIST": _push(list),
    "EMPTY_DICT": _push(Table),
    "EMPTY_SET": _push(Bag),
    "PERSID": _persistent,
    "BINPERSID": _persistent,
    "REDUCE": _reduce,
    "NEWOBJ": _new,
    "NEWOBJ_EX": _new_ex,
    "OBJ": _obj,
    "INST": _inst,
    "GLOBAL": lambda m, names: m.push(_find_global(m, names)),
    "STACK_GLOBAL": _stack_global,
    **dict.fromkeys(("EXT1", "EXT2", "EXT4"), _extension),
    "APPEND": lambda m, _: _append(m, [m.pop()]),
    "APPENDS": lambda m, _: _append(m, m.marked()),
    "SETITEM": _set_item,
    "SETITEMS": lambda m, _: _set_items(m, m.marked()),
    "ADDITEMS": _add_items,
    "DICT": _dict,
    "LIST": _marked_as(list),
    "TUPLE": _marked_as(tuple),
    "FROZENSET": _marked_as(Bag),
    "TUPLE1": _tuple(1),
    "TUPLE2": _tuple(2),
    "TUPLE3": _tuple(3),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _put),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _get),
    "MEMOIZE": _memoize,
    "PROTO": _proto,
    **dict.fromkeys((*NUMBERS, *TEXTS), _literal),
    **dict.fromkeys(BYTES, _bytes),
}
