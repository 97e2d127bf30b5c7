"""The benchmarks as one program: `python -m benchmarks list`, `python -m benchmarks run TABLE [options of the table]`.

A table is a file of this folder that prints Markdown; `list` shows each with its first sentence and the page of the
docs that holds it. `run TABLE --help` shows the options, which most tables share: --json, --seeds, --data, --out.
"""

import ast
import runpy
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

HERE = Path(__file__).parent
NAMES = {  # short names beside the files' own
    "score": "score_speed",
    "scan": "scan_speed",
    "end-to-end": "end_to_end",
    "scan-detect": "scan",
}
PARTS = {
    "__main__", "__init__", "command_cost", "coverage_tables", "coverage_world", "defaults_sets", "formats_storage",
    "scan_corpus", "scan_forms", "scan_storage", "scan_training",
}  # fmt: skip


def tables() -> Iterator[tuple[str, Path, str]]:
    """(name, file, first sentence) of every table, in order of name."""
    short = {file: name for name, file in NAMES.items()}
    for path in sorted(HERE.glob("*.py")):
        about = (ast.get_docstring(ast.parse(path.read_text("utf8"))) or "").split("\n\n")[0]
        if path.stem not in PARTS:
            yield short.get(path.stem, path.stem), path, " ".join(about.split())


def run(name: str, arguments: Sequence[str]) -> int:
    """Run one table with its own options, as `python benchmarks/FILE.py` does."""
    known = {path.stem: path for _, path, _ in tables()} | {shown: path for shown, path, _ in tables()}
    if name not in known:
        print(f"{name!r} is no table; `python -m benchmarks list` shows them", file=sys.stderr)
        return 2
    sys.path.insert(0, str(HERE))  # tables import their parts by name
    sys.argv = [str(known[name]), *arguments]
    runpy.run_path(str(known[name]), run_name="__main__")
    return 0


def main(given: Sequence[str]) -> int:
    match list(given):
        case ["list"]:
            width = max(len(name) for name, _, _ in tables())
            print("\n".join(f"{name:<{width}}  {about}" for name, _, about in tables()))
            return 0
        case ["run", name, *arguments]:
            return run(name, arguments)
    print(__doc__, file=sys.stderr)
    return 0 if given in (["-h"], ["--help"]) else 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
