"""The only globals that a checkpoint may name, and what each call means. Everything else is refused.

The list follows torch/_weights_only_unpickler.py, less what cannot be read here (quantised, sparse, nested tensors),
plus the arrays of NumPy. Rules describe; none of them runs the function it is named after.
"""

import struct
from typing import Any

from .machine import CODE, MALFORMED, Machine, Rule
from .opcodes import Blob
from .stream import Malformed
from .values import Bag, Global, Kind, NumpyArray, NumpyType, Opaque, Plain, Record, Storage, Table, View

STORAGES = {
    **{"DoubleStorage": "F64", "FloatStorage": "F32", "HalfStorage": "F16", "BFloat16Storage": "BF16"},
    **{"LongStorage": "I64", "IntStorage": "I32", "ShortStorage": "I16", "CharStorage": "I8", "ByteStorage": "U8"},
    **{"BoolStorage": "BOOL", "UntypedStorage": ""},
    **{"QInt8Storage": "I8", "QUInt8Storage": "U8", "QInt32Storage": "I32"},
}
DTYPES = {
    **{"float64": "F64", "double": "F64", "float32": "F32", "float": "F32", "float16": "F16", "half": "F16"},
    **{"bfloat16": "BF16", "int64": "I64", "long": "I64", "int32": "I32", "int": "I32", "int16": "I16", "short": "I16"},
    **{"int8": "I8", "uint8": "U8", "uint16": "U16", "uint32": "U32", "uint64": "U64", "bool": "BOOL"},
    **{"float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2"},
    **{"float8_e4m3fnuz": "F8_E4M3FNUZ", "float8_e5m2fnuz": "F8_E5M2FNUZ"},
}
WIDTHS = {
    **{"F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2},
    **{"I8": 1, "U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E4M3FNUZ": 1, "F8_E5M2FNUZ": 1, "": 1},
}
LARGEST = 1e30  # of a scale
NUMPY = {
    **{f"f{n}": f"F{8 * n}" for n in (2, 4, 8)},
    **{f"{k}{n}": f"{k.upper()}{8 * n}" for k in "iu" for n in (1, 2, 4, 8)},
    "b1": "BOOL",
}


def _bad(what: str) -> Malformed:
    return Malformed(f"a pickle of it has {what} that does not fit")


def _take(args: tuple[object, ...], *kinds: Any) -> Any:
    """The arguments, each of its kind; more or fewer, or others, are Malformed."""
    if len(args) != len(kinds) or any(not isinstance(arg, kind) for arg, kind in zip(args, kinds, strict=True)):
        raise _bad("a call")
    return args


def _table(m: Machine, args: tuple[object, ...]) -> object:
    table = Table()
    if args:
        (items,) = _take(args, list | Table)
        pairs = items.pairs if isinstance(items, Table) else [tuple(i) for i in items if isinstance(i, list | tuple)]
        if len(pairs) != len(items.pairs if isinstance(items, Table) else items) or any(len(p) != 2 for p in pairs):
            raise _bad("a table")
        table.pairs.extend(pairs)
        m.held += 2 * len(pairs)
    return table


def _default_table(m: Machine, args: tuple[object, ...]) -> object:
    known = (*BUILTINS, "collections")
    if args and args[0] is not None and not (isinstance(args[0], Global) and args[0].module in known):
        raise _bad("a default")
    return _table(m, args[1:])


def _bag(m: Machine, args: tuple[object, ...]) -> object:
    (items,) = _take(args, list | tuple) if args else ([],)
    m.held += len(items)
    return Bag(list(items))


def _encode(m: Machine, args: tuple[object, ...]) -> object:
    """Protocol 2 writes bytes as text in Latin-1."""
    text, how = _take(args, str, str)
    if how not in ("latin1", "latin-1"):
        raise _bad("an encoding")
    try:
        raw = text.encode("latin1")
    except UnicodeEncodeError as error:
        raise _bad("a text") from error
    m.spend(len(raw))
    m.literals.append(raw)
    return raw


def _bytearray(_: Machine, args: tuple[object, ...]) -> object:
    return _take(args, bytes | Blob)[0] if args else b""


def _plain(what: str) -> Rule:
    return lambda _, args: Plain(what)


def _size(_: Machine, args: tuple[object, ...]) -> object:
    return _sizes(_take(args, tuple | list)[0])


def _sizes(values: object) -> tuple[int, ...]:
    if not isinstance(values, tuple | list) or len(values) > 64:
        raise _bad("a shape")
    if not all(type(v) is int and 0 <= v < 2**60 for v in values):
        raise _bad("a shape")
    return tuple(v for v in values if isinstance(v, int))


def view(args: tuple[object, ...], dtype: str = "") -> object:
    """The tensor of (storage, offset, shape, stride); Malformed where it would look beyond the storage."""
    storage, offset, shape, stride = args
    if isinstance(storage, Opaque):
        return storage
    if not isinstance(storage, Storage) or type(offset) is not int or offset < 0:
        raise _bad("a tensor")
    sizes, steps, kind = _sizes(shape), _sizes(stride), dtype or storage.dtype
    if len(sizes) != len(steps) or not kind:
        raise _bad("a tensor")
    room = storage.numel * WIDTHS[storage.dtype] // WIDTHS[kind]
    last = offset + sum((size - 1) * step for size, step in zip(sizes, steps, strict=True))
    if 0 not in sizes and last >= room:
        raise Malformed("a tensor of it reaches beyond its storage")
    return View(storage, kind, offset, sizes, steps)


def _tensor(m: Machine, args: tuple[object, ...]) -> object:
    """_rebuild_tensor (4 arguments), _v2 (6 or 7: requires_grad, hooks, metadata)."""
    if len(args) not in (4, 6, 7):
        raise _bad("a tensor")
    _no_hooks(m, args[5:6])
    return view(args[:4])


def _tensor_v3(m: Machine, args: tuple[object, ...]) -> object:
    if len(args) not in (7, 8) or not isinstance(args[6], Global) or args[6].module != "torch":
        raise _bad("a tensor")
    _no_hooks(m, args[5:6])
    if args[6].name not in DTYPES:
        return _unread(f"a tensor of type {args[6]}")(m, args)
    return view(args[:4], DTYPES[args[6].name])


def _no_hooks(m: Machine, hooks: tuple[object, ...]) -> None:
    if any(not (hook is None or (isinstance(hook, Table) and not hook.pairs)) for hook in hooks):
        m.report.stop(MALFORMED, "a tensor of it has hooks")


def _quantised(m: Machine, args: tuple[object, ...]) -> object:
    """A quantised tensor: whole numbers, their scale and zero point, as tensors of their own."""
    if len(args) not in (6, 7) or not isinstance(args[4], tuple) or len(args[4]) not in (3, 4):
        raise _bad("a quantised tensor")
    _no_hooks(m, args[6:7])
    how, scale, zero, *axis = args[4]
    known = isinstance(how, Global) and how.module == "torch" and how.name.endswith("_affine")
    parts = [
        scale if isinstance(scale, View) else _number(scale, float, LARGEST, "F64", "<d"),
        zero if isinstance(zero, View) else _number(zero, int, 2**31, "I64", "<q"),
    ]
    if not known or not isinstance(args[0], Storage) or None in parts or axis not in ([], [0]):
        return _unread("a tensor made by _rebuild_qtensor")(m, args)
    pairs: list[tuple[object, object]] = [("qweight", view(args[:4])), ("scale", parts[0]), ("zero_point", parts[1])]
    return Table(pairs)


def _number(value: object, kind: type[float], most: float, dtype: str, code: str) -> NumpyArray | None:
    """A number of that type as an array of one; None for anything else, and beyond `most`."""
    if type(value) is not kind or not -most < value < most:
        return None
    return NumpyArray(dtype, (), False, struct.pack(code, value))


def _parameter(m: Machine, args: tuple[object, ...]) -> object:
    if len(args) not in (3, 4) or not isinstance(args[0], View | Opaque):
        raise _bad("a parameter")
    _no_hooks(m, args[2:3])
    _attributes(m, args[3:4])
    return args[0]


def _of_type(m: Machine, args: tuple[object, ...]) -> object:
    """A tensor with attributes: (function, class, arguments, state)."""
    function, kind, rest, state = _take(args, Global | Opaque, Global | Opaque, tuple, object)
    known = (("torch", "Tensor"), ("torch.nn.parameter", "Parameter"), ("torch.nn.parameter", "Buffer"))
    if isinstance(kind, Global) and (kind.module, kind.name) not in known:
        raise _bad("a kind of tensor")
    if isinstance(function, Global) and function.module != "torch._utils":
        raise _bad("a tensor")
    _attributes(m, (state,))
    return m.call(function, rest)


def _attributes(m: Machine, states: tuple[object, ...]) -> None:
    simple = (str, int, float, bool, type(None))
    for state in states:
        if not isinstance(state, Table) or not all(isinstance(v, simple) for _, v in state.pairs):
            m.report.stop("unread", "a tensor of it has attributes that were not read")


def _unread(what: str) -> Rule:
    def rule(m: Machine, _: tuple[object, ...]) -> object:
        m.report.stop("unread-tensor", f"it holds {what}, which is not read yet")
        return Opaque(what)

    return rule


def text_width(code: str) -> int:
    """Bytes of one item of a NumPy type that is no number (texts, dates): 0 where that is not known.

    >>> text_width("U5"), text_width("S3"), text_width("M8[ns]"), text_width("O")
    (20, 3, 8, 0)
    """
    kind, size = code[:1], code[1:].split("[")[0]
    if kind not in "SUVMm" or not kind or not size.isdigit() or len(size) > 9:
        return 0
    return int(size) * (4 if kind == "U" else 1)


def _numpy_type(_: Machine, args: tuple[object, ...]) -> object:
    if not args or not isinstance(args[0], str):
        raise _bad("a type of NumPy")
    return NumpyType(args[0].lstrip("<|="))


def _reconstruct(_: Machine, args: tuple[object, ...]) -> object:
    if len(args) != 3 or args[0] != Global("numpy", "ndarray"):
        raise _bad("an array")
    return NumpyArray()


def _scalar(m: Machine, args: tuple[object, ...]) -> object:
    dtype, raw = _take(args, NumpyType, object)
    if text_width(dtype.code):  # a text or a date
        return Plain("text")
    if dtype.code not in NUMPY or not isinstance(raw, bytes):
        return _unread(f"a number of NumPy type {dtype.code[:20]!a}")(m, args)
    return Plain("number")


def _frombuffer(m: Machine, args: tuple[object, ...]) -> object:
    raw, dtype, shape, order = _take(args, bytes | Blob, NumpyType, tuple, str)
    return _fill(m, NumpyArray(), dtype, shape, order == "F", raw)


def _fill(m: Machine, array: NumpyArray, dtype: object, shape: object, fortran: object, raw: object) -> object:
    sizes = _sizes(shape)
    if isinstance(dtype, NumpyType) and text_width(dtype.code) and isinstance(raw, bytes | Blob):
        return array  # texts and dates: no weights
    if isinstance(dtype, NumpyType) and dtype.code.startswith("O") and isinstance(raw, list):
        array.items = raw
        return array
    if not isinstance(dtype, NumpyType) or dtype.code not in NUMPY or not isinstance(raw, bytes | Blob):
        return _unread("an array of NumPy whose items are no plain numbers")(m, ())
    array.dtype, array.shape, array.fortran, array.data = NUMPY[dtype.code], sizes, bool(fortran), raw
    count = WIDTHS[array.dtype]
    for size in sizes:
        count *= size
    if count != (raw.size if isinstance(raw, Blob) else len(raw)):
        raise _bad("an array")
    return array


def build(m: Machine, args: tuple[object, ...]) -> object:
    """BUILD: the state of an OrderedDict (its _metadata), of a dtype, of an array; no other object takes one."""
    target, state = args
    if isinstance(target, Table) and isinstance(state, Table) and all(k == "_metadata" for k, _ in state.pairs):
        return target
    if isinstance(target, NumpyType) and isinstance(state, tuple) and len(state) in (8, 9):
        if state[3] is not None and type(state[5]) is int:
            m.report.stop("unread-tensor", "it holds an array of NumPy whose items have several fields")
            target.code = f"V{state[5]}"
        elif state[1] not in ("<", "|", "=") or state[2:5] != (None, None, None):
            target.code = "unread"
        elif target.code[:1] in ("U", "S", "V") and not target.code[1:] and type(state[5]) is int:
            target.code += str(state[5] // (4 if target.code == "U" else 1))
        return target
    if isinstance(target, NumpyArray) and isinstance(state, tuple) and len(state) == 5:
        if isinstance(_fill(m, target, state[2], state[1], state[3], state[4]), Opaque):
            target.dtype = ""
        return target
    m.report.stop(MALFORMED, "a pickle of it sets the state of an object in an odd way")
    return target


def _reconstructor(m: Machine, args: tuple[object, ...]) -> object:
    """copyreg's way of protocols 0 and 1: (class, base, its state); only for known classes, based on object."""
    if len(args) == 3 and isinstance(args[0], Kind) and isinstance(args[1], Kind) and args[1].what.endswith(".object"):
        return Record(args[0], [args[2]])
    if not any(isinstance(arg, Opaque) for arg in args):
        m.report.stop(CODE, "loading it would make an object by copyreg._reconstructor of an odd class", "critical")
    return Opaque("object")


def _given(_: Machine, args: tuple[object, ...]) -> object:
    """TorchScript's lists and type tags: the first argument as it is."""
    if not args:
        raise _bad("a list")
    return args[0]


BUILTINS = ("builtins", "__builtin__")
CORES = ("core", "_core")  # of NumPy 1 and 2
NOT_READ = ("sparse_tensor", "meta_tensor_no_storage", "nested_tensor", "device_tensor_from_numpy")
NAMES = (  # of torch, that are never called
    *("Tensor", *DTYPES, "complex64", "complex128", "ComplexFloatStorage", "ComplexDoubleStorage"),
    *("per_tensor_affine", "per_channel_affine", "per_tensor_symmetric", "per_channel_symmetric"),
    *("qint8", "quint8", "qint32", "quint4x2", "quint2x4"),
)
SCALARS = (  # types of NumPy that objects are told to use, and that are never called
    *("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("bool_", "bool", "complex64", "complex128", "str_", "bytes_"),
)
PLAIN_TYPES = ("dict", "list", "int", "long", "float", "str", "unicode", "bytes", "bool", "tuple")  # named, not called
RULES: dict[tuple[str, str], Rule | None] = {
    ("collections", "OrderedDict"): _table,
    ("collections", "Counter"): _table,
    ("collections", "defaultdict"): _default_table,
    ("_codecs", "encode"): _encode,
    **{(b, name): _bag for b in BUILTINS for name in ("set", "frozenset")},
    **{(b, "bytearray"): _bytearray for b in BUILTINS},
    **{(b, "complex"): _plain("number") for b in BUILTINS},
    **{(b, name): None for b in BUILTINS for name in PLAIN_TYPES},
    **{("torch", name): None for name in NAMES},
    **{(place, name): None for place in ("torch", "torch.cuda") for name in STORAGES if name != "UntypedStorage"},
    **{(place, "_reconstructor"): _reconstructor for place in ("copyreg", "copy_reg")},
    **{
        ("torch.jit._pickle", name): _given
        for name in ("build_intlist", "build_doublelist", "build_boollist", "build_tensorlist", "restore_type_tag")
    },
    ("torch", "Size"): _size,
    ("torch", "device"): _plain("device"),
    ("torch.nn.parameter", "Parameter"): None,
    ("torch.nn.parameter", "Buffer"): None,
    ("torch.serialization", "_get_layout"): _plain("layout"),
    ("torch.storage", "UntypedStorage"): None,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_tensor_v3"): _tensor_v3,
    ("torch._utils", "_rebuild_qtensor"): _quantised,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _parameter,
    ("torch._tensor", "_rebuild_from_type_v2"): _of_type,
    **{("torch._utils", f"_rebuild_{name}"): _unread(f"a tensor made by _rebuild_{name}") for name in NOT_READ},
    ("numpy", "ndarray"): None,
    **{("numpy", name): None for name in SCALARS},
    ("numpy", "dtype"): _numpy_type,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in CORES},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in CORES},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _frombuffer for core in CORES},
}
