"""From scores: what chose the threshold never judges it, ranks are paid for, ties only help the mechanism."""

from functools import partial

import numpy as np
import pytest
from scipy.stats import binom, norm

from undertow.metrics.binomial import above, below
from undertow.metrics.epsilon import (
    Counts,
    Trials,
    approximate_dp_curve,
    claimed_family,
    clopper_pearson,
    epsilon_of_rates,
    from_scores,
    gaussian_curve,
    gdp,
    gdp_mu,
    halves,
    joint_beta,
    rank_counts,
    refutes,
    refutes_epsilon,
    subsampled_gaussian_curve,
)
from undertow.rng import stream
from undertow.types import BadInput

DELTA = 1e-5


def trials(n=200, mu=0.0, seed=0, run=None, round_to=None):
    rng = stream(seed, "trials")
    member = rng.permutation(np.repeat([True, False], n))
    scores = rng.normal(size=2 * n) + mu * member
    return Trials(scores if round_to is None else np.round(scores / round_to) * round_to, member, run)


@pytest.mark.parametrize("threshold", ["split", "bonferroni", 1.0])
@pytest.mark.parametrize("bound", [clopper_pearson, gdp, joint_beta])
def test_scores_that_know_nothing_give_zero_and_clear_ones_do_not(bound, threshold):
    grid = norm.ppf((np.arange(200) + 0.5) / 200)
    null = Trials(np.repeat(grid, 2), np.tile([True, False], 200))
    assert from_scores(null, DELTA, bound=bound, threshold=threshold).epsilon == 0
    found = from_scores(trials(mu=4.0), DELTA, bound=bound, threshold=threshold)
    assert found.epsilon > 1.5
    assert found.confidence == 0.95
    assert found.n == (200 if threshold == "split" else 400)


def test_a_fixed_threshold_is_the_counts():
    t = trials(mu=2.0)
    tp, fp = int((t.scores[t.member] > 1).sum()), int((t.scores[~t.member] > 1).sum())
    counts = Counts(tp, 200 - tp, fp, 200 - fp)
    assert from_scores(t, DELTA, threshold=1.0).epsilon == clopper_pearson(counts, DELTA).epsilon


def test_the_half_that_chooses_is_not_in_the_half_that_judges():
    t = Trials(np.arange(400.0), np.tile([True, False], 200))
    first, second = halves(t, 3)
    assert not set(first.scores) & set(second.scores)
    assert (first.member.sum(), second.member.sum()) == (100, 100)
    assert set(halves(t, 4)[0].scores) != set(first.scores)


def test_ranks_count_false_positives_up_to_the_rank_whatever_ties_hide():
    t = Trials(np.array([0.0, 0, 0, 1, 1, 1, 1, 1]), np.array([False] * 4 + [True] * 4))
    _, counts = rank_counts(t)
    assert [c.fp for c in counts[:2]] == [0, 1]  # the second is tied down at 0: one member-like score, counted as such
    assert all(c.members == c.non_members == 4 for c in counts)


@pytest.mark.parametrize("round_to", [None, 1.0])
@pytest.mark.parametrize("how", ["split", "bonferroni"])
def test_chosen_thresholds_violate_at_most_alpha(how, round_to):
    """At true epsilon 0, error .2 (so that errors happen) and 150 audits; a naive choice fails the same test."""
    over = sum(
        from_scores(trials(60, seed=i, round_to=round_to), 0.0, 0.8, threshold=how, seed=i).epsilon > 0
        for i in range(150)
    )
    assert over <= binom.ppf(0.9772, 150, 0.2)


def test_the_best_of_all_thresholds_violates_far_more():
    over = 0
    for i in range(300):
        t = trials(300, seed=i)
        hits = t.scores[None] > t.scores[:, None]
        tp, fp = (hits & t.member).sum(1), (hits & ~t.member).sum(1)
        over += epsilon_of_rates(below(tp, 300, 0.1), above(fp, 300, 0.1), 0.0).max() > 0
    assert over > binom.ppf(0.9772, 300, 0.2)


def test_trials_of_one_run_are_refused_before_anything_is_chosen():
    t = trials(run=np.repeat(np.arange(4), 100))
    with pytest.raises(BadInput, match="400 trials of 4 training runs"):
        from_scores(t, DELTA)
    assert from_scores(t, DELTA, independent=True).unit == "independent trials"


