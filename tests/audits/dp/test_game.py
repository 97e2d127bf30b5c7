"""The DP audit: what it reads, what it fixes beforehand, what it declares, on trainings small enough to run."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")
pytest.importorskip("dp_accounting")
pytest.importorskip("opacus")

from undertow.audits.chain import Host
from undertow.audits.dp.game import Game, audit_dp
from undertow.audits.dp.pipeline import Mechanism, audit_dp_pipeline, move_along
from undertow.audits.dp.rows import trials_of
from undertow.audits.dp.settings import DpConfig, DpData, DpRecipe, preset
from undertow.engine.executor import Serial
from undertow.report.dp.verdict import verdict
from undertow.rng import stream
from undertow.sources.records.dp_data import load_dp
from undertow.storage.store import MemoryStore
from undertow.types import BadInput, ConfigError, Examples

SMALL = DpConfig(seed=5, runs=60, hidden=(8,), data=DpData(records=60, auxiliary=50), recipe=DpRecipe(steps=8))


def host():
    return Host(MemoryStore(), Serial())


def game_of(config):
    return Game(config, load_dp(config.data, config.seed), host())


def audit(config, where=None):
    return audit_dp(config, load_dp(config.data, config.seed), where or host())


@pytest.fixture(scope="module")
def result():
    return audit(SMALL)


def lower(result, **tags):
    rows = [m for m in result.measurements if m.metric == "epsilon_lower" and m.at is None]
    return [m for m in rows if all(getattr(m, k) == v for k, v in tags.items())]


def test_the_contract(result):
    assert len(lower(result, headline=True)) == 1
    (main,) = lower(result, headline=True)
    assert (main.view, main.bound, main.assumes, main.n, main.unit) == ("weights", "gdp-accuracy", "gdp", 120, "runs")
    assert {m.bound for m in result.measurements if m.metric == "epsilon_claimed"} == {"pld", "prv", "rdp"}
    for metric in ("epsilon_ceiling", "epsilon_point", "claim_p_value"):
        assert any(m.metric == metric and m.view == "weights" for m in result.measurements)
    assert all(m.confidence == 0.95 and m.bound and m.assumes for m in lower(result))
    assert {m.view for m in lower(result)} == {"black-box", "weights", "iterates"}
    fixed = result.environment["fixed"]
    assert fixed["headline"] == "gdp-accuracy"
    assert fixed["threshold"] == pytest.approx(4, abs=0.7)  # midway between none and all of 8 steps
    (null,) = result.controls
    assert null.group == "no canary"
    assert null.headline is None


def test_a_trap_reads_the_same_through_every_access(result):
    by_view = {s.view: s.values for s in result.scores}
    noise = np.std(by_view["weights"][60:])
    for view in ("black-box", "iterates"):
        assert np.abs(by_view[view] - by_view["weights"]).max() < 0.05 * noise


def test_scores_are_the_mechanism_that_is_claimed():
    config = replace(SMALL, runs=400)
    game = game_of(config)
    reads = game.play()
    deviation = game.noise.multiplier * 8**0.5
    z = (reads["weights"] - 8 * reads["member"]) / deviation
    assert abs(z.mean()) < 4 / 800**0.5
    assert z.std() == pytest.approx(1, abs=4 / 1600**0.5)
    assert game.leak < 0.02


def test_noise_below_the_claim_is_refuted_and_noise_as_claimed_is_not(result):
    assert verdict(result).state in ("within", "loose")
    weak = audit(replace(SMALL, epsilon=1.0, recipe=DpRecipe(steps=8, noise=2.0)))
    assert verdict(weak).state == "violated"
    (main,) = lower(weak, headline=True)
    assert (main.bound, main.assumes) == ("clopper-pearson", "none")  # the premise of the planned bound is rejected
    assert 0 < main.value < 3.5  # the truth is above 3
    assert main.epsilon == pytest.approx(1.0, rel=0.01)
    (test,) = [m for m in weak.measurements if m.metric == "claim_p_value" and m.view == "weights"]
    assert test.value < 0.001


def test_runs_that_are_finished_are_not_trained_again():
    where = host()
    first = audit(SMALL, where)
    game = Game(SMALL, load_dp(SMALL.data, SMALL.seed), where)
    held = set(where.store.arrays)
    again = game.play()
    assert set(where.store.arrays) == held
    np.testing.assert_array_equal(again["weights"], first.scores[1].values)
    other = Game(replace(SMALL, recipe=replace(SMALL.recipe, lr=0.1)), game.supply, where)
    other.play()
    assert set(where.store.arrays) > held


def test_a_run_does_not_depend_on_its_block(monkeypatch):
    from undertow.audits.dp import game as dp

    whole = game_of(replace(SMALL, runs=6)).play()
    monkeypatch.setattr(dp, "BLOCK", 2)
    split = game_of(replace(SMALL, runs=6)).play()
    np.testing.assert_allclose(whole["weights"], split["weights"], atol=1e-2)


def test_one_run_has_coins_and_canaries_that_do_not_meet():
    config = replace(SMALL, one_run=True, runs=4, canaries=60)
    game = game_of(config)
    reads = game.play()
    assert reads["weights"].shape == (4, 60)
    assert 0.3 < reads["member"].mean() < 0.7
    assert len({row.tobytes() for row in reads["member"]}) == 4
    z = (reads["weights"] - 8 * reads["member"]) / (game.noise.multiplier * 8**0.5)
    assert z.std() == pytest.approx(1, abs=0.15)
    found = audit(config)
    assert [m.bound for m in lower(found, headline=True)] == ["one-run-gdp"]
    assert {m.unit for m in lower(found)} == {"canaries", "independent trials"}
    assert all(m.warning for m in lower(found) if m.unit == "independent trials")


def test_subsampling_lowers_the_ceiling_of_the_end_and_not_of_the_steps():
    recipe = DpRecipe(steps=30, rate=0.2)
    config = replace(SMALL, epsilon=4.0, recipe=recipe, runs=150)
    game = game_of(config)
    tests = game.tests
    assert tests.ceiling("weights") < 0.95 * tests.ceiling("iterates")
    assert tests.ceiling("iterates") == game.noise.epsilon
    reads = game.play()
    assert tests.bound("claimed-pld-accuracy", trials_of(reads, "iterates", False), "iterates", 0.95).epsilon < 4.0
    joined = reads["weights"][:150].mean() - reads["weights"][150:].mean()
    assert joined == pytest.approx(30 * 0.2, abs=4 * game.noise.multiplier * (2 * 30 / 150) ** 0.5 + 0.8)


def test_shuffled_batches_claim_nothing_of_the_accountants():
    config = replace(SMALL, runs=20, recipe=DpRecipe(steps=12, rate=0.25, sampling="shuffled"))
    assert config.headline == "clopper-pearson"
    game = game_of(config)
    block = game.stage
    from undertow.stages.dp_runs import _Block
    from undertow.types import Slot

    runs = _Block(block, Slot("with", 0, 5, None), game_examples(game), game.canaries.state)
    assert (runs.joins.sum(2) == 15).all()  # batches of one size
    assert (runs.joins[:, :4].sum(1) <= 1).all()  # nobody twice in an epoch
    result = audit(config)
    assert any(check.passed is False for check in verdict(result).checks)


def game_examples(game):
    arrays = game.host.store.get(game.stage.data)
    return Examples(arrays["x"], arrays["y"], "t")


@pytest.mark.parametrize(
    ("canary", "init"),
    [("random", "fresh"), ("mislabelled", "fresh"), ("mislabelled", "pretrained"), ("gradient", "fresh")],
)
def test_other_canaries_play_too(canary, init):
    config = replace(SMALL, canary=canary, init=init, runs=20)
    result = audit(config)
    views = {m.view for m in lower(result)}
    assert ("black-box" in views) == (canary != "gradient")
    assert len(lower(result, headline=True)) == 1


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"canary": "gradient", "access": "black-box"}, "no record"),
        ({"init": "planted", "canary": "random"}, "planted"),
        ({"hidden": ()}, "one hidden layer"),
        ({"bound": "one-run"}, "one_run"),
        ({"bound": "gdp", "recipe": DpRecipe(rate=0.5)}, "Gaussian"),
        ({"epsilon": 0.0}, "epsilon"),
        ({"runs": 1}, "runs"),
    ],
)
def test_what_cannot_mean_anything_is_refused(change, why):
    with pytest.raises(ConfigError, match=why):
        replace(SMALL, **change)


def test_presets_are_valid_and_named():
    from undertow.audits.dp.settings import listing

    for name, _ in listing():
        assert preset(name).headline
    with pytest.raises(ConfigError, match="digits"):
        preset("digit")


# a user's own pipeline: the mean of one coordinate with Gaussian noise


def noisy_sum(sigma):
    def train(checkpoint, data, seed):
        noise = stream(seed, "noise").normal(size=checkpoint["w"].shape) * sigma
        return {"w": checkpoint["w"] - data.x.sum(0) - noise}

    return train


DATA = Examples(np.zeros((5, 3)), np.zeros(5, np.int64), "zeros")
CANARY = Examples(np.array([[1.0, 0.0, 0.0]]), np.zeros(1, np.int64), "canary")
SCORE = move_along({"w": np.array([1.0, 0.0, 0.0])})


def own(sigma, **options):
    checkpoint = {"w": np.zeros(3)}
    return audit_dp_pipeline(noisy_sum(sigma), checkpoint, DATA, CANARY, SCORE, epsilon=1.0, **options)


def test_an_own_pipeline_is_refuted_where_its_noise_is_too_small():
    """sigma 3.73 is epsilon 1 at delta 1e-5 (one Gaussian step)."""
    told = {"mechanism": Mechanism(1.0, 1), "runs": 150, "threshold": 0.5}
    weak, right = own(0.5, **told), own(3.73, **told)
    assert verdict(weak).state == "violated"
    assert verdict(right).state != "violated"
    assert {m.attack for m in weak.measurements} == {"own"}
    assert [m.bound for m in weak.measurements if m.headline] == ["clopper-pearson"]
    assert [m.bound for m in right.measurements if m.headline] == ["gdp-accuracy"]


def test_an_own_pipeline_of_which_nothing_is_said_gets_the_bound_that_assumes_nothing():
    found = own(0.1, runs=100)
    assert [(m.bound, m.assumes) for m in found.measurements if m.headline] == [("clopper-pearson", "none")]
    assert verdict(found).state == "violated"  # hardly any noise: always right


def test_an_own_pipeline_must_give_numbers():
    with pytest.raises(BadInput, match="score is nan"):
        own(float("nan"), runs=2)
    with pytest.raises(BadInput, match="2 canaries"):
        audit_dp_pipeline(noisy_sum(1.0), {"w": np.zeros(3)}, DATA, DATA.take(np.arange(2)), SCORE, epsilon=1.0)
    with pytest.raises(ConfigError, match="access"):
        own(1.0, runs=2, access="everything")


def test_noise_that_train_computes_anew_is_said():
    def recalibrates(checkpoint, data, seed):
        if seed < 0:
            checkpoint.make_private_with_epsilon()
        return noisy_sum(3.73)(checkpoint, data, seed)

    told = {"epsilon": 1.0, "mechanism": Mechanism(1.0, 1), "runs": 10, "threshold": 0.5}
    found = audit_dp_pipeline(recalibrates, {"w": np.zeros(3)}, DATA, CANARY, SCORE, **told)
    assert "each of the 20 trainings" in found.warnings[0]
    assert own(3.73, mechanism=Mechanism(1.0, 1), runs=10, threshold=0.5).warnings == ()


def test_bounds_of_a_subsampled_claim_cost_few_calls():
    """Scores of 50 + 50 runs; the privacy losses are computed once per noise, in arrays, not in loops over a grid.

    Counted, not timed: 100,000 calls; dp-accounting's loops took tens of millions (36 s).
    """
    import sys

    told = {"epsilon": 8.0, "mechanism": Mechanism(0.05, 200), "runs": 50}
    calls = 0

    def count(frame, event, argument):
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        audit_dp_pipeline(noisy_sum(3.0), {"w": np.zeros(3)}, DATA, CANARY, SCORE, **told)
    finally:
        sys.setprofile(None)
    assert calls < 1_000_000
