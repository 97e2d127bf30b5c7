"""Fuzz the readers of untrusted files: any exception that is not theirs, or a slow input, is a bug.

    python benchmarks/fuzz_opening.py [--executions 100000] [--seed 0]
    python benchmarks/fuzz_opening.py --atheris [arguments of libFuzzer]

Inputs are random bytes, random opcodes, and good files with bytes changed, cut, repeated or mixed. The readers run in
this process, without the one they have in production: what escapes them shows. With --atheris (if it is installed)
the inputs come from coverage instead.
"""

import argparse
import os
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict

import numpy as np

from undertow.opening.inside.child import READERS, read
from undertow.opening.inside.opcodes import OPCODES
from undertow.opening.opened import Limits
from undertow.opening.safe_header import safetensors
from undertow.opening.sniff import kind_of
from undertow.opening.source import Refused, Source
from undertow.rng import stream

LIMITS = Limits(
    opcodes=20_000,
    depth_of_stack=20_000,
    pickle_bytes=1 << 20,
    inflated_bytes=1 << 22,
    nodes=20_000,
    header_tokens=20_000,
)
SLOW = 5.0  # seconds that no small input may take
KINDS = ("safetensors", *READERS)


class Bench:
    """One input at a time, in a file that lives in memory."""

    def __init__(self) -> None:
        self.fd, self.scratch = os.memfd_create("input"), os.memfd_create("scratch")
        self.limits = asdict(LIMITS)

    def run(self, kind: str, raw: bytes) -> str:
        """The outcome: how the input was judged. Whatever else is raised is a bug of the reader."""
        os.ftruncate(self.fd, 0)
        os.pwrite(self.fd, raw, 0)
        source = Source("input", self.fd, len(raw), (0, 0))
        kind_of(source)
        if kind != "safetensors":
            found = read(self.fd, len(raw), kind, self.limits, self.scratch)
            return "read" if found["complete"] else str(found["findings"][0][0])
        try:
            tensors, _, _ = safetensors(source, LIMITS)
        except Refused as refused:
            return refused.kind
        for tensor in tensors.values():
            tensor.whole()
        return "read"


def soup(rng: np.random.Generator) -> bytes:
    """Opcodes in random order with arguments that are short."""
    codes = list(OPCODES)
    parts = [b"\x80" + bytes([rng.integers(0, 6)])] if rng.random() < 0.5 else []
    for code in rng.choice(codes, rng.integers(1, 60)):
        how = OPCODES[int(code)][1]
        argument = b""
        if how == "two lines":
            argument = [b"os\nsystem\n", b"collections\nOrderedDict\n", b"torch\nFloatStorage\n"][rng.integers(3)]
        elif how.endswith("line"):
            argument = [b"1\n", b"'x'\n", b"-7L\n", b"1.5\n"][rng.integers(4)]
        elif how:
            argument = bytes([rng.integers(0, 5)]) + bytes(rng.integers(0, 2)) * 7 + rng.bytes(rng.integers(0, 5))
        parts.append(bytes([code]) + argument)
    return b"".join(parts) + b"." * int(rng.integers(0, 2))


def mutated(rng: np.random.Generator, raw: bytes, other: bytes) -> bytes:
    """A good file after one to eight accidents."""
    for _ in range(rng.integers(1, 9)):
        at, to = sorted(int(i) for i in rng.integers(0, len(raw) + 1, 2))
        kind = rng.integers(6)
        if kind == 0 and raw:
            at = min(at, len(raw) - 1)
            raw = raw[:at] + bytes([raw[at] ^ (1 << int(rng.integers(8)))]) + raw[at + 1 :]
        elif kind == 1:
            raw = raw[:at] + rng.bytes(int(rng.integers(1, 9))) + raw[at:]
        elif kind == 2:
            raw = raw[:at] + raw[min(to, at + 16) :]
        elif kind == 3:
            raw = raw[:at] + raw[at : at + 40] + raw[at:]
        elif kind == 4:
            raw = raw[:at] + other[at : at + 60] + raw[at:]
        else:
            raw = raw[:at] + [b"\0", b"\xff" * 8, b"\x7f\xff\xff\xff", b"9" * 20, b"\0" * 8][rng.integers(5)] + raw[to:]
    return raw[: 1 << 16]


