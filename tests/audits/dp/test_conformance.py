"""Planted bugs are found, correct pipelines are not accused; a quick part by default, the whole zoo with --slow."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("opacus")
pytest.importorskip("peft")
pytest.importorskip("dp_accounting")
from tests.audits.dp.dp_zoo.broken import broken
from tests.audits.dp.dp_zoo.by_hand import InNumpy
from tests.audits.dp.dp_zoo.correct import correct, in_numpy
from tests.audits.dp.dp_zoo.models import TinyTransformer, claim, digits, perceptron, start
from torch.nn.functional import cross_entropy

from undertow.audits.dp.conformance import check_pipeline
from undertow.audits.dp.probe import find_head, make_probe
from undertow.types import BadInput, ConfigError, Examples

BROKEN, CORRECT = {s.name: s for s in broken()}, {s.name: s for s in correct()}
QUICK_BUGS = ("no noise", "clip norm twice as large", "shuffled, declared Poisson", "one noise draw for all steps")
QUICK = ("in NumPy", "DP-SGD by hand", "Undertow, closed-form perceptron")


def check(s, seed, **options):
    return check_pipeline(s.train, s.checkpoint, s.data, s.claim, seed=seed, **options)


def names(result):
    return {c.test for c in result.findings}


@pytest.mark.parametrize("name", QUICK_BUGS)
def test_bugs_are_found(name):
    assert names(check(BROKEN[name], 11)) & set(BROKEN[name].expected)


@pytest.mark.parametrize("name", QUICK)
def test_correct_pipelines_are_not_accused(name):
    result = check(CORRECT[name], 11)
    assert not result.findings
    assert {c.test for c in result.checks} >= {"noise", "independence", "sensitivity", "sampling", "mixing", "crowding"}


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in BROKEN if name not in QUICK_BUGS])
def test_every_bug_is_found_by_a_test_that_is_meant_for_it(name):
    assert names(check(BROKEN[name], 12)) & set(BROKEN[name].expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in CORRECT if name not in QUICK])
def test_no_correct_pipeline_is_accused(name):
    assert not check(CORRECT[name], 12).findings


def test_the_zoo_is_large_enough():
    assert len(BROKEN) >= 10
    assert len(CORRECT) >= 10
    assert all(s.expected for s in BROKEN.values())


@pytest.mark.parametrize("build", [perceptron, TinyTransformer])
def test_silent_records_have_no_gradient_at_all_and_loud_ones_a_large_one(build):
    data = digits(images=build is TinyTransformer)
    probe = make_probe(start(build), data, claim(), None, seed=0)
    module = build()
    module.load_state_dict({name: torch.as_tensor(value) for name, value in probe.checkpoint.items()})
    records = probe.records(loud=1, louder=1, wild=30)
    for label, least in ((0, 0.0), (1, 5.0), (2, 200.0)):
        rows = np.flatnonzero(records.y == label)
        module.zero_grad()
        cross_entropy(module(torch.as_tensor(records.x[rows])), torch.as_tensor(records.y[rows])).backward()
        norm = float(torch.cat([p.grad.flatten() for p in module.parameters()]).norm())
        assert norm >= least
        if not label:
            assert norm == 0


def test_weight_decay_is_no_finding_but_is_said_and_missing_noise_still_is():
    s = in_numpy()
    result = check(replace(s, train=InNumpy(s.claim, decay=0.01)), 0)
    assert not result.findings
    assert "turn off weight decay" in result.not_tested[0]
    assert names(check(replace(s, train=InNumpy(s.claim, decay=0.01, noisy=0.5)), 0)) == {"noise"}


def test_a_claim_is_compared_with_the_accountant():
    s = in_numpy()
    proved = s.claim.proved_epsilon()
    for changes, found in (
        ({"epsilon": proved}, []),
        ({"epsilon": proved / 2}, ["epsilon"]),
        ({"epsilon": 100.0, "delta": 0.01}, ["delta"]),
    ):
        result = check(replace(s, claim=replace(s.claim, **changes)), 0, runs=8)
        assert [c.about for c in result.findings] == found
        assert not any("no epsilon is claimed" in reason for reason in result.not_tested)


def test_the_table_names_what_was_found_its_fix_and_what_was_not_looked_at():
    s = in_numpy()
    text = check(replace(s, train=InNumpy(s.claim, noisy=0)), 0, runs=8).table()
    assert "FOUND" in text
    assert "Fix: add the noise" in text
    assert "Not tested: independence of the noise" in text
    assert "1 finding." in text


def test_accusations_of_a_correct_trainer_are_as_rare_as_promised():
    """At confidence 0.9, 20 audits of one correct trainer: wrong ones are few (Bonferroni makes it far fewer)."""
    wrong = sum(bool(check(in_numpy(), seed, runs=8, confidence=0.9).findings) for seed in range(20))
    assert wrong <= 2 + 2 * np.sqrt(20 * 0.1 * 0.9)


def test_the_head_is_found_or_asked_for():
    checkpoint = start(perceptron)
    assert find_head(checkpoint, None) == ("2.weight", "2.bias")
    assert find_head(checkpoint, "0") == ("0.weight", "0.bias")
    with pytest.raises(ConfigError, match="named 7"):
        find_head(checkpoint, "7")
    with pytest.raises(ConfigError, match="three classes"):
        make_probe({"w.weight": np.zeros((2, 5)), "w.bias": np.zeros(2)}, digits(), claim(), None, 0)


def test_trainers_that_cannot_be_judged_are_refused():
    s = in_numpy()

    def given(checkpoint, data, seed):
        return checkpoint

    def lost(checkpoint, data, seed):
        return {}

    def burst(checkpoint, data, seed):
        return {name: value * np.nan for name, value in checkpoint.items()}

    for train, error, words in (
        (given, ConfigError, "does not train"),
        (lost, BadInput, "returned no weight"),
        (burst, BadInput, "not finite"),
    ):
        with pytest.raises(error, match=words):
            check(replace(s, train=train), 0, runs=8)
    with pytest.raises(ConfigError, match="at least 8 runs"):
        check(s, 0, runs=2)
    texts = Examples(np.ones((4, 3), int), np.ones((4, 3), int), "texts")
    with pytest.raises(BadInput, match="one per token"):
        make_probe(s.checkpoint, texts, claim(), None, 0)
