"""Several runs: the mean is the mean, and the intervals cover."""

import numpy as np
import pytest
from scipy.special import expit

from undertow.metrics import auc, difference, mean_over_runs, measure, tpr_at
from undertow.rng import stream
from undertow.types import BadInput, Scores


def play(seed, run, *, models=8, points=60, shifts=(1.0, 1.4)):
    """Two attacks on one run: each model leaks by an amount of its own, shared by both attacks."""
    rng = stream(seed, "play", run)
    member = rng.random((models, points)) < 0.5
    leak, noise = rng.normal(0, 0.3, (models, 1)), rng.normal(size=(models, points))
    return [
        Scores(f"attack-{i}", (shift + leak) * member + noise + 0.5 * rng.normal(size=member.shape), member)
        for i, shift in enumerate(shifts)
    ]


def test_it_is_the_mean_of_the_runs():
    runs = [play(0, run)[0] for run in range(3)]
    rows = mean_over_runs(runs, fprs=(0.05,))
    assert rows[0].value == pytest.approx(np.mean([auc(s.values, s.member) for s in runs]))
    assert rows[1].value == pytest.approx(np.mean([tpr_at(s.values, s.member, 0.05) for s in runs]))
    assert rows[0].n == 24
    assert rows[0].unit == "models"
    assert rows[0].low < rows[0].value < rows[0].high


def test_one_run_agrees_with_measure():
    run = play(1, 0, models=16)[0]
    alone = measure(run, stream(1, "b"), fprs=(0.05,))[0]
    same = mean_over_runs([run], fprs=(0.05,))[0]
    assert (same.low, same.high) == pytest.approx((alone.low, alone.high), abs=1e-12)


def test_more_runs_narrow_the_interval():
    runs = [play(2, run)[0] for run in range(8)]
    one, all_ = (mean_over_runs(some)[0] for some in (runs[:1], runs))
    assert all_.high - all_.low < 0.6 * (one.high - one.low)


def truth(shift):
    """AUC of the population: leak N(shift, .3), noise of variance 1.25; 200,000 pairs, error below .002."""
    rng = stream(9, "truth", shift)
    gap = rng.normal(shift, 0.3, 200_000) + np.sqrt(2 * 1.25) * rng.normal(size=200_000)
    return float((gap > 0).mean())


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 5])
def test_intervals_cover(count):
    first, second = truth(1.0), truth(1.4)
    hits = np.zeros((200, 2))
    for trial in range(len(hits)):
        runs = [play(100 + trial, run) for run in range(count)]
        a, b = ([pair[i] for pair in runs] for i in (0, 1))
        mean = mean_over_runs(a, fprs=())[0]
        gap = difference(b, a, fprs=())[0]
        hits[trial] = mean.low <= first <= mean.high, gap.low <= second - first <= gap.high
    assert (hits.mean(0) >= 0.91).all(), hits.mean(0)
    assert (hits.mean(0) <= 0.995).all(), hits.mean(0)


def test_the_same_attack_does_not_differ_from_itself():
    runs = [play(3, run)[0] for run in range(2)]
    row = difference(runs, runs)[0]
    assert row.value == row.low == row.high == 0


def test_a_better_attack_is_significantly_better():
    runs = [play(4, run, shifts=(1.0, 2.0)) for run in range(5)]
    row = difference([b for _, b in runs], [a for a, _ in runs])[0]
    assert row.attack == "attack-1 - attack-0"
    assert row.low > 0


def test_what_was_not_scored_alike_is_refused():
    a, b = play(5, 0)[0], play(5, 1)[0]
    with pytest.raises(BadInput, match="same models and points"):
        difference([a], [b])


def test_scores_of_any_scale():
    run = play(6, 0)[0]
    moved = Scores(run.attack, expit(run.values), run.member)
    one, two = (mean_over_runs([r])[0] for r in (run, moved))
    assert one == two
