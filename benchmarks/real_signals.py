"""Every number of `undertow score` on signals of real models, against an independent slow implementation.

    python benchmarks/real_signals.py make --out DIR [--data DATA] [--seed 0] [--nulls 1] [--only NAME]
    python benchmarks/real_signals.py check DIR [--only NAME] [--attack NAMES] [--markdown FILE]

`make` trains random forests and gradient boosting on tables, convolutional networks on pictures and a regression on
texts (1, 4, 16 and 64 models of each) and writes what people keep of them, in several designs and encodings; each file
has versions whose membership was dealt again after training. `check` runs the command on every file, computes scores
(tests/oracles/score.py), who may attack whom (tests/oracles/dealing.py), AUC by pairs and TPR by every threshold,
prints one row per file and exits with 1 if anything differs by more than 1e-9 of its size, or if a version without a
leak is called one. `--markdown` also writes the page docs/real_signals.md.
"""

import argparse
import json
import os
import sys
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
sys.path.append(str(Path(__file__).resolve().parents[1]))  # tests.oracles

from real.checking import Row, check
from real.making import MANIFEST, make
from real.page import page
from real.slowly import Constants

from undertow.attacks.lira import PER_EXAMPLE
from undertow.attacks.rmia import GAMMA, A

COLUMNS = (
    "file", "badge", "design", "n", "effective n", "attacks", "not compared", "not run", "not scored",
    "scores differ by", "AUC, TPR differ by", "AUC, rounding", "faults",
)  # fmt: skip


def cells(row: Row) -> list[str]:
    """The row as text."""
    effective = "" if row.effective is None else f"{row.effective:.0f}"
    words = [", ".join(row.unchecked), str(len(row.not_run)), f"{row.unscored:.1%}"]
    numbers = [f"{value:.1g}" for value in (row.scores, row.numbers, row.rounding)]
    return [row.file, row.badge, row.design, row.n, effective, str(row.attacks), *words, *numbers, str(len(row.faults))]


def check_all(folder: Path, only: str, attacks: list[str]) -> list[Row]:
    """Check each file of the list in `folder`; prints as it goes."""
    constants = Constants(per_example=PER_EXAMPLE, gamma=GAMMA, a=A, ridge=0.1)
    rows = []
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for entry in json.loads((folder / MANIFEST).read_text(encoding="utf8")):
        name = entry["file"]
        if only in name:
            rows.append(check(folder / name, folder / "runs" / name, entry["null"], attacks, constants))
            print(f"| {' | '.join(cells(rows[-1]))} |", flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("make")
    making.add_argument("--out", type=Path, required=True)
    making.add_argument("--data", type=Path, default=Path(os.environ.get("UNDERTOW_DATA", "../shared/data")))
    making.add_argument("--seed", type=int, default=0)
    making.add_argument("--nulls", type=int, default=1)
    making.add_argument("--only", default="")
    checking = commands.add_parser("check")
    checking.add_argument("folder", type=Path)
    checking.add_argument("--only", default="")
    checking.add_argument("--attack", default="")
    checking.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    if options.command == "make":
        listed = make(options.out, options.data, options.seed, options.nulls, options.only)
        print(f"{len(listed)} files in {options.out}")
        return
    rows = check_all(options.folder, options.only, [name for name in options.attack.split(",") if name])
    faults = [f"{row.file}: {fault}" for row in rows for fault in row.faults]
    print(
        "\n".join(["", *faults, f"{len(rows)} files, {sum(row.attacks for row in rows)} attacks, {len(faults)} faults"])
    )
    if options.markdown:
        options.markdown.write_text(page(rows), encoding="utf8")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
