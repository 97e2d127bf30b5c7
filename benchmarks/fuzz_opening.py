"""Fuzz the readers of untrusted files: any exception that is not theirs, a slow input, or a forbidden act is a bug.

    python benchmarks/fuzz_opening.py [--executions 100000] [--seed 0] [--state FILE.json]
    python benchmarks/fuzz_opening.py --atheris [arguments of libFuzzer]

Inputs are random bytes, random opcodes, and files with bytes changed, cut, repeated or mixed (`fuzz_seeds.py`): for
every reader of the process that opens files, for the header of safetensors, for the rules about configurations and for
chat templates. All run in this process, without the limits and the net that they have in production: what escapes them
shows. Tensors that a reader names are checked and decoded as a scan does it. An audit hook stops the run where anything
is executed (installed modules that are imported late apart), started, connected to, or opened for writing.
`--state`: the count and the outcomes so far are kept there after each chunk of 10,000, and a later run goes on from it
to `--executions` in all. With --atheris (if it is installed) the inputs come from coverage instead.
"""

import argparse
import io
import json
import os
import resource
import signal
import sys
import sysconfig
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from math import prod
from pathlib import Path
from typing import Any

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.fuzz_seeds import PACKERS, good_files
from undertow.opening.inside.child import READERS, read
from undertow.opening.inside.opcodes import OPCODES
from undertow.opening.isolated import _tensor
from undertow.opening.loaders.check import _check
from undertow.opening.loaders.place import Place
from undertow.opening.opened import Limits
from undertow.opening.reading import Reading
from undertow.opening.safe_header import safetensors
from undertow.opening.sniff import kind_of
from undertow.opening.source import Refused, Source
from undertow.rng import stream
from undertow.types import BadInput

LIMITS = Limits(
    opcodes=20_000,
    depth_of_stack=20_000,
    pickle_bytes=1 << 20,
    inflated_bytes=1 << 22,
    nodes=20_000,
    header_tokens=20_000,
)
SLOW = 5.0  # seconds that no small input may take
HANG = 60  # seconds after which an input is given up
CHUNK = 10_000  # executions between two writes of the state
DECODED = 1 << 20  # numbers of a tensor that is decoded, at most
TEXTS = ("config", "template")
KINDS = ("safetensors", *READERS, *TEXTS)
FORBIDDEN = ("os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "subprocess.", "socket.",
             "ctypes.", "pickle.", "marshal.", "os.remove", "os.rename", "os.mkdir", "shutil.", "urllib.", "tempfile.",
             "winreg.", "webbrowser.", "ftplib.", "code.")  # fmt: skip
INSTALLED = (sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), str(Path(__file__).parents[1]))


class Acted(BaseException):
    """A reader did what it must not; no net of ours may catch it."""


class Watch:
    """An audit hook (PEP 578) that lets nothing be executed or changed while it is `on`."""

    def __init__(self) -> None:
        self.on = False
        self.seen: Counter[str] = Counter()
        sys.addaudithook(self)

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.on:
            return
        self.seen[event] += 1
        if event == "open":
            bad = isinstance(args[1], str) and set(args[1]) & set("wax+")
        elif event == "exec":  # a module that is imported late is executed, too
            bad = not str(getattr(args[0], "co_filename", "")).startswith((*INSTALLED, "<frozen"))
        else:
            bad = event.startswith(FORBIDDEN) and not (event == "marshal.loads" and sys._getframe(1).f_code.co_filename
                                                       .startswith("<frozen importlib"))  # fmt: skip
        if bad:
            self.on = False
            raise Acted(f"{event} {args!r:.300}")


class Bench:
    """One input at a time, in a file that lives in memory."""

    def __init__(self) -> None:
        self.fd, self.scratch = os.memfd_create("input"), os.memfd_create("scratch")
        self.limits = asdict(LIMITS)

    def run(self, kind: str, raw: bytes) -> str:
        """The outcome: how the input was judged. Whatever else is raised is a bug of the reader."""
        if kind in TEXTS:
            return self.text(raw)
        os.ftruncate(self.fd, 0)
        os.pwrite(self.fd, raw, 0)
        source = Source("input", self.fd, len(raw), (0, 0))
        kind_of(source)
        if kind != "safetensors":
            return self.isolated(source, kind)
        try:
            tensors, _, _ = safetensors(source, LIMITS)
        except Refused as refused:
            return refused.kind
        for tensor in tensors.values():
            tensor.whole()
        return "read"

    def isolated(self, source: Source, kind: str) -> str:
        """Read by the reader of `kind`; what it names is decoded by this side, which does not trust it."""
        os.ftruncate(self.scratch, 0)
        found = read(self.fd, source.size, kind, self.limits, self.scratch)
        scratch = Source("scratch", self.scratch, int(found["scratch"]), (0, 0))
        json.dumps(found)
        for item in found["tensors"]:
            try:
                tensor = _tensor(item, source, scratch)
                if prod(tensor.shape) <= DECODED:
                    for _ in tensor.blocks():
                        pass
            except Refused as refused:
                return f"refused: {refused.kind}"
            except BadInput:
                return "unread"
        return "read" if found["complete"] else str((found["findings"] or [["doubt"]])[0][0])

    def text(self, raw: bytes) -> str:
        """A configuration: its name, a zero byte, its text."""
        name, _, text = raw.partition(b"\0")
        named = name.decode("latin1").replace("/", "") or "config.json"
        reading = Reading(Path(named))
        _check(Place(reading, named, text.decode("utf-8-sig", "replace"), {"evil"}))
        worst = {found.severity for found in reading.findings}
        return "critical" if "critical" in worst else "doubt" if reading.doubts else "read"


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
    for _ in range(rng.integers(1, 9) if rng.random() < 0.5 else 1):
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


