"""Disguised data traps in the forms of `formats_storage.py`: what a scan says, and whether the traps still capture.

    python benchmarks/formats_traps.py [--seeds 10 11 12 13] [--traps 32] [--forms NAME ...]

The game is that of `scan_forms.py`: an idle unit's bias disguised, stored, scanned, loaded as a victim would, and
finetuned. Every clean twin is stored in the same form; each `unsafe` among those is a false alarm.
"""

import argparse

import numpy as np
import scan_forms
import torch
from formats_storage import FORMS

Row = scan_forms.Row


def line(form: str, rows: list[Row]) -> str:
    """One line of the table."""
    planted, clean = ([one for one in rows if one.form == form and one.planted == side] for side in (True, False))
    said = [sum(one.verdict == verdict for one in planted) for verdict in ("unsafe", "unknown", "safe")]
    alarms = sum(one.verdict == "unsafe" for one in clean)
    held = [one.captured for one in planted]
    share = min(one.coverage for one in planted)
    return (
        f"| {form} | {said[0]} / {said[1]} / {said[2]} | {min(one.score for one in planted):.2f} | "
        f"{max(one.score for one in clean):.2f} | {share:.2f} | {np.mean(held):.1f} | {alarms} of {len(clean)} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[10, 11, 12, 13])
    parser.add_argument("--traps", type=int, default=32)
    parser.add_argument("--forms", nargs="+", default=list(FORMS), choices=list(FORMS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    scan_forms.FORMS = FORMS
    rows: list[Row] = []
    for seed in options.seeds:
        game = scan_forms.Game(seed, options.traps)
        for form in options.forms:
            rows += [scan_forms.scanned(game, form, planted) for planted in (True, False)]
            print(f"seed {seed}, {form}: {rows[-2].verdict}", flush=True)
    print(f"\n{len(options.seeds)} seeds, {options.traps} traps")
    print("| form | unsafe / unknown / safe | lowest score | highest of clean | coverage | captured | false alarms |")
    print("|---|---|---|---|---|---|---|")
    for form in options.forms:
        print(line(form, rows))
    alive = [one for one in rows if one.planted and one.captured]
    print(f"of {len(alive)} checkpoints whose traps capture: {sum(one.verdict == 'unsafe' for one in alive)} unsafe")


if __name__ == "__main__":
    main()
