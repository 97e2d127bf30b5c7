"""ONNX: the initializers of a model's graphs and where their numbers lie; operators of no known set; paths out.

Format: onnx/onnx.proto3. External data are files beside the model: what they are called is given on, and they are
opened by whoever started this process, if they are beside it.
"""

from dataclasses import replace

from .allowed import WIDTHS
from .collect import Found, unread
from .pickles import Job
from .stream import Malformed, Stream
from .values import shown
from .wire import Count, fields, text, varint

TYPES = {1: "F32", 2: "U8", 3: "I8", 4: "U16", 5: "I16", 6: "I32", 7: "I64", 9: "BOOL", 10: "F16", 11: "F64",
         12: "U32", 13: "U64", 16: "BF16", 17: "F8_E4M3", 18: "F8_E4M3FNUZ", 19: "F8_E5M2",
         20: "F8_E5M2FNUZ"}  # fmt: skip
TEXTS = 8
DOMAINS = frozenset(  # sets of operators that ONNX Runtime brings along
    {"", "ai.onnx", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview.training", "com.microsoft",
     "com.microsoft.nchwc", "com.microsoft.experimental", "com.ms.internal.nhwc", "org.pytorch.aten"}
)  # fmt: skip
EXTENSIONS = "ai.onnx.contrib"  # of onnxruntime-extensions, a library that must be named to the session
PYTHON = ("PyOp", "PythonOp", "PythonOpGrad")  # operators that run Python
DEEPEST = 12
SPLIT = "\0"

INFINITIES = {  # one such number alone is a bound or a mask of the program, no weight
    "F16": (b"\x00\x7c", b"\x00\xfc"),
    "BF16": (b"\x80\x7f", b"\x80\xff"),
    "F32": (b"\x00\x00\x80\x7f", b"\x00\x00\x80\xff"),
    "F64": (b"\x00\x00\x00\x00\x00\x00\xf0\x7f", b"\x00\x00\x00\x00\x00\x00\xf0\xff"),
}


