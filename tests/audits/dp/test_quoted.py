"""What a DP audit may say: numbers from premises that stand, accusations at 99.9 %, no point above the ceiling.

All audits here are simulated through the real bounds: scores are drawn, nothing is trained.
"""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom

pytest.importorskip("torch")

from undertow.audits.dp.pipeline import Mechanism, audit_dp_pipeline, move_along
from undertow.audits.dp.plan import claim_of
from undertow.audits.dp.reader import Reader
from undertow.audits.dp.rows import bound_rows, quoted
from undertow.audits.dp.settings import DpConfig, DpData, DpRecipe
from undertow.metrics import apply_gate, parse_gate
from undertow.metrics.epsilon import Trials, clopper_pearson, from_scores
from undertow.report.dp.verdict import ACCUSES, verdict
from undertow.report.html import page
from undertow.report.text import summary
from undertow.rng import stream
from undertow.training.privacy import Privacy, least_noise
from undertow.types import AuditResult, Examples, GateUndecided

DATA = Examples(np.zeros((5, 3)), np.zeros(5, np.int64), "zeros")
CANARY = Examples(np.array([[1.0, 0.0, 0.0]]), np.zeros(1, np.int64), "canary")
SCORE = move_along({"w": np.array([1.0, 0.0, 0.0])})
START = {"w": np.zeros(3)}
RANDOMISED = {"epsilon": 1.2, "mechanism": Mechanism(1.0, 1), "runs": 300}


def flips(checkpoint, data, seed):
    """Randomised response with epsilon 2: whether the canary is there, told truly with probability .88."""
    keeps = stream(seed, "flip").random() < np.exp(2) / (1 + np.exp(2))
    return {"w": checkpoint["w"] - np.array([float((data.x.sum() > 0) == keeps), 0, 0])}


@pytest.fixture(scope="module", params=[None, 0.5])
def flipped(request):
    found = audit_dp_pipeline(flips, START, DATA, CANARY, SCORE, threshold=request.param, **RANDOMISED)
    return found, request.param


def test_a_number_comes_only_from_a_bound_whose_premise_stands(flipped):
    """True epsilon 2; the Gaussian bounds would say more than 9."""
    found, threshold = flipped
    (main,) = [m for m in found.measurements if m.headline]
    assert (main.bound, main.assumes) == ("clopper-pearson", "none")
    trials = Trials(found.scores[0].values[:, 0], found.scores[0].member[:, 0])
    free = from_scores(trials, 1e-5, bound=clopper_pearson, threshold="split" if threshold is None else threshold)
    assert main.value == free.epsilon
    assert 1 < main.value < 2.5
    numbers = [m for m in found.measurements if m.metric in ("epsilon_lower", "epsilon_point")]
    assert all(m.assumes == "none" for m in numbers if m.value is not None)
    assert all("rejected (p = " in m.reason for m in numbers if m.value is None)
    assert sum(m.value is None for m in numbers) == 2


def test_the_rejection_and_the_number_are_told_apart_everywhere(flipped):
    found, _ = flipped
    (main,) = [m for m in found.measurements if m.headline]
    reading, said, html = verdict(found), " ".join(summary(found).split()), page(found)
    assert reading.state == "violated"
    assert "the claimed trade-off curve is rejected (p = " in reading.headline
    assert f"assuming nothing, epsilon is at least {main.value:.2f} (95% confidence" in reading.headline
    assert "Point estimate" not in said
    assert "Point estimate" not in html
    assert "premise rejected" in said
    assert "premise rejected" in html
    assert "at most 1 of 1,000 audits" in said


def test_the_gate_reads_the_number_that_assumes_nothing(flipped):
    found, _ = flipped
    assert "clopper-pearson" not in (apply_gate(parse_gate("epsilon_lower>1"), found.measurements, frozenset()) or "")
    assert apply_gate(parse_gate("epsilon_lower>1"), found.measurements, frozenset()) is not None
    with pytest.raises(GateUndecided, match="claim is rejected"):
        apply_gate(parse_gate("epsilon_lower>5"), found.measurements, frozenset())


# correct mechanisms, simulated

