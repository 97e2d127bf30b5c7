"""Which faults would the tests of the ground floor miss? A sample of small changes, against their module's own tests.

    nice -n 19 python benchmarks/mutation.py --mutants 400 --out mutants.jsonl

A mutant is one change of the syntax tree: a comparison turned or made strict, + for -, * for /, `and` for `or`, a `not`
dropped, True for False, a number changed. It is killed where a test of its module fails or does not end in time. The
modules run from a copy; the checkout is not touched. What the file has is not tried again, so the same command goes on
where it stopped. Survivors are printed: each is a missing test, or a change that changes nothing.
"""

import argparse
import ast
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from undertow.rng import stream

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "undertow"
ROOMS = ("metrics", "attacks", "engine", "opening", "scanner")
COMPARED = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
            ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In}  # fmt: skip
COUNTED = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult}
SECONDS = 240.0  # a test run that takes longer counts as killed, unless it takes so long without the mutant


@dataclass(frozen=True)
class Mutant:
    """One change of one module: the `number`-th place of its tree where something can be changed."""

    file: str  # below src/undertow
    number: int
    line: int
    change: str


def places(tree: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    """The nodes that can be changed and what becomes of them, in a fixed order; no annotations, no texts."""
    for name, value in ast.iter_fields(tree):
        if name in ("annotation", "returns", "type_comment"):
            continue
        for node in value if isinstance(value, list) else [value]:
            if isinstance(node, ast.AST):
                if (change := changed(node)) is not None:
                    yield node, change
                yield from places(node)


def changed(node: ast.AST) -> str | None:
    """What `change` would make of a node, in words; None where it can do nothing."""
    if isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARED:
        return f"{type(node.ops[0]).__name__} -> {COMPARED[type(node.ops[0])].__name__}"
    if isinstance(node, (ast.BinOp, ast.AugAssign)) and type(node.op) in COUNTED and not _types(node):
        return f"{type(node.op).__name__} -> {COUNTED[type(node.op)].__name__}"
    if isinstance(node, ast.BoolOp):
        return "And -> Or" if isinstance(node.op, ast.And) else "Or -> And"
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return "not dropped"
    if isinstance(node, ast.Constant) and isinstance(node.value, (bool, int, float)):
        return f"{node.value!r} -> {_other(node.value)!r}"
    return None


def _types(node: ast.BinOp | ast.AugAssign) -> bool:
    """Whether texts are joined: changing that fails at once and says nothing."""
    parts = [node.left, node.right] if isinstance(node, ast.BinOp) else [node.value]
    return any(
        isinstance(p, ast.JoinedStr) or (isinstance(p, ast.Constant) and isinstance(p.value, str)) for p in parts
    )


def _other(value: float) -> float:
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, int) else value * 2 or 1.0


def change(node: Any) -> None:
    """Changes a node in place."""
    if isinstance(node, ast.Compare):
        node.ops[0] = COMPARED[type(node.ops[0])]()
    elif isinstance(node, (ast.BinOp, ast.AugAssign)):
        node.op = COUNTED[type(node.op)]()
    elif isinstance(node, ast.BoolOp):
        node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
    elif isinstance(node, ast.UnaryOp):
        node.op, node.operand = ast.Not(), ast.UnaryOp(ast.Not(), node.operand)
    else:
        node.value = _other(node.value)


def every() -> list[Mutant]:
    """All mutants of all rooms."""
    found = []
    for room in ROOMS:
        for path in sorted((SOURCE / room).rglob("*.py")):
            file = str(path.relative_to(SOURCE))
            for number, (node, what) in enumerate(places(ast.parse(path.read_text()))):
                found.append(Mutant(file, number, getattr(node, "lineno", 0), what))
    return found


def mutated(mutant: Mutant) -> str:
    """The text of the module with its fault."""
    tree = ast.parse((SOURCE / mutant.file).read_text())
    node = [node for node, _ in places(tree)][mutant.number]
    change(node)
    return ast.unparse(ast.fix_missing_locations(tree))


