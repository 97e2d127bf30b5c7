"""Claims that scores are held against: true ones are refuted as rarely as is said, false ones are found."""

import numpy as np
import pytest
from scipy.stats import binom

from undertow.audits.dp.claimed import claimed_curve, claimed_epsilon, claimed_gdp, claimed_zcdp
from undertow.audits.dp.claimed_test import at_points, claim_p_value
from undertow.audits.dp.epsilon import EpsilonAsk, ScoreSet, audit_epsilon
from undertow.metrics.epsilon import Trials, clopper_pearson, gdp_delta, gdp_epsilon, split_counts
from undertow.report.text import summary
from undertow.rng import stream
from undertow.types import BadInput, ConfigError

MU, DELTA = 1.2, 1e-5
GRID = np.linspace(0, 8, 30)
TRUE = {
    "epsilon": claimed_epsilon(float(gdp_epsilon(MU, DELTA)), DELTA),
    "gdp": claimed_gdp(MU, DELTA),
    "zcdp": claimed_zcdp(MU**2 / 2, DELTA),
    "curve": claimed_curve(GRID, gdp_delta(GRID, MU), DELTA, "curve.csv"),
}
FALSE = {
    "gdp": claimed_gdp(0.3, DELTA),
    "zcdp": claimed_zcdp(0.3**2 / 2, DELTA),
    "curve": claimed_curve(GRID, gdp_delta(GRID, 0.3), DELTA, "curve.csv"),
    "epsilon": claimed_epsilon(0.3, DELTA),
}
WAYS = [("runs", "split"), ("runs", 0.6), ("runs", "bonferroni"), ("canaries", "split"), ("canaries", "bonferroni")]


def gaussian(rng, n=200, mu=MU):
    member = rng.random(n) < 0.5
    return Trials(rng.normal(size=n) + mu * member, member)


@pytest.mark.parametrize(("unit", "threshold"), WAYS)
def test_a_true_claim_is_refuted_in_at_most_one_of_a_thousand_audits(unit, threshold):
    rng, audits, found = stream(8, "true", unit, str(threshold)), 250, {name: [] for name in TRUE}
    ask = EpsilonAsk(threshold=threshold, unit=unit)
    for _ in range(audits):
        trials = gaussian(rng)
        for name, claim in TRUE.items():
            found[name].append(claim_p_value(trials, ask, unit, "", claim))
    for values in found.values():
        p = np.array(values)
        assert (p <= 0.05).sum() <= binom.ppf(0.999, audits, 0.05)
        assert (p <= 0.001).sum() <= binom.ppf(0.999, audits, 0.001)


@pytest.mark.parametrize(("unit", "threshold"), WAYS)
@pytest.mark.parametrize("name", ["gdp", "zcdp", "curve"])
def test_a_false_claim_is_refuted(unit, threshold, name):
    trials = gaussian(stream(9, "false"), 4000, 2.5)
    assert claim_p_value(trials, EpsilonAsk(threshold=threshold, unit=unit), unit, "", FALSE[name]) < 1e-3


def test_the_sequential_test_is_its_wealth():
    rng = stream(3, "sequential")
    member = rng.random(2000) < 0.5
    trials = Trials(rng.normal(size=2000) + 3 * member, member, np.arange(2000))
    ask = EpsilonAsk(threshold=1.5, unit="runs", bound="sequential")
    assert claim_p_value(trials, ask, "runs", "sequential", FALSE["epsilon"]) < 1e-3
    assert claim_p_value(trials, ask, "runs", "sequential", claimed_epsilon(9.0, DELTA)) > 0.05


def test_a_rejected_gaussian_claim_takes_the_gaussian_bounds_with_it():
    trials = gaussian(stream(9, "premise"), 4000, 2.5)
    for unit in ("runs", "canaries"):
        ask = EpsilonAsk(unit=unit, bound="gdp" if unit == "runs" else "one-run-gdp")
        result = audit_epsilon(ScoreSet("s", "0", trials), ask, claim=FALSE["gdp"])
        bounds = [m for m in result.measurements if m.metric == "epsilon_lower"]
        assert {m.assumes for m in bounds if m.value is None} == {"gdp"}
        (main,) = [m for m in bounds if m.headline]
        assert (main.assumes, main.value is not None) == ("none", True)
        assert "premise rejected" in summary(result)
        stands = audit_epsilon(ScoreSet("s", "0", trials), ask, claim=claimed_gdp(3.0, DELTA))
        assert all(m.value is not None for m in stands.measurements)


def test_a_curve_is_shown_at_its_own_deltas():
    trials, ask = gaussian(stream(9, "points"), 4000, 2.5), EpsilonAsk(unit="runs")
    counts = split_counts(trials, DELTA, 0.95, bound=clopper_pearson, seed=0)
    found = at_points(trials, ask, "runs", FALSE["curve"])
    assert len(found) == 24  # of 30
    for epsilon, bound in found:
        assert bound.delta == pytest.approx(float(gdp_delta(epsilon, 0.3)))
        assert bound.epsilon == clopper_pearson(counts, bound.delta).epsilon
    said = summary(audit_epsilon(ScoreSet("s", "0", trials), ask, claim=FALSE["curve"]))
    assert "THE CLAIMED CURVE" in said
    assert "REFUTED" in said


def test_between_95_and_99_9_nothing_is_decided():
    trials = gaussian(stream(9, "between"), 2000, 1.0)
    ask = EpsilonAsk(unit="runs", threshold=0.5)
    p = {mu: claim_p_value(trials, ask, "runs", "", claimed_gdp(mu, DELTA)) for mu in np.linspace(0.5, 1.2, 71)}
    mu = next(mu for mu, value in p.items() if 0.001 < value <= 0.05)
    said = " ".join(summary(audit_epsilon(ScoreSet("s", "0", trials), ask, claim=claimed_gdp(mu, DELTA))).split())
    assert "NOT DECIDED: repeat with new trainings and coins" in said
    assert "in 5 of 100 audits" in said
    assert "REFUTED" not in said


def test_what_is_no_claim_is_one_line():
    for make in (
        lambda: claimed_gdp(-1.0, DELTA), lambda: claimed_gdp(1.0, 0.0), lambda: claimed_zcdp(1.0, 0.0),
        lambda: claimed_epsilon(float("nan"), DELTA),
    ):  # fmt: skip
        with pytest.raises(ConfigError):
            make()
    with pytest.raises(BadInput, match="row 2: epsilon 1, delta 1"):
        claimed_curve(np.array([0.5, 1.0]), np.array([0.1, 1.0]), DELTA, "c.csv")