FULL = DpConfig(seed=2, epsilon=8.0, runs=100, data=DpData(records=100), recipe=DpRecipe(steps=20))
SAMPLED = replace(FULL, recipe=DpRecipe(steps=50, rate=0.1))
CONFIGS = {
    "gdp-accuracy": FULL,
    "gdp": replace(FULL, bound="gdp"),
    "claimed-pld-accuracy": SAMPLED,
    "claimed-pld": replace(SAMPLED, bound="claimed-pld"),
    "clopper-pearson": replace(FULL, bound="clopper-pearson"),
    "one-run-gdp": replace(FULL, one_run=True, runs=1, canaries=200),
}


def reader(config):
    noise = least_noise(Privacy(config.epsilon, config.delta), config.recipe.rate, config.recipe.steps, 1.001)
    return Reader(config, claim_of(noise), True, 0.0)


def scores(tests, rng, weaker=1.0):
    """What the final weights of a mechanism with `weaker` times the noise show."""
    config, noise = tests.config, tests.claim.noise
    if config.one_run:
        member = rng.random((1, config.canaries)) < 0.5
    else:
        member = np.arange(2 * config.runs)[:, None] < config.runs
    joined = rng.binomial(noise.steps, noise.rate, size=member.shape) * member
    spread = weaker * noise.multiplier * noise.steps**0.5
    return {"weights": joined + spread * rng.standard_normal(member.shape), "member": member}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_correct_trainer_is_accused_in_at_most_one_of_a_thousand_audits(name):
    tests, rng, audits = reader(CONFIGS[name]), stream(4, "correct", name), 2500
    assert tests.config.headline == name
    p = np.array([quoted(tests, scores(tests, rng)).p_value for _ in range(audits)])
    assert (p <= ACCUSES).sum() <= binom.ppf(0.999, audits, ACCUSES)
    assert (p <= 0.05).sum() <= binom.ppf(0.999, audits, 0.05)


@pytest.mark.parametrize("name", ["gdp-accuracy", "claimed-pld-accuracy"])
def test_the_quoted_number_is_above_the_truth_in_at_most_one_of_twenty_audits(name):
    """The headline moves where the claim is rejected; that must not cost coverage, for less noise or more either."""
    for weaker in (1.0, 1.15, 0.85):
        tests, audits = reader(CONFIGS[name]), 400
        noise, rng = tests.claim.noise, stream(5, "number", name, str(weaker))
        from undertow.metrics.epsilon import subsampled_gaussian_epsilon

        truth = subsampled_gaussian_epsilon(noise.multiplier * weaker, noise.rate, noise.steps, 1e-5)
        above = 0
        for _ in range(audits):
            reads = scores(tests, rng, weaker)
            quote = quoted(tests, reads)
            trials = Trials(reads["weights"][:, 0], reads["member"][:, 0])
            value = tests.bound(quote.headline, trials, "weights", 0.95).epsilon
            above += (value if quote.rejected else min(value, noise.epsilon)) > truth
        assert above <= binom.ppf(0.999, audits, 0.05)


def result_of(tests, reads):
    quote = quoted(tests, reads)
    config = {"runs": tests.config.runs, "one_run": False, "recipe": {"sampling": "poisson"}}
    return AuditResult("dp", config, 0, {}, {}, tuple(bound_rows(tests, reads, quote))), quote


@pytest.mark.parametrize("name", ["gdp-accuracy", "claimed-pld-accuracy"])
def test_the_point_is_never_above_the_ceiling_and_the_verdict_follows_the_p_value(name):
    tests, rng, states = reader(CONFIGS[name]), stream(6, "point", name), set()
    for weaker in np.repeat([1.0, 0.75, 0.5, 0.3], 12):
        result, quote = result_of(tests, scores(tests, rng, weaker))
        state = verdict(result).state
        states.add(state)
        expected = "violated" if quote.p_value <= 0.001 else "repeat" if quote.p_value <= 0.05 else None
        assert state == expected or (expected is None and state in ("within", "loose"))
        (main,) = [m for m in result.measurements if m.headline]
        assert main.value <= main.epsilon or main.assumes == "none"
        for point in (m for m in result.measurements if m.metric == "epsilon_point"):
            assert point.value <= tests.ceiling("weights")
            assert expected is None
        said = " ".join(verdict(result).sentences) + verdict(result).headline
        assert "bring the bound" not in said
        if state == "repeat":
            assert "repeat with another seed" in said
            assert "at most 5 of 100 audits" in said
            assert "1 of 400 cases" in said
    assert "violated" in states
    assert states & {"within", "loose"}
