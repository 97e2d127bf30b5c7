"""How often is a leak shown on four held-out victims, and how strong is the attack there?

    python benchmarks/power.py --out DIR [--audits 60] [--workers 1]    # resumes; prints the table

Plays the design "held-out 36x200" of coverage_world.py (32 shadows in pairs, 4 victims) on worlds of its own.
"""

import argparse
from pathlib import Path

import numpy as np
from coverage import fill, load
from coverage_tables import exact
from coverage_world import CELLS

TITLE, EFFECTS = "held-out 36x200", ("null", ".55", ".6")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the audits")
    parser.add_argument("--audits", type=int, default=60, help="for each effect")
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / "power.jsonl"
    fill([(c, e) for c in CELLS if c.title == TITLE for e in EFFECTS], options.audits, file, options.workers)
    print("| effect | audits | mean LiRA AUC | leak shown | exact 95 % interval |\n|---|---|---|---|---|")
    for effect in EFFECTS:
        audits = [a for a in load(file) if a["effect"] == effect]
        values = [a["rows"]["lira AUC"][0] for a in audits if "lira AUC" in a["rows"]]
        shown = sum(a["leak"][0] for a in audits)
        low, high = exact(shown, len(audits), 0.05)
        print(f"| {effect} | {len(audits)} | {np.mean(values):.3f} | {shown} | {low:.3f} to {high:.3f} |")


if __name__ == "__main__":
    main()
