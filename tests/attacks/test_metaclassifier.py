from dataclasses import replace

import numpy as np
import pytest
from tests.oracles.metaclassifier import odds_with_torch, train_with_torch

from undertow.attacks.metaclassifier import Recipe, draw, fit, log_odds, train
from undertow.rng import stream

SHORT = Recipe(hidden=16, epochs=9, batch=10, step=3)


def data(points, rows, features, leak=0.0, dtype=float):
    rng = stream(0, "data", points, rows, features)
    labels = np.argsort(np.argsort(rng.random((points, rows)), 1), 1) < rows // 2
    return (rng.normal(size=(points, rows, features)) + leak * labels[..., None]).astype(dtype), labels


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(),
        SHORT,
        replace(SHORT, hidden=13, dropout=0.3),  # mask bits that do not fill their bytes
        replace(SHORT, dropout=0.0, weight_decay=0.0, gamma=1.0),
        replace(SHORT, batch=100),
    ],
)
def test_equals_torch(recipe):
    inputs, labels = data(3, 34, 5)
    chances = [draw(child, 34, 5, recipe) for child in stream(1, "chance").spawn(3)]
    networks = train(inputs, labels, recipe, chances)
    odds = log_odds(networks, inputs)
    for p in range(3):
        hidden, output = train_with_torch(inputs[p], labels[p], recipe, chances[p])
        np.testing.assert_allclose(networks.hidden[p], hidden, rtol=0, atol=1e-10)
        np.testing.assert_allclose(networks.output[p], output, rtol=0, atol=1e-10)
        np.testing.assert_allclose(odds[p], odds_with_torch((hidden, output), inputs[p]), rtol=0, atol=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_blocks_change_nothing(dtype):
    inputs, labels = data(7, 30, 5, dtype=dtype)
    chances = [draw(child, 30, 5, SHORT) for child in stream(2, "chance").spawn(7)]
    whole = train(inputs, labels, SHORT, chances, block=7)
    for block in (1, 3):
        parts = train(inputs, labels, SHORT, iter(chances), block)
        np.testing.assert_array_equal(parts.hidden, whole.hidden)
        np.testing.assert_array_equal(parts.output, whole.output)
    assert whole.hidden.dtype == dtype


def test_a_point_does_not_depend_on_its_neighbours():
    inputs, labels = data(5, 30, 5, dtype=np.float32)
    all_points = fit(inputs, labels, SHORT, stream(3, "fit"))
    first = fit(inputs[:2], labels[:2], SHORT, stream(3, "fit"))
    np.testing.assert_array_equal(all_points.hidden[:2], first.hidden)


def test_same_generator_same_networks():
    inputs, labels = data(2, 30, 5)
    a, b, c = (fit(inputs, labels, SHORT, stream(seed, "fit")) for seed in (4, 4, 5))
    np.testing.assert_array_equal(a.output, b.output)
    assert np.abs(a.output - c.output).max() > 1e-3


def test_float32_is_close_to_float64():
    inputs, labels = data(4, 60, 5, leak=0.5)
    odds = [log_odds(fit(inputs.astype(t), labels, Recipe(), stream(6, "fit")), inputs) for t in ("f4", "f8")]
    np.testing.assert_allclose(*odds, atol=2e-3)
    assert odds[0].dtype == np.float64


def test_learns_what_is_there_and_nothing_else():
    for leak, low, high in ((1.5, 0.85, 1.0), (0.0, 0.35, 0.65)):
        inputs, labels = data(40, 80, 6, leak, np.float32)
        networks = fit(inputs[:, :60], labels[:, :60], Recipe(), stream(7, "fit"))
        right = (log_odds(networks, inputs[:, 60:]) > 0) == labels[:, 60:]
        assert low < right.mean() < high


@pytest.mark.parametrize("dropout", [0.0, 0.25, 0.5])
def test_what_is_drawn(dropout):
    recipe = Recipe(hidden=20, dropout=dropout, epochs=50)
    chance = draw(stream(8, "chance"), 33, 4, recipe)
    assert chance.hidden.shape == (5, 20)
    assert chance.output.shape == (2, 21)
    assert 0.95 / 2 < np.abs(chance.hidden).max() <= 1 / 2  # 1/sqrt(4)
    assert np.abs(chance.output).max() <= 1 / np.sqrt(20)
    np.testing.assert_array_equal(np.sort(chance.order, 1), np.tile(np.arange(33), (50, 1)))
    kept = np.unpackbits(chance.keep, axis=1, count=33 * 20).mean()
    assert kept == pytest.approx(1 - dropout, abs=0.015)  # 33,000 coins, 5 standard errors
