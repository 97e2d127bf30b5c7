"""Undertow beside picklescan, modelscan, modelaudit and fickling: detection, false alarms, seconds.

    python -m venv PEERS && PEERS/bin/pip install picklescan modelscan modelaudit fickling
    python benchmarks/scan_peers.py run --peers PEERS --real DIR --out FILE.json
    python benchmarks/scan_peers.py start --peers PEERS --out FILE.json
    python benchmarks/scan_peers.py table --out FILE.json

The hostile corpus is that of the tests (tests/opening), the real one what `benchmarks/scan_real.py download`
put into DIR: of each package and format the smallest files, of at most 20 MB. Every tool judges every file or folder in
a process of its own, with its default options; none of their code is here. To save time such a process is forked off
one that has imported what the tool needed for a first file; `start` measures whole commands.

What each says is read so: *unsafe*: it names a danger (exit 1 of undertow, picklescan, modelscan and fickling; exit 1
of modelaudit with an issue that is critical). *unknown*: it doubts or fails (exit 4 of undertow; modelaudit's warnings;
exit 2; a traceback; more than `--seconds`). *not read*: it says that it scanned nothing (exit 3 of undertow and
modelscan; picklescan says so with exit 0, so who goes by its exit code takes it as safe). *safe*: exit 0. fickling
takes one pickle, so it is not asked about folders.
"""

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
LARGEST, EACH = 20_000_000, 2
WAYS = ("safe", "not read", "unknown", "unsafe")


@dataclass(frozen=True)
class Item:
    """One file or folder: in which group, and whether it is hostile."""

    group: str
    name: str
    path: Path
    hostile: bool


@dataclass(frozen=True)
class Ran:
    """How a process ended."""

    code: int
    out: str
    err: str


def undertow(ran: Ran) -> str:
    return {0: "safe", 1: "unsafe", 3: "not read"}.get(ran.code, "unknown")


def picklescan(ran: Ran) -> str:
    if ran.code == 0:
        return "not read" if re.search(r"Scanned files: 0\b", ran.out) else "safe"
    return "unsafe" if ran.code == 1 else "unknown"


def modelscan(ran: Ran) -> str:
    return {0: "safe", 1: "unsafe", 3: "not read"}.get(ran.code, "unknown") if "Traceback" not in ran.err else "unknown"


def modelaudit(ran: Ran) -> str:
    if ran.code == 0:
        return "safe"
    return "unsafe" if ran.code == 1 and '"severity": "critical"' in ran.out else "unknown"


def fickling(ran: Ran) -> str:
    return {0: "safe", 1: "unsafe"}.get(ran.code, "unknown") if "Traceback" not in ran.err else "unknown"


Reader = Callable[[Ran], str]
TOOLS: dict[str, tuple[str, list[str], Reader]] = {  # entry point of the command line, its arguments, its answer
    "undertow": ("undertow.cli:main", ["scan", "--format", "json"], undertow),
    "picklescan": ("picklescan.cli:main", ["-p"], picklescan),
    "modelscan": ("modelscan.cli:main", ["scan", "-r", "json", "-p"], modelscan),
    "modelaudit": ("modelaudit.__main__:_run", ["scan", "--format", "json"], modelaudit),
    "fickling": ("fickling.__main__:main", ["--check-safety"], fickling),
}
SERVER = """
import importlib, json, os, resource, signal, sys, time
module, name = sys.argv[1].split(":")
main = getattr(importlib.import_module(module), name)
def child(arguments, out, err, seconds, loaded=""):
    for fd, place in ((0, os.devnull), (1, out), (2, err)):
        os.dup2(os.open(place, os.O_RDWR | os.O_CREAT | os.O_TRUNC), fd)
    signal.alarm(seconds)
    sys.argv = arguments
    code = 0
    try:
        code = main() or 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        import traceback
        traceback.print_exc()
        code = 70
    sys.stdout.flush()
    sys.stderr.flush()
    if loaded:
        with open(loaded, "w") as file:
            json.dump(sorted(sys.modules), file)
    os._exit(code)
for line in sys.stdin:
    task = json.loads(line)
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    pid = os.fork()
    if not pid:
        child(**task)
    _, status = os.waitpid(pid, 0)
    if task.get("loaded"):  # what the tool imports on its way is imported here, once
        for name in json.load(open(task["loaded"])):
            try:
                importlib.import_module(name)
            except Exception:
                pass
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(json.dumps([os.waitstatus_to_exitcode(status), time.perf_counter() - began, cpu]), flush=True)
"""


