"""What a poisoning audit will take: every part of its timing is foreseen, and scaled to what will be done."""

from dataclasses import replace

import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")
from tests.audits.poisoning.poison_games import TINY, host, run, table, tiny_lm

from undertow.audits.poisoning import estimate as module
from undertow.audits.poisoning.estimate import STEPS, estimate, scaled

PARTS = ("checkpoints", "finetune, full", "finetune, warm-up", "attack and measure")
TWO = replace(TINY, recipes=("full", "warm-up"))


def test_it_foresees_every_part_that_the_result_times():
    found = estimate(table(TWO))
    assert tuple(sorted(found)) == tuple(sorted(PARTS)) == tuple(sorted(run(TWO).timing))
    assert all(seconds > 0 for seconds in found.values())


@pytest.mark.parametrize("total", [1, 100])
def test_a_few_steps_are_scaled_and_what_each_run_takes_anyway_is_counted_once(monkeypatch, total):
    now = [0.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])
    seen = []

    def work(steps):
        seen.append(steps)
        now[0] += 5 + 2 * steps

    assert scaled(work, total) == pytest.approx(5 + 2 * total)
    assert seen == [1, 1, 1 + STEPS]
    assert scaled(work, 0) == 0


def test_models_arms_and_workers_count(monkeypatch):
    monkeypatch.setattr(module, "scaled", lambda run, total: float(total))  # a second per step
    monkeypatch.setattr(module, "_seconds", lambda work: 0.25)
    steps = 2 * 2  # epochs of 12 members in batches of 6
    fine = 3 * 6 * (steps + 0.25)
    found = estimate(table(TINY))
    assert found["finetune, full"] == pytest.approx(fine)
    assert estimate(table(TINY), workers=2)["finetune, full"] == pytest.approx(fine / 2)
    assert estimate(table(replace(TINY, models=12)))["finetune, full"] == pytest.approx(2 * fine)
    pretrained = -(-len(table(TINY).supply.pretrain) // 64)
    assert found["checkpoints"] == pytest.approx(pretrained + 2 * 6 + 3 * 0.25)
    public = estimate(table(TWO))["finetune, warm-up"]
    assert public == pytest.approx(fine + 3 * 40)  # 40 steps on public data in every arm


@pytest.mark.slow
def test_language_models_and_private_training(tmp_path):
    pytest.importorskip("transformers")
    pytest.importorskip("opacus")
    config = replace(tiny_lm(tmp_path), recipes=("full", "dp"))
    found = estimate(table(config, store=host().store))
    assert tuple(found) == ("checkpoints", "finetune, full", "finetune, dp", "attack and measure")
    assert all(seconds > 0 for seconds in found.values())
