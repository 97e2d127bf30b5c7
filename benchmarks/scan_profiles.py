"""Set the limits of `undertow scan` on benign development checkpoints.

    python benchmarks/scan_profiles.py --corpus DIR [--write]

DIR/benign/NAME-SEED.safetensors with seeds from 100 on (see `benchmarks/scan_corpus.py`). `--write` replaces
src/undertow/scanner/limits.json; either way the limits are printed beside the checkpoints that come nearest. Tests of
layers whose names say nothing (`chain ...`, `column`) are put to the same checkpoints with numbers for names, too.
`--tests` sets these limits alone and leaves all others as they are; `--more` names further benign checkpoints, of any
format that the scan reads, which then are development data.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from undertow.opening import open_checkpoint
from undertow.scanner.chains import natural
from undertow.scanner.evidence import Measured, compared
from undertow.scanner.forms import weights_of
from undertow.scanner.inspection import measured
from undertow.scanner.layers import layers_of
from undertow.scanner.limits import FALSE_ALARMS, GUESSED, TESTS, limit_of, shipped, usual_of
from undertow.scanner.norms import statistics_of
from undertow.scanner.tensors import Tensor

FEW = 20  # checkpoints below which a limit is no lower than that of the ordinary test: too few to fit a law to


def looked_at(tensors: Mapping[str, Tensor]) -> list[Measured]:
    """What the tests see of a checkpoint."""
    weights = weights_of(tensors)
    found = statistics_of(weights.tensors)
    return measured(found, layers_of(found, weights.adapters))


def nameless(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same with numbers for names, in their order."""
    return {f"arr_{i}": tensors[name].renamed(f"arr_{i}") for i, name in enumerate(sorted(tensors, key=natural))}


def seen_of(paths: list[Path], more: list[Path]) -> dict[str, list[Measured]]:
    """By checkpoint; `*` behind those without names."""
    seen = {}
    for path in [*paths, *more]:
        with open_checkpoint(path) as opened:
            seen[path.stem] = looked_at(opened.tensors)
            seen[f"{path.stem} *"] = [one for one in looked_at(nameless(opened.tensors)) if one.test in GUESSED]
    return seen


def largest(seen: list[Measured], usual: dict[str, tuple[float, float]]) -> dict[str, float]:
    """The largest excess of each test, where it could be put."""
    result: dict[str, float] = {}
    for one in compared(seen, usual):
        result[one.test] = max(result.get(one.test, -30.0), float(one.excess.max(initial=-30)))
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--tests", nargs="+", default=list(TESTS), choices=TESTS)
    parser.add_argument("--more", type=Path, nargs="+", default=[])
    options = parser.parse_args()
    paths = [p for p in sorted((options.corpus / "benign").glob("*.safetensors")) if int(p.stem.split("-")[-1]) >= 100]
    seen = seen_of(paths, options.more)
    limits, usual = dict(shipped().excess), dict(shipped().usual)
    for test in options.tests:
        middles = [one.middle for several in seen.values() for one in several if one.test == test]
        usual[test] = tuple(float(f"{bound:.3g}") for bound in usual_of(np.array(middles)))
    excess = {name: largest(several, usual) for name, several in seen.items()}
    for test in options.tests:
        values = {name: one[test] for name, one in excess.items() if one.get(test, -30) > -30}
        limits[test] = round(limit_of(np.array(list(values.values())), FALSE_ALARMS / len(TESTS)), 3)
        ordinary = test.rpartition(" ")[2]
        if len(values) < FEW and ordinary in limits:
            limits[test] = max(limits[test], limits[ordinary])
        nearest = sorted(values, key=lambda name: -values[name])[:4]
        print(test, f"usual {usual[test]}, limit {limits[test]} (a factor of {10 ** limits[test]:.0f})",
              f"n = {len(values)};", ", ".join(f"{name} {values[name]:.2f}" for name in nearest))  # fmt: skip
    if options.write:
        count = len(seen) // 2 if options.tests == list(TESTS) else shipped().checkpoints
        table = {"rate": FALSE_ALARMS, "checkpoints": count, "excess": limits, "usual": usual}
        target = Path(__file__).parents[1] / "src/undertow/scanner/limits.json"
        target.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
