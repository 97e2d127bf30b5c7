"""Opacus's engine in the shape that audits call: deterministic by seed, only what asks for gradients is trained."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("opacus")
pytest.importorskip("peft")

from tests.audits.dp.dp_zoo.models import adapted, digits, perceptron, start

from undertow.training.opacus_pipeline import OpacusPipeline

TRAIN = OpacusPipeline(perceptron, partial(torch.optim.SGD, lr=0.2), 1.0, 1.0, 32, epochs=1)


def test_a_seed_decides_a_training_and_nothing_outside_is_touched():
    checkpoint, state = start(perceptron), torch.random.get_rng_state()
    before = {name: value.copy() for name, value in checkpoint.items()}
    one, same, other = (TRAIN(checkpoint, digits(), seed) for seed in (0, 0, 1))
    assert all(np.array_equal(one[name], same[name]) for name in one)
    assert not np.array_equal(one["0.weight"], other["0.weight"])
    assert all(np.array_equal(checkpoint[name], before[name]) for name in before)
    assert torch.equal(state, torch.random.get_rng_state())


def test_adapters_and_head_are_trained_and_the_base_is_not():
    checkpoint = start(adapted)
    after = replace(TRAIN, build=adapted)(checkpoint, digits(), 0)
    moved = {name for name in checkpoint if not np.array_equal(checkpoint[name], after[name])}
    assert moved == {name for name in checkpoint if "lora_" in name} | {"4.weight", "4.bias"}


def test_ghost_clipping_is_the_same_training():
    """Same seed, same noise, same batches: parameters agree to float32."""
    one, two = (replace(TRAIN, ghost=ghost)(start(perceptron), digits(), 3) for ghost in (False, True))
    assert all(np.allclose(one[name], two[name], atol=1e-5) for name in one)


def test_batches_are_those_of_the_rate():
    sizes = [len(rows) for rows in TRAIN.batches(digits(), 0)]
    assert len(sizes) == 4
    assert len(set(sizes)) > 1
    assert [len(rows) for rows in replace(TRAIN, poisson=False).batches(digits(), 0)] == [32] * 4