def inputs(rng: np.random.Generator, seeds: dict[str, list[bytes]]) -> Callable[[], tuple[str, bytes]]:
    """A source of (reader, input)."""

    def draw() -> tuple[str, bytes]:
        kind, chance = str(rng.choice(KINDS)), rng.random()
        good = seeds.get(kind, seeds["pickle"])
        if chance < 0.1:
            return kind, rng.bytes(int(rng.integers(0, 400)))
        if chance < 0.3 and kind in ("pickle", "probe", "torch-legacy"):
            return kind, soup(rng)
        one, other = (good[rng.integers(len(good))] for _ in range(2))
        return kind, mutated(rng, one, other)

    return draw


def good_files() -> dict[str, list[bytes]]:
    """One good file or more for each reader; what torch writes where it is installed."""
    import io

    from safetensors.numpy import save

    arrays = {"a": np.ones((2, 3), np.float32), "b": np.arange(4)}
    npz, packed, npy = io.BytesIO(), io.BytesIO(), io.BytesIO()
    np.savez(npz, **arrays)
    np.savez_compressed(packed, **arrays)
    np.save(npy, arrays["a"])
    gguf = b"GGUF" + (3).to_bytes(4, "little") + (0).to_bytes(8, "little") * 2
    seeds = {
        "safetensors": [save(arrays, {"k": "v"})],
        "zip": [npz.getvalue(), packed.getvalue()],
        "npy": [npy.getvalue()],
        "gguf": [gguf],
        "pickle": [b"\x80\x02}q\x00(X\x01\x00\x00\x00aK\x01X\x01\x00\x00\x00b](K\x02K\x03eu.", b"(dp0\nS'a'\nI1\ns."],
    }
    try:
        import torch
    except ImportError:
        return seeds
    for new in (True, False):
        file = io.BytesIO()
        torch.save({"w": torch.ones(2, 3).T, "n": {"b": torch.zeros(2)}}, file, _use_new_zipfile_serialization=new)
        seeds.setdefault("zip" if new else "torch-legacy", []).append(file.getvalue())
    seeds["pickle"] += seeds["torch-legacy"]
    return seeds


def coverage_guided() -> None:
    """atheris: the first byte of an input chooses the reader."""
    import atheris

    bench = Bench()
    atheris.instrument_all()
    atheris.Setup(
        sys.argv[:1] + sys.argv[2:], lambda raw: bench.run(KINDS[raw[0] % len(KINDS)] if raw else "pickle", raw[1:])
    )
    atheris.Fuzz()


def main() -> None:
    if sys.argv[1:2] == ["--atheris"]:
        coverage_guided()
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--executions", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    bench, draw = Bench(), inputs(stream(args.seed, "fuzz"), good_files())
    outcomes: Counter[tuple[str, str]] = Counter()
    start, slowest = time.perf_counter(), 0.0
    for number in range(args.executions):
        kind, raw = draw()
        begun = time.process_time()
        try:
            outcomes[kind, bench.run(kind, raw)] += 1
        except BaseException:
            print(f"execution {number}: {kind} {raw!r}")
            raise
        slowest = max(slowest, time.process_time() - begun)
        if slowest > SLOW:
            raise SystemExit(f"execution {number} took {slowest:.1f} s: {kind} {raw!r}")
    for (kind, outcome), count in sorted(outcomes.items()):
        print(f"{kind:14} {outcome:16} {count:8,}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    taken = time.perf_counter() - start
    print(
        f"{args.executions:,} executions in {taken:.0f} s, slowest {slowest:.2f} s, peak memory {peak:.0f} MB, no crash"
    )


if __name__ == "__main__":
    main()