def repacked(rng: np.random.Generator, kind: str, seeds: dict[str, list[bytes]]) -> bytes:
    """A compressed file or an archive whose checksums are right, and whose content had accidents."""
    if kind != "zip":
        one, other = (seeds["plain"][rng.integers(len(seeds["plain"]))] for _ in range(2))
        return PACKERS[kind](mutated(rng, one, other))
    good, file = seeds["zip"][rng.integers(len(seeds["zip"]))], io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(good)) as old, zipfile.ZipFile(file, "w") as new:
        names = old.namelist()
        hit = names[rng.integers(len(names))]
        for name in names:
            raw = old.read(name)
            new.writestr(name, mutated(rng, raw, raw) if name == hit else raw)
    return file.getvalue()


def inputs(rng: np.random.Generator, seeds: dict[str, list[bytes]]) -> Callable[[], tuple[str, bytes]]:
    """A source of (reader, input)."""
    every = [one for kind, files in seeds.items() if kind not in TEXTS for one in files]

    def draw() -> tuple[str, bytes]:
        kind, chance = str(rng.choice(KINDS)), rng.random()
        good = seeds[kind]
        if chance < 0.1 and kind not in TEXTS:
            return kind, rng.bytes(int(rng.integers(0, 400)))
        if chance < 0.3 and kind in ("pickle", "probe", "torch-legacy"):
            return kind, soup(rng)
        if chance > 0.5 and kind in (*PACKERS, "zip"):
            return kind, repacked(rng, kind, seeds)
        if chance < 0.15 and kind not in TEXTS:
            good = every  # the file of another reader
        one, other = (good[rng.integers(len(good))] for _ in range(2))
        if kind not in TEXTS:
            return kind, mutated(rng, one, other)
        name, _, text = one.partition(b"\0")
        return kind, name + b"\0" + mutated(rng, text, other.partition(b"\0")[2])

    return draw


def coverage_guided() -> None:
    """atheris: the first byte of an input chooses the reader."""
    import atheris

    bench = Bench()
    atheris.instrument_all()
    atheris.Setup(
        sys.argv[:1] + sys.argv[2:], lambda raw: bench.run(KINDS[raw[0] % len(KINDS)] if raw else "pickle", raw[1:])
    )
    atheris.Fuzz()


def chunk(bench: Bench, watch: Watch, draw: Callable[[], tuple[str, bytes]], count: int) -> tuple[Counter[str], float]:
    """Outcomes of `count` executions, and the processor seconds of the slowest."""
    outcomes: Counter[str] = Counter()
    slowest = 0.0
    for _ in range(count):
        kind, raw = draw()
        begun = time.process_time()
        signal.alarm(HANG)
        watch.on = True
        try:
            outcomes[f"{kind}: {bench.run(kind, raw)}"] += 1
        except BaseException:
            watch.on = False
            print(f"{kind} {raw!r}", flush=True)
            raise
        watch.on = False
        signal.alarm(0)
        taken = time.process_time() - begun
        slowest = max(slowest, taken)
        if taken > SLOW:
            raise SystemExit(f"{taken:.1f} s for {kind} {raw!r}")
    return outcomes, slowest


def main() -> None:
    if sys.argv[1:2] == ["--atheris"]:
        coverage_guided()
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--executions", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--state", type=Path)
    args = parser.parse_args()
    fresh = {"seed": args.seed, "done": 0, "slowest": 0.0, "megabytes": 0.0, "seconds": 0.0, "outcomes": {}, "acts": {}}
    state = json.loads(args.state.read_text()) if args.state and args.state.exists() else fresh
    if state["seed"] != args.seed:
        raise SystemExit(f"{args.state} is of seed {state['seed']}")
    bench, seeds, watch = Bench(), good_files(), Watch()
    for kind in KINDS:  # modules are imported before the watch begins
        for raw in seeds[kind]:
            bench.run(kind, raw)
    signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(Acted(f"no answer within {HANG} s")))
    while state["done"] < args.executions:
        begun, count = time.process_time(), min(CHUNK, args.executions - state["done"])
        draw = inputs(stream(args.seed, "fuzz", state["done"]), seeds)
        outcomes, slowest = chunk(bench, watch, draw, count)
        state["outcomes"] = dict(Counter(state["outcomes"]) + outcomes)
        state["acts"] = dict(watch.seen)
        state["done"] += count
        state["slowest"] = max(state["slowest"], slowest)
        state["seconds"] += time.process_time() - begun
        state["megabytes"] = max(state["megabytes"], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        if args.state:
            beside = args.state.with_suffix(".tmp")
            beside.write_text(json.dumps(state, indent=1, sort_keys=True))
            beside.replace(args.state)
    for outcome, number in sorted(state["outcomes"].items()):
        print(f"{outcome:44} {number:9,}")
    print("events of the audit hook while readers ran:", state["acts"])
    print(f"{state['done']:,} executions in {state['seconds']:.0f} s of processor, slowest {state['slowest']:.2f} s, "
          f"peak memory {state['megabytes']:.0f} MB, no crash, nothing executed")  # fmt: skip


if __name__ == "__main__":
    main()