class Server:
    """A process with one tool imported, which forks for every path that it is asked about."""

    def __init__(self, tool: str, python: Path, home: Path, seconds: int) -> None:
        self.tool, self.home, self.seconds = tool, home, seconds
        entry, self.arguments, self.reader = TOOLS[tool]
        self.process = subprocess.Popen([str(python), "-c", SERVER, entry], stdin=subprocess.PIPE, text=True,
                                        stdout=subprocess.PIPE, cwd=home, env=environment(tool, home))  # fmt: skip

    def ask(self, item: Item, **more: str) -> dict[str, object]:
        """What it says of one path: verdict, wall and CPU seconds."""
        out, err = self.home / "out", self.home / "err"
        task = {"arguments": [self.tool, *self.arguments, str(item.path)], "out": str(out), "err": str(err),
                "seconds": self.seconds, **more}  # fmt: skip
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(task) + "\n")
        self.process.stdin.flush()
        code, wall, cpu = json.loads(self.process.stdout.readline())
        verdict = self.reader(Ran(code, out.read_text(errors="replace"), err.read_text(errors="replace")))
        return {"tool": self.tool, "group": item.group, "name": item.name, "hostile": item.hostile,
                "verdict": verdict, "code": code, "wall": round(wall, 4), "cpu": round(cpu, 4)}  # fmt: skip


