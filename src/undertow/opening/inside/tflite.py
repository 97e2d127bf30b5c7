"""TensorFlow Lite: the tensors of a flatbuffer that have numbers of their own, and operators that need more code.

Format: tensorflow/lite/schema/schema.fbs. Offsets are checked against the file; nothing is followed twice.
"""

from .allowed import WIDTHS
from .collect import Found, unread
from .pickles import Job
from .stream import Malformed, Stream, TooMuch
from .values import shown

TYPES = {0: "F32", 1: "F16", 2: "I32", 3: "U8", 4: "I64", 6: "BOOL", 7: "I16", 9: "I8", 10: "F64", 12: "U64",
         15: "U32", 16: "U16", 18: "BF16"}  # fmt: skip
TEXTS = (5,)
CUSTOM = 32
KNOWN = frozenset({"TFLite_Detection_PostProcess", "Convolution2DTransposeBias", "MaxPoolingWithArgmax2D",
                   "MaxUnpooling2D", "TransformLandmarks", "TransformTensorBilinear", "Landmarks2TransformMatrix",
                   "AudioSpectrogram", "Mfcc"})  # fmt: skip
MOST = 500_000


class Table:
    """A table of a flatbuffer."""

    def __init__(self, stream: Stream, at: int) -> None:
        self.stream, self.at = stream, at
        self.fields = at - _int(stream, at, 4, signed=True)
        self.size = _int(stream, self.fields, 2)

    def place(self, field: int) -> int:
        """Where a field lies; 0 where it is not there."""
        entry = 4 + 2 * field
        offset = _int(self.stream, self.fields + entry, 2) if entry + 2 <= self.size else 0
        return self.at + offset if offset else 0

    def number(self, field: int, size: int) -> int:
        place = self.place(field)
        return _int(self.stream, place, size) if place else 0

    def vector(self, field: int) -> tuple[int, int]:
        """Where the items of a vector begin, and how many there are."""
        place = self.place(field)
        if not place:
            return 0, 0
        start = place + _int(self.stream, place, 4)
        count = _int(self.stream, start, 4)
        if count > MOST and start + count > self.stream.size:
            raise Malformed("a list of it is longer than the file")
        return start + 4, count

    def tables(self, field: int) -> list["Table"]:
        start, count = self.vector(field)
        if count > MOST:
            raise TooMuch(f"a list of it has more than {MOST:,} items")
        places = [start + 4 * i for i in range(count)]
        return [Table(self.stream, place + _int(self.stream, place, 4)) for place in places]

    def text(self, field: int) -> str:
        start, count = self.vector(field)
        return self.stream.read(start, min(count, 4096)).decode("utf8", "replace") if count else ""


def _int(stream: Stream, at: int, size: int, signed: bool = False) -> int:
    return int.from_bytes(stream.read(at, size), "little", signed=signed)


def tflite(job: Job) -> None:
    """Add the tensors of a model; custom operators and types that are not read are findings."""
    stream = job.stream
    model = Table(stream, _int(stream, 0, 4))
    for code in model.tables(1):
        _operator(job, code)
    buffers = model.tables(4)
    for number, graph in enumerate(model.tables(2)):
        for tensor in graph.tables(0):
            _tensor(job, tensor, buffers, f"graph{number}." if number else "")


def _operator(job: Job, code: Table) -> None:
    name = code.text(1)
    if not name or name in KNOWN:
        return
    if name.startswith("Flex"):
        text = f"its operator {shown(name)} runs one of TensorFlow's, which may read and write files"
        job.report.stop("custom-operator", text, "critical" if name in FILES else "warning")
    else:
        job.report.stop("custom-operator", f"its operator {shown(name)} needs a library of its own")


FILES = frozenset({"FlexReadFile", "FlexWriteFile", "FlexPyFunc", "FlexEagerPyFunc", "FlexPyFuncStateless",
                   "FlexMatchingFiles", "FlexSave", "FlexSaveV2", "FlexPrintV2", "FlexShardedFilename"})  # fmt: skip


def _tensor(job: Job, tensor: Table, buffers: list[Table], prefix: str) -> None:
    number, name = tensor.number(2, 4), f"{prefix}{tensor.text(3)}"
    if not 0 < number < len(buffers):
        return
    held = buffers[number]
    start, size = held.vector(0)
    if not size and held.number(1, 8) > 1:
        start, size = held.number(1, 8), held.number(2, 8)
    if not size:
        return
    place, rank = tensor.vector(0)
    if rank > 64:
        raise Malformed("a tensor of it has more than 64 axes")
    shape = tuple(_int(job.stream, place + 4 * i, 4, signed=True) for i in range(rank))
    kind = tensor.number(1, 1)
    if kind in TEXTS:
        return
    if kind not in TYPES or tensor.place(6):
        job.report.stop("unread-tensor", f"{shown(name)} and others are of a type ({kind}) or sparse, not read")
        job.tensors.append(unread(_free(job, name), tuple(abs(axis) for axis in shape)))
        return
    count = WIDTHS[TYPES[kind]]
    for axis in shape:
        count *= axis
    if count != size or start + size > job.stream.size:
        raise Malformed(f"the numbers of {shown(name)} are not as many as its shape takes")
    name = _free(job, name)
    job.tensors.append(Found(name, TYPES[kind], shape, None, job.stream.place, job.stream.start + start))
    _scales(job, tensor, name, shape)


def _free(job: Job, name: str) -> str:
    taken = {one.name for one in job.tensors[-64:]}
    return name if name not in taken else f"{name}#{len(job.tensors)}"


def _scales(job: Job, tensor: Table, name: str, shape: tuple[int, ...]) -> None:
    """The factors of a quantised tensor, beside it: value = scale * (stored - zero point), by its own axis."""
    place = tensor.place(4)
    if not place:
        return
    quantised = Table(job.stream, place + _int(job.stream, place, 4))
    axis = quantised.number(6, 4)
    for field, width, dtype, ending in ((2, 4, "F32", "scale"), (3, 8, "I64", "zero_point")):
        start, count = quantised.vector(field)
        if not count or start + width * count > job.stream.size:
            continue
        if dtype == "I64" and not any(job.stream.read(start, width * count)):
            continue
        along = count > 1 and axis < len(shape) and shape[axis] == count
        form = tuple(count if i == axis else 1 for i in range(len(shape))) if along else (count,)
        job.tensors.append(Found(f"{name}_{ending}", dtype, form, None, job.stream.place, job.stream.start + start))