def tests_of(file: str) -> list[str]:
    """A module's own tests: those of its name, and those of its room that import it; else all of its room."""
    path = Path(file)
    room, module = path.parts[0], ".".join(("undertow", *path.with_suffix("").parts)).removesuffix(".__init__")
    contract = [ROOT / "tests" / "contracts" / f"test_{room}.py"] if room == "attacks" else []
    every = [path for part in (room, "stages") for path in sorted((ROOT / "tests" / part).rglob("test_*.py"))]
    package, _, name = module.rpartition(".")
    imports = (f"{module} import", f"import {module}", f"from {package} import")
    own = [t for t in every if t.stem == f"test_{name}" or any(i in t.read_text() for i in imports[:2])]
    named = [t for t in every if any(imports[2] in line and name in line for line in t.read_text().splitlines())]
    return [str(t.relative_to(ROOT)) for t in dict.fromkeys([*own, *named, *contract])] or [f"tests/{room}"]


def run(tests: list[str], copy: Path, most: float) -> tuple[bool, float]:
    """Whether the tests pass on the copy, and the seconds they took."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    env = {**os.environ, **threads, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    start = time.perf_counter()
    try:
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, timeout=most)
    except subprocess.TimeoutExpired:
        return False, most
    return done.returncode == 0, time.perf_counter() - start


def tried(out: Path) -> dict[tuple[str, int], dict[str, Any]]:
    """What the file says of mutants that were tried; those of a module that has changed since are tried again."""
    lines = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    known = {(mutant.file, mutant.number): mutant for mutant in every()}
    found = {(line["file"], line["number"]): line for line in lines}
    return {k: line for k, line in found.items() if k in known and asdict(known[k]).items() <= line.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mutants", type=int, default=400, help="At most so many, drawn from all; default 400.")
    parser.add_argument("--seed", type=int, default=0, help="Which ones are drawn; default 0.")
    parser.add_argument("--rooms", default=",".join(ROOMS), help="Rooms to draw from; default all.")
    parser.add_argument("--out", type=Path, default=Path("mutants.jsonl"), help="One line for each that was tried.")
    options = parser.parse_args()
    rooms = options.rooms.split(",")
    pool = [mutant for mutant in every() if mutant.file.split("/")[0] in rooms]
    order = stream(options.seed, "mutants").permutation(len(pool))[: options.mutants]
    chosen, done = [pool[int(i)] for i in order], tried(options.out)
    usual: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "src"
        shutil.copytree(ROOT / "src", copy, ignore=shutil.ignore_patterns("__pycache__"))
        for mutant in chosen:
            if (mutant.file, mutant.number) in done:
                continue
            tests, place = tests_of(mutant.file), copy / "undertow" / mutant.file
            if mutant.file not in usual:
                sound, usual[mutant.file] = run(tests, copy, 4 * SECONDS)
                if not sound:
                    print(f"{mutant.file}: its tests fail without a mutant, or take too long", file=sys.stderr)
                    usual[mutant.file] = -1.0
            if usual[mutant.file] < 0:
                continue
            text = place.read_text()
            place.write_text(mutated(mutant))
            survived, seconds = run(tests, copy, max(SECONDS, 4 * usual[mutant.file]))
            place.write_text(text)
            done[mutant.file, mutant.number] = {**asdict(mutant), "survived": survived, "seconds": round(seconds, 1)}
            with options.out.open("a") as file:
                file.write(json.dumps(done[mutant.file, mutant.number]) + "\n")
    rows = [done[m.file, m.number] for m in chosen if (m.file, m.number) in done]
    alive = [row for row in rows if row["survived"]]
    print(f"{len(rows)} of {len(pool)} mutants tried, {len(rows) - len(alive)} killed, {len(alive)} survived")
    for row in sorted(alive, key=lambda row: (row["file"], row["line"])):
        print(f"  {row['file']}:{row['line']}  {row['change']}")


if __name__ == "__main__":
    main()
