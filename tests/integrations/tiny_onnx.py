"""An ONNX file of one linear layer, written by hand in the wire format of protocol buffers."""

import numpy as np

FLOAT, BYTES = 1, 2


def varint(n):
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes([*out, n])


def whole(field, n):
    return varint(field << 3) + varint(n)


def inside(field, raw):
    raw = raw.encode() if isinstance(raw, str) else raw
    return varint(field << 3 | BYTES) + varint(len(raw)) + raw


def value(name, dims):
    shape = b"".join(inside(1, inside(2, d) if isinstance(d, str) else whole(1, d)) for d in dims)
    return inside(1, name) + inside(2, inside(1, whole(1, FLOAT) + inside(2, shape)))


def tensor(name, array):
    dims = b"".join(whole(1, d) for d in array.shape)
    return dims + whole(2, FLOAT) + inside(8, name) + inside(9, array.astype("<f4").tobytes())


def linear(path, weight, bias, shape=None, batch="batch"):
    """Writes x (batch, *shape) -> logits (batch, C); images are flattened first."""
    shape = shape or (weight.shape[0],)
    flat = inside(1, inside(1, "x") + inside(2, "flat") + inside(4, "Flatten"))
    product = inside(1, inside(1, "flat") + inside(1, "w") + inside(2, "z") + inside(4, "MatMul"))
    total = inside(1, inside(1, "z") + inside(1, "b") + inside(2, "logits") + inside(4, "Add"))
    graph = flat + product + total + inside(2, "g")
    graph += inside(5, tensor("w", np.asarray(weight))) + inside(5, tensor("b", np.asarray(bias)))
    graph += inside(11, value("x", (batch, *shape))) + inside(12, value("logits", (batch, weight.shape[1])))
    path.write_bytes(whole(1, 8) + inside(7, graph) + inside(8, inside(1, "") + whole(2, 13)))
    return path
