"""Set the limits of `undertow scan` on benign development checkpoints.

    python benchmarks/scan_profiles.py --corpus DIR [--write]

DIR/benign/NAME-SEED.safetensors with seeds from 100 on (see `benchmarks/scan_corpus.py`). `--write` replaces
src/undertow/scanner/limits.json; either way the limits are printed beside the checkpoints that come nearest.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from undertow.scanner.evidence import Measured, compared
from undertow.scanner.inspection import measured
from undertow.scanner.layers import layers_of
from undertow.scanner.limits import FALSE_ALARMS, TESTS, limit_of, usual_of
from undertow.scanner.norms import statistics_of
from undertow.scanner.tensors import of_arrays


def looked_at(path: Path) -> list[Measured]:
    """What the tests see of a checkpoint."""
    found = statistics_of(of_arrays(load_file(path)))
    return measured(found, layers_of(found))


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
    options = parser.parse_args()
    paths = [p for p in sorted((options.corpus / "benign").glob("*.safetensors")) if int(p.stem.split("-")[-1]) >= 100]
    seen = {path.stem: looked_at(path) for path in paths}
    limits, usual = {}, {}
    for test in TESTS:
        middles = [one.middle for several in seen.values() for one in several if one.test == test]
        usual[test] = tuple(float(f"{bound:.3g}") for bound in usual_of(np.array(middles)))
    excess = {name: largest(several, usual) for name, several in seen.items()}
    for test in TESTS:
        values = {name: one[test] for name, one in excess.items() if one.get(test, -30) > -30}
        limits[test] = round(limit_of(np.array(list(values.values())), FALSE_ALARMS / len(TESTS)), 3)
        nearest = sorted(values, key=lambda name: -values[name])[:4]
        print(test, f"usual {usual[test]}, limit {limits[test]} (a factor of {10 ** limits[test]:.0f})",
              f"n = {len(values)};", ", ".join(f"{name} {values[name]:.2f}" for name in nearest))  # fmt: skip
    if options.write:
        table = {"rate": FALSE_ALARMS, "checkpoints": len(seen), "excess": limits, "usual": usual}
        target = Path(__file__).parents[1] / "src/undertow/scanner/limits.json"
        target.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
