"""Readers of untrusted bytes raise nothing but their own refusals, stop in time, and never see a payload as safe."""

import gzip
import os
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save
from tests.opening.assembler import GOOD, NUMBERS, call, glob, proto, text, torch_file
from tests.opening.test_formats import LAMBDA, W, hdf5, initializer, model, node, npy, tarred, tflite

from undertow.opening.inside.child import READERS, read
from undertow.opening.inside.opcodes import OPCODES
from undertow.opening.opened import Limits
from undertow.opening.safe_header import safetensors, safetensors_header
from undertow.opening.sniff import kind_of
from undertow.opening.source import Refused, Source

LIMITS = Limits(opcodes=5_000, depth_of_stack=5_000, pickle_bytes=1 << 18, inflated_bytes=1 << 20, nodes=5_000)
SAFE = save({"a": np.ones((2, 3), np.float32), "b": np.arange(4)}, {"k": "v"})
ZIP = torch_file(GOOD, {"0": NUMBERS})
MADE = (  # small files of the other formats
    model(node("Gemm") + initializer("w", W)), hdf5(attribute=LAMBDA), tflite("Evil"), tarred({"a/w.npy": npy(W)}),
    gzip.compress(npy(W)), torch_file(GOOD, {"0": NUMBERS}, **{"code/x.py": b"x", "constants.pkl": GOOD}),
)  # fmt: skip
EVIL = call(glob("posix", "system"), text("false"))


@pytest.fixture(scope="module")
def memory():
    """Two files that live in memory: the input and the scratch."""
    fds = os.memfd_create("input"), os.memfd_create("scratch")
    yield fds
    for fd in fds:
        os.close(fd)


def put(memory, raw):
    os.ftruncate(memory[0], 0)
    os.pwrite(memory[0], raw, 0)
    return Source("input", memory[0], len(raw), (0, 0))


def judge(memory, kind, raw):
    put(memory, raw)
    return read(memory[0], len(raw), kind, asdict(LIMITS), memory[1])


@st.composite
def changed(draw, raw):
    """A good file after a few accidents."""
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(raw)))
        stop = draw(st.integers(start, min(len(raw), start + 24)))
        raw = raw[:start] + draw(st.binary(max_size=12) | st.just(raw[start:stop] * 2)) + raw[stop:]
    return raw


soups = st.lists(
    st.tuples(st.sampled_from(sorted(OPCODES)), st.binary(max_size=9) | st.just(b"os\nsystem\n") | st.just(b"1\n")),
    max_size=40,
).map(lambda parts: b"".join(bytes([code]) + argument for code, argument in parts))


def _one_line(refused):
    assert "\n" not in refused.text


@given(raw=st.binary(max_size=300) | changed(SAFE))
def test_headers(memory, raw):
    source = put(memory, raw)
    try:
        entries, said = safetensors_header(source, LIMITS)
    except Refused as refused:
        _one_line(refused)
        return
    assert sum(entry.end - entry.begin for entry in entries) + 8 + int.from_bytes(raw[:8], "little") == len(raw)
    assert all(isinstance(value, str) for value in said.values())
    for name, tensor in safetensors(source, LIMITS)[0].items():
        assert tensor.whole().shape == tensor.shape, name


@pytest.mark.parametrize("kind", READERS)
@given(raw=st.binary(max_size=300) | soups | changed(GOOD) | changed(ZIP) | st.sampled_from(MADE).flatmap(changed))
def test_readers(memory, kind, raw):
    found = judge(memory, kind, raw)
    assert found["complete"] or found["findings"]
    kind_of(put(memory, raw))
    for name, _, shape, stride, where, offset in found["tensors"]:
        assert isinstance(name, str)
        assert where in ("file", "scratch")
        assert offset >= 0
        assert stride is None or len(shape) == len(stride)


@given(
    before=st.lists(st.sampled_from([b"N", b"]", b"}", b")", b"(", b"K\1", b"0", b"2", b"q\0", b"h\0"])), after=soups
)
def test_a_payload_among_junk_is_never_complete(memory, before, after):
    """Whatever is put before or after a call that is not allowed, the file is not read as a good one."""
    assert not judge(memory, "pickle", proto(2) + EVIL + b"." + after)["complete"]
    assert not judge(memory, "pickle", proto(2) + b"".join(before) + EVIL + b"0N." + after)["complete"]


@given(raw=changed(torch_file(proto(2) + EVIL + b".")))
def test_a_payload_in_a_damaged_archive_is_never_complete(memory, raw):
    """Unless the damage took the payload out, which the pickle's CRC does not allow."""
    assert not judge(memory, "zip", raw)["complete"]
