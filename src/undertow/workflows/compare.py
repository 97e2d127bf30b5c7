"""What `undertow compare` does, below the screen. Nothing here prints."""

import json
from collections.abc import Sequence
from pathlib import Path

from undertow.audits.comparing import Comparison, against, check_comparable
from undertow.audits.finished_run import FinishedRun
from undertow.storage.files import storage_errors, write_atomic
from undertow.storage.runs import read_runs
from undertow.types import StoreError

WRITTEN = ("compare.json", "compare.html")


def compare_runs(runs: Sequence[str | Path], out: str | Path | None = None) -> tuple[Comparison, ...]:
    """Each later run against the first one; with `out`, compare.json and compare.html there.

    Raises BadInput or StoreError in one line for what is no finished run, or cannot be compared.
    """
    found, first = compared(runs)
    if out is not None:
        write(Path(out), first, found)
    return found


def compared(runs: Sequence[str | Path]) -> tuple[tuple[Comparison, ...], tuple[FinishedRun, ...]]:
    """The comparisons, and the runs as they were read."""
    read = read_runs(runs)
    check_comparable(read)
    return tuple(against(read[0], other) for other in read[1:]), read


def write(out: Path, runs: Sequence[FinishedRun], found: Sequence[Comparison]) -> None:
    """compare.json and compare.html in `out`, which is new, empty, or holds an earlier comparison."""
    from undertow.report.compare.page import page
    from undertow.report.compare.text import document

    with storage_errors(out):
        if out.is_dir() and any(out.iterdir()) and not (out / WRITTEN[0]).is_file():
            raise StoreError(f"{out} is not empty and holds no comparison; choose another --out")
    body = json.dumps(document(runs[0].name, runs[0].audit, found), indent=1, allow_nan=False)
    write_atomic(out / WRITTEN[0], (body + "\n").encode())
    write_atomic(out / WRITTEN[1], page(runs, found).encode())