class Reader:
    """One model."""

    def __init__(self, job: Job) -> None:
        self.job, self.count, self.domains = job, Count(), set[str]()
        self.scaled: dict[str, tuple[str, str]] = {}  # whole numbers: the scale and zero point an operator gives them

    def model(self, stream: Stream) -> None:
        graphs = 0
        for number, kind, _, body in fields(stream, self.count):
            if number == 7 and kind == 2:
                graphs += 1
                self.graph(body, "", 0)
            elif number == 25 and kind == 2:
                self.function(body)
        if not graphs:
            raise Malformed("it holds no graph")

    def function(self, stream: Stream) -> None:
        for number, kind, _, body in fields(stream, self.count):
            if number == 10 and kind == 2:
                self.domains.add(text(body))  # its own domain: defined here
            if number == 7 and kind == 2:
                self.node(body, "function", 0)

    def graph(self, stream: Stream, path: str, depth: int) -> None:
        if depth > DEEPEST:
            raise Malformed(f"its graphs are nested more than {DEEPEST} deep")
        for number, kind, _, body in fields(stream, self.count):
            if kind != 2:
                continue
            if number == 1:
                self.node(body, path, depth)
            elif number == 5:
                self.tensor(body, path)
            elif number == 15:
                self.job.report.stop("unread-tensor", "it holds sparse initializers, which are not read")

    def node(self, stream: Stream, path: str, depth: int) -> None:
        operator, domain, name = "", "", ""
        inputs: list[str] = []
        inside: list[tuple[int, Stream]] = []
        for number, kind, _, body in fields(stream, self.count):
            if kind != 2:
                continue
            if number == 1:
                inputs.append(text(body))
            elif number == 3:
                name = text(body)
            elif number == 4:
                operator = text(body)
            elif number == 7:
                domain = text(body)
            elif number == 5:
                inside += [(n, b) for n, k, _, b in fields(body, self.count) if k == 2 and n in (5, 6, 10, 11)]
        if operator in SCALED:
            at, far = SCALED[operator]
            names = [".".join(filter(None, (path, one))) if one else "" for one in (*inputs, *[""] * 8)]
            self.scaled.setdefault(names[at], (names[far], names[far + 1]))
        if operator in PYTHON:
            self.job.report.stop("custom-operator", f"its operator {shown(operator)} runs Python", "critical")
        elif domain not in DOMAINS and domain not in self.domains:
            where = f"{shown(domain)}.{shown(operator)}"
            self.job.report.stop("custom-operator", f"its operator {where} needs a library that is not ONNX Runtime's")
        for number, body in inside:
            here = ".".join(filter(None, (path, name or operator)))
            if number in (5, 10):
                self.tensor(body, here)
            else:
                self.graph(body, here, depth + 1)

    def tensor(self, stream: Stream, path: str) -> None:
        dims: list[int] = []
        dtype, name = 0, ""
        held: dict[int, Stream] = {}
        outside: dict[str, str] = {}
        for number, kind, value, body in fields(stream, self.count):
            if number == 1:
                dims += [value] if kind == 0 else _packed(body)
            elif number == 2 and kind == 0:
                dtype = value
            elif number == 8 and kind == 2:
                name = text(body)
            elif number in (4, 5, 7, 9, 10, 11) and kind == 2:
                held[number] = body
            elif number == 13 and kind == 2:
                pair = {n: text(b) for n, k, _, b in fields(body, self.count) if k == 2}
                outside[pair.get(1, "")] = pair.get(2, "")
        self._add(".".join(filter(None, (path, name))) or "tensor", dtype, tuple(dims), held, outside)

    def _add(
        self, name: str, kind: int, shape: tuple[int, ...], held: dict[int, Stream], outside: dict[str, str]
    ) -> None:
        if any(size >= 2**60 for size in shape) or len(shape) > 64:
            raise Malformed("a tensor of it has more numbers than a computer can count")
        dtype = TYPES.get(kind, "")
        count = 1
        for size in shape:
            count *= size
        if kind == TEXTS or not count:
            return
        if not dtype:
            self.job.report.stop("unread-tensor", f"{shown(name)} and others are of a type ({kind}) that is not read")
            self.job.tensors.append(unread(name, shape))
        elif outside:
            self._outside(name, dtype, shape, count, outside)
        else:
            self._inside(name, dtype, shape, count, held)

    def _inside(self, name: str, dtype: str, shape: tuple[int, ...], count: int, held: dict[int, Stream]) -> None:
        """raw_data, or packed numbers of a type that is written as it lies in memory."""
        body = held.get(9) or held.get({"F32": 4, "F64": 10}.get(dtype, 0))
        if body is None and (packed := held.get({"U64": 11, "I64": 7}.get(dtype, 5))):
            return self._varints(name, dtype, shape, count, packed)
        if body is None or body.size != count * WIDTHS[dtype]:
            raise Malformed(f"the numbers of {shown(name)} are not as many as its shape takes")
        if count == 1 and body.read(0, body.size) in INFINITIES.get(dtype, ()):
            return None
        self.job.tensors.append(Found(name, dtype, shape, None, body.place, body.start))
        return None

    def _varints(self, name: str, dtype: str, shape: tuple[int, ...], count: int, body: Stream) -> None:
        values = _packed(body)
        width = WIDTHS[dtype]
        if len(values) != count:
            raise Malformed(f"the numbers of {shown(name)} are not as many as its shape takes")
        start = self.job.scratch.used
        self.job.scratch.add(b"".join((value & (2 ** (8 * width) - 1)).to_bytes(width, "little") for value in values))
        self.job.tensors.append(Found(name, dtype, shape, None, "scratch", start))

    def _outside(self, name: str, dtype: str, shape: tuple[int, ...], count: int, outside: dict[str, str]) -> None:
        place, offset = outside.get("location", ""), outside.get("offset", "0") or "0"
        length = outside.get("length", "")
        if not offset.isdigit() or len(offset) > 18 or (length and length != str(count * WIDTHS[dtype])):
            raise Malformed(f"where the numbers of {shown(name)} lie is not well said")
        self.job.external.append((name, dtype, shape, place, int(offset)))

    def name_scales(self) -> None:
        """Call scales and zero points after the numbers that they belong to, as files of other formats do."""
        by_name = {one.name: i for i, one in enumerate(self.job.tensors)}
        used = [part for parts in self.scaled.values() for part in parts if part]
        for weight, parts in self.scaled.items():
            for part, ending in zip(parts, ("scale", "zero_point"), strict=True):
                place, name = by_name.get(part), f"{weight}_{ending}"
                if weight not in by_name or place is None or name in by_name:
                    continue
                if used.count(part) == 1:
                    self.job.tensors[place] = replace(self.job.tensors[place], name=name)
                else:
                    self.job.tensors.append(replace(self.job.tensors[place], name=name))


SCALED = {  # operators: which input holds whole numbers, and which their scale; the zero point is behind it
    "DequantizeLinear": (0, 1), "QLinearConv": (3, 4), "QLinearMatMul": (3, 4), "QGemm": (3, 4),
    "DynamicQuantizeMatMul": (1, 2), "MatMulIntegerToFloat": (1, 3), "QAttention": (1, 4),
}  # fmt: skip


def _packed(stream: Stream) -> list[int]:
    found, at = [], 0
    while at < stream.size:
        value, at = varint(stream, at)
        found.append(value)
    return found


def onnx(job: Job) -> None:
    """Add the tensors of a model; Malformed where it is none."""
    reader = Reader(job)
    reader.model(job.stream)
    reader.name_scales()


def looks_like(job: Job) -> None:
    """A content without a mark: an ONNX model if its first fields are its version, its producer and then a graph."""
    try:
        found = {}
        count = Count(64)
        for number, kind, value, body in fields(job.stream, count):
            if (number, kind) not in KNOWN:
                return
            found[number] = value if kind == 0 else body.size
        job.kind = "onnx" if found.get(1, 0) in range(1, 100) and found.get(7, 0) > 0 else ""
    except Malformed:
        return


KNOWN = {(1, 0), (2, 2), (3, 2), (4, 2), (5, 0), (6, 2), (7, 2), (8, 2), (14, 2), (20, 2), (25, 2), (26, 2)}