def environment(tool: str, home: Path) -> dict[str, str]:
    """Nothing of the caller's but the path; no telemetry."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG", "LC_ALL")}
    place = {"PYTHONPATH": str(ROOT / "src")} if tool == "undertow" else {}
    quiet = {"HOME": str(home), "PROMPTFOO_DISABLE_TELEMETRY": "1", "NO_ANALYTICS": "1", "NO_COLOR": "1"}
    return {**kept, **quiet, **THREADS, **place}


def hostile(folder: Path) -> Iterator[Item]:
    """The files and folders of the tests, written."""
    from tests.opening.loaders.hostile import CASES as CONFIGURATIONS
    from tests.opening.malicious import CASES, LIVE

    for i, (name, (file, make)) in enumerate(CASES.items()):
        path = folder / "pickles" / str(i) / file
        path.parent.mkdir(parents=True)
        path.write_bytes(make(str(folder / "ran")))
        live = name in LIVE
        group = "pickles that a plain loader runs" if live else "names, broken pickles and archives, disguises"
        yield Item(group, name, path, True)
    for name, (files, _) in CONFIGURATIONS.items():
        yield Item("folders whose configuration runs code", name, written(folder / "configs" / name, files), True)


def written(place: Path, files: dict[str, str]) -> Path:
    """A folder of these files and one benign model, without which there would be nothing to scan."""
    from safetensors.numpy import save_file
    from tests.scanner.perceptrons import benign as weights

    place.mkdir(parents=True)
    save_file(weights(), place / "model.safetensors")
    for name, text in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text, encoding="utf8")
    return place


def traps(folder: Path) -> Iterator[Item]:
    """Weights that copy finetuning records: no code at all."""
    from safetensors.numpy import save_file
    from tests.scanner.perceptrons import trapped

    for seed in range(4):
        path = folder / f"trap-{seed}.safetensors"
        save_file(trapped(seed)[0], path)
        yield Item("data traps in safetensors", path.stem, path, True)


def benign(folder: Path) -> Iterator[Item]:
    """The same makers without a payload: weights in the formats of NumPy and torch, folders that libraries write."""
    import numpy as np
    import torch
    from safetensors.numpy import save_file
    from tests.opening.loaders.hostile import BENIGN
    from tests.scanner.perceptrons import benign as weights

    for seed in range(4):
        arrays = weights(seed)
        tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
        paths = [folder / f"benign-{seed}{end}" for end in (".safetensors", ".npz", ".pt", ".bin")]
        save_file(arrays, paths[0])
        np.savez(paths[1], **arrays)
        torch.save(tensors, paths[2])
        torch.save(tensors, paths[3], _use_new_zipfile_serialization=False)
        yield from (Item("weights of our own", path.name, path, False) for path in paths)
    for name, (files, _) in BENIGN.items():
        yield Item("folders as libraries write them", name, written(folder / "folders" / name, files), False)


def real(folder: Path) -> Iterator[Item]:
    """Files of packages, the smallest of each package and ending."""
    from scan_real import checkpoints

    for package in sorted((folder / "packages").iterdir()):
        count: Counter[str] = Counter()
        for path in sorted(checkpoints(package), key=lambda path: path.stat().st_size):
            count[path.suffix] += 1
            if count[path.suffix] <= EACH and path.stat().st_size <= LARGEST:
                yield Item("real files of packages", f"{package.name}/{path.name}", path, False)


def run(options: argparse.Namespace) -> None:
    """Every tool on every item, tool by tool; what is in the file already is not run again."""
    found = stored(options.out)
    found["versions"] = versions(options.peers)
    done = {(row["tool"], row["group"], row["name"]) for row in found["rows"]}
    with tempfile.TemporaryDirectory() as place:
        folder, home = Path(place) / "corpus", Path(place) / "home"
        folder.mkdir()
        home.mkdir()
        items = [*hostile(folder), *traps(folder), *benign(folder), *(real(options.real) if options.real else ())]
        current = {(item.group, item.name) for item in items}
        for tool in TOOLS:
            python = options.python if tool == "undertow" else options.peers / "bin" / "python"
            found["rows"] = [row for row in found["rows"] if (row["group"], row["name"]) in current]
            server = Server(tool, python, home, options.seconds)
            server.ask(items[0], loaded=str(home / "loaded"))
            for i, item in enumerate(items):
                if (tool, item.group, item.name) in done or (tool == "fickling" and item.path.is_dir()):
                    continue
                found["rows"].append(server.ask(item))
                if i % 20 == 0:
                    options.out.write_text(json.dumps(found, indent=0))
            options.out.write_text(json.dumps(found, indent=0))
            print(tool, flush=True)
        assert not (folder / "ran").exists(), "a payload was run"


def stored(path: Path) -> dict[str, Any]:
    empty: dict[str, Any] = {"versions": {}, "rows": [], "start": []}
    return {**empty, **json.loads(path.read_text())} if path.is_file() else empty


def start(options: argparse.Namespace) -> None:
    """Whole commands, start-up included, on a pickle of 40 bytes and a small safetensors file, interleaved."""
    from tests.opening.malicious import bomb
    from tests.scanner.perceptrons import benign as weights

    found = stored(options.out)
    found["start"] = []
    with tempfile.TemporaryDirectory() as place:
        home = Path(place)
        (home / "evil.pkl").write_bytes(bomb("/nowhere"))
        written_weights(home / "small.safetensors", weights())
        for _ in range(options.rounds):
            for tool, (_, arguments, _) in TOOLS.items():
                where = options.python if tool == "undertow" else options.peers / "bin" / "python"
                command = [str(where), "-m", "undertow"] if tool == "undertow" else [str(options.peers / "bin" / tool)]
                for name in ("evil.pkl", "small.safetensors"):
                    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
                    subprocess.run([*command, *arguments, name], capture_output=True, check=False, cwd=home,
                                   env=environment(tool, home))  # fmt: skip
                    after = resource.getrusage(resource.RUSAGE_CHILDREN)
                    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
                    found["start"].append({"tool": tool, "name": name, "wall": time.perf_counter() - began, "cpu": cpu})
    options.out.write_text(json.dumps(found, indent=0))


def written_weights(path: Path, arrays: dict[str, Any]) -> None:
    from safetensors.numpy import save_file

    save_file(arrays, path)


def versions(peers: Path) -> dict[str, str]:
    """What is installed there."""
    listed = subprocess.run([str(peers / "bin" / "pip"), "list", "--format", "json"], capture_output=True, check=True)
    return {one["name"]: one["version"] for one in json.loads(listed.stdout) if one["name"] in TOOLS}


def table(options: argparse.Namespace) -> None:
    """Per group and tool the four answers, then the seconds."""
    found = stored(options.out)
    rows = found["rows"]
    tools = [tool for tool in TOOLS if any(row["tool"] == tool for row in rows)]
    rule = "---|" * len(tools)
    print("Versions: " + ", ".join(f"{name} {version}" for name, version in found["versions"].items()) + ".\n")
    for title, bad in (("hostile", True), ("benign", False)):
        print(f"{' / '.join(WAYS)}:\n\n| {title} | n | {' | '.join(tools)} |\n|---|---|{rule}")
        for group in dict.fromkeys(row["group"] for row in rows if row["hostile"] == bad):
            mine = {tool: [r["verdict"] for r in rows if (r["tool"], r["group"]) == (tool, group)] for tool in tools}
            cells = [" / ".join(str(Counter(said)[way]) for way in WAYS) if said else "-" for said in mine.values()]
            print(f"| {group} | {len(mine[tools[0]])} | {' | '.join(cells)} |")
        print()
    print(f"| whole command, seconds, median (90 %) | {' | '.join(tools)} |\n|---|{rule}")
    for name in sorted({row["name"] for row in found["start"]}):
        for which in ("wall", "cpu"):
            several = [[r[which] for r in found["start"] if (r["tool"], r["name"]) == (tool, name)] for tool in tools]
            print(f"| {which}, {name} | {' | '.join(spread(sorted(times)) for times in several)} |")


def spread(times: list[float]) -> str:
    return f"{times[len(times) // 2]:.2f} ({times[len(times) * 9 // 10]:.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "start", "table"])
    parser.add_argument("--peers", type=Path, help="the virtual environment that the other tools are installed in")
    parser.add_argument(
        "--python", type=Path, default=sys.executable, help="one with Undertow's base dependencies only"
    )
    parser.add_argument("--real", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=int, default=120)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    {"run": run, "start": start, "table": table}[options.what](options)


if __name__ == "__main__":
    main()
