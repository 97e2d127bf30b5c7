"""The page that says what was found: a row for each file, its versions without a leak counted beside it."""

from collections.abc import Sequence
from textwrap import fill

from real.checking import TOLERANCE, Row

COLUMNS = (
    "file", "design", "audited", "attacks", "computed again", "pairs not scored", "largest difference",
    "verdict", "shown without a leak", "faults",
)  # fmt: skip

INTRO = """# Scores of real models, computed twice

`undertow score` was run on the outputs of {sets} sets of trained models (random forests, gradient boosting,
convolutional networks, a regression on texts; 1 to 64 models) and on {again} versions with membership dealt again
after training, so that there is no leak. A slow implementation, which takes over only the package's constants and
what it drew at random, found anew who may attack whom and which pairs of model and record can be scored; it
computed the scores of {compared} of {attacks} runs of an attack on a file again, and the AUC (by pairs) and TPRs
(by every threshold) of all. Not computed again: the scores of {unchecked}; intervals; balanced accuracy. A fault is
a number that differs by more than {tolerance:.0e} of its size, a wrong choice of pairs or records, or a leak shown
where there is none. Faults: {faults}. Of the {again} versions without a leak, {shown} have the verdict "Leak
shown". The largest difference is that over a file and its versions.

    python benchmarks/real_signals.py make --out DIR --nulls {each}
    python benchmarks/real_signals.py check DIR --markdown docs/real_signals.md

"""


def page(rows: Sequence[Row]) -> str:
    """Markdown."""
    own = [row for row in rows if not row.null]
    again = [row for row in rows if row.null]
    attacks, unchecked = sum(row.attacks for row in rows), sum(len(row.unchecked) for row in rows)
    intro = INTRO.format(
        sets=len(own),
        each=round(len(again) / max(1, len(own))),
        compared=attacks - unchecked,
        attacks=attacks,
        faults=sum(len(row.faults) for row in rows),
        tolerance=TOLERANCE,
        shown=sum(row.badge == "Leak shown" for row in again),
        again=len(again),
        unchecked=", ".join(f"`{name}`" for name in sorted({name for row in rows for name in row.unchecked})),
    )
    title, said, *commands = intro.split("\n\n")
    intro = "\n\n".join([title, fill(said, 120, break_on_hyphens=False), *commands])
    head = f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}\n"
    faults = [f"- {row.file}: {fault}" for row in rows for fault in row.faults]
    listed = ["", "Faults:", "", *faults] if faults else []
    return intro + head + "\n".join([*(line(row, versions(row, again)) for row in own), *listed]) + "\n"


def versions(row: Row, again: Sequence[Row]) -> list[Row]:
    """The versions of a file without a leak."""
    stem = row.file.rpartition(".")[0]
    return [other for other in again if other.file.startswith(f"{stem}-null")]


def line(row: Row, again: Sequence[Row]) -> str:
    """One row of the table: the file, and the worst of it and its versions."""
    every = [row, *again]
    shown = f"{sum(other.badge == 'Leak shown' for other in again)} of {len(again)}"
    cells = [
        row.file,
        row.design,
        row.n,
        str(row.attacks),
        str(row.attacks - len(row.unchecked)),
        f"{row.unscored:.1%}",
        f"{max(max(one.scores, one.numbers) for one in every):.0e}",
        row.badge,
        shown,
        str(sum(len(one.faults) for one in every)),
    ]
    return f"| {' | '.join(cells)} |"