def test_bad_trials_are_refused():
    yes = np.array([True, False])
    with pytest.raises(BadInput, match=r"1 scores are NaN \(the first is trial 1\)"):
        Trials(np.array([0.0, np.nan]), yes)
    with pytest.raises(BadInput, match="no non-members"):
        Trials(np.zeros(2), np.array([True, True]))
    with pytest.raises(BadInput, match="bool"):
        Trials(np.zeros(2), np.array([0, 1]))
    with pytest.raises(BadInput, match="run must name"):
        Trials(np.zeros(2), yes, np.zeros(3))
    with pytest.raises(BadInput, match="two trials of each world"):
        from_scores(Trials(np.zeros(2), yes), DELTA)


def test_infinite_scores_are_ranked():
    t = Trials(np.array([np.inf] * 50 + [-np.inf] * 50), np.repeat([True, False], 50))
    assert from_scores(t, 0.0, threshold=0.0).epsilon > 2
    assert from_scores(t, 0.0).epsilon > 1.5
    assert from_scores(t, 0.0, threshold="bonferroni").epsilon > 1


COUNTS = [(90, 10, 5, 95), (100, 0, 0, 100), (55, 45, 50, 50), (3, 97, 0, 100)]


@pytest.mark.parametrize("counts", COUNTS)
@pytest.mark.parametrize("confidence", [0.9, 0.999])
def test_a_claim_is_refuted_exactly_where_clopper_pearson_is_above_it(counts, confidence):
    bound = clopper_pearson(Counts(*counts), 1e-3, confidence).epsilon
    for claimed in (0.0, 0.9 * bound, 1.1 * bound + 0.01, 5.0):
        assert refutes_epsilon(Counts(*counts), claimed, 1e-3, confidence).refuted == (bound > claimed)


def test_the_p_value_is_the_error_at_which_the_bound_meets_the_claim():
    counts = Counts(90, 10, 5, 95)
    p = refutes_epsilon(counts, 1.5, 1e-5).p_value
    assert 1e-6 < p < 0.05
    assert clopper_pearson(counts, 1e-5, 1 - p).epsilon == pytest.approx(1.5, abs=1e-6)
    assert refutes_epsilon(Counts(55, 45, 50, 50), 3.0, 1e-5).p_value == 1
    assert refutes_epsilon(Counts(10**5, 0, 0, 10**5), 0.1, 0.0).p_value < 1e-100


def test_a_claimed_gaussian_curve_is_refuted_where_epsilon_delta_alone_is_not():
    mu = float(gdp_mu(2.0, DELTA))
    tp = round(5000 * norm.cdf(1.3 * mu / 2))  # a third too little noise
    counts = Counts(tp, 5000 - tp, 5000 - tp, tp)
    assert not refutes_epsilon(counts, 2.0, DELTA).refuted
    assert refutes(counts, gaussian_curve(mu), 0.999).refuted
    honest = round(5000 * norm.cdf(mu / 2))
    assert not refutes(Counts(honest, 5000 - honest, 5000 - honest, honest), gaussian_curve(mu)).refuted


@pytest.mark.parametrize(("noise", "rate"), [(0.5, 0.3), (1.0, 0.5), (2.0, 1.0)])
@pytest.mark.parametrize("threshold", [0.3, 1.0])
def test_a_true_subsampled_curve_is_refuted_at_most_alpha(noise, rate, threshold):
    """One Poisson-subsampled step, whose rates are known: the exact chance to refute the truth, and a lie."""
    pytest.importorskip("dp_accounting")
    n, hits = 60, np.arange(61)
    fpr = norm.sf(threshold / noise)
    tpr = rate * norm.sf((threshold - 1) / noise) + (1 - rate) * fpr
    low, high = below(hits, n, 0.025), above(hits, n, 0.025)
    chance = binom.pmf(hits, n, tpr)[:, None] * binom.pmf(hits, n, fpr)[None]

    def refuted(curve):
        return float(chance[(1 - low)[:, None] < curve(high)[None]].sum())

    assert refuted(subsampled_gaussian_curve(noise, rate, 1)) <= 0.05
    if noise == 0.5:
        assert refuted(subsampled_gaussian_curve(4.0, rate, 1)) > 0.1


def test_the_claimed_family_stops_at_the_first_curve_that_stands():
    family = [(e, approximate_dp_curve(e, 0.0)) for e in (0.5, 1.0, 1.5, 2.0, 2.5)]
    counts = Counts(900, 100, 100, 900)
    exact = clopper_pearson(counts, 0.0).epsilon
    found = from_scores(
        Trials(np.repeat([1.0, 0.0, 1.0, 0.0], [900, 100, 100, 900]), np.repeat([True, False], 1000)),
        0.0,
        bound=partial(claimed_family, family=family),
        threshold=0.5,
    )
    assert found.epsilon == max(e for e, _ in family if e < exact) == 1.5
    assert found.assumes == "claimed-pld"
    with pytest.raises(BadInput, match="growing epsilon"):
        claimed_family(counts, 0.0, family=family[::-1])
