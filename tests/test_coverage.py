"""A fast slice of benchmarks/coverage.py: the intervals hold the truth, through models, attacks and measurement."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
AUDITS = 40


@pytest.fixture(scope="module")
def benchmark():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        spec = importlib.util.spec_from_file_location("coverage_benchmark", BENCHMARKS / "coverage.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(BENCHMARKS))
    return module


@pytest.fixture(scope="module")
def audits(benchmark):
    """Some audits of five designs, with and without a leak."""
    wanted = {("pairs", 16), ("held-out", 36), ("5-fold", 20), ("one split", 8), ("Bernoulli", 16)}
    cells = [c for c in benchmark.CELLS if (c.name, c.models) in wanted and c.background]
    return [benchmark.play(c, effect, i, "slice") for c in cells for effect in ("null", ".6") for i in range(AUDITS)]


def tables():
    return sys.modules["coverage_tables"]


def test_intervals_hold_the_truth(audits):
    """Nominal .95; the attacks of one audit read the same models, so their audits are one sample of AUDITS."""
    for row in tables().rows(audits):
        assert row.audits >= 0.9 * AUDITS
        assert row.exact(0.001 / 100)[1] > 0.95, f"{row.cell} {row.effect} {row.name} covers {row.coverage:.3f}"
    shares = [r.coverage for r in tables().rows(audits) if "AUC" in r.name]
    assert np.mean(shares) > 0.92


def test_intervals_are_not_too_wide(audits):
    ratios = [row.half / row.ideal for row in tables().rows(audits) if row.ideal > 0]
    assert np.median(ratios) < 1.3


def test_a_leak_is_seldom_shown_without_one_and_mostly_with_one(audits):
    by = {}
    for a in audits:
        by.setdefault((a["cell"], a["effect"]), []).append(a["leak"][0])
    for (cell, effect), shown in by.items():
        if effect == "null":
            assert tables().exact(sum(shown), len(shown), 0.002)[0] <= 0.025, cell
        elif "one split" not in cell:  # one draw of 200 records shows little
            assert np.mean(shown) > 0.6, cell
