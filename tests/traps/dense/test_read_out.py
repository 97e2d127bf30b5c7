"""Traps read by queries alone: exact with all digits, refused where answers do not show a kink."""

import numpy as np
import pytest

from undertow.rng import stream
from undertow.traps import mlp_trap, plant, read
from undertow.traps.dense.read_out import NO_KINK, NO_SCALE, read_out, scale
from undertow.types import BadInput

WIDTH, HIDDEN, NEXT, CLASSES = 20, 48, 16, 5


def records(count, purpose):
    """Grey levels of which many are zero."""
    rng = stream(0, purpose)
    return rng.integers(1, 17, (count, WIDTH)) / 16 * (rng.random((count, WIDTH)) < 0.5)


def dense(rng, rows, columns):
    return 0.3 * rng.standard_normal((rows, columns)), 0.1 * rng.standard_normal(rows)


def logits(params):
    def ask(x):
        h = np.maximum(x @ params["0.weight"].T + params["0.bias"], 0)
        h = np.maximum(h @ params["2.weight"].T + params["2.bias"], 0)
        return h @ params["4.weight"].T + params["4.bias"]

    return ask


@pytest.fixture(scope="module")
def caught():
    """The planted checkpoint, its key, and what three records that fired a trap each made of it."""
    rng, params = stream(1, "weights"), {}
    for name, (rows, columns) in {"0": (HIDDEN, WIDTH), "2": (NEXT, HIDDEN), "4": (CLASSES, NEXT)}.items():
        params[f"{name}.weight"], params[f"{name}.bias"] = dense(rng, rows, columns)
    auxiliary = records(400, "auxiliary")
    trap = mlp_trap(params, auxiliary, 4, 0.02, stream(2, "baits"), layer="0", following="2", nested=0)
    before = plant(params, trap)
    after = {name: value.copy() for name, value in before.items()}
    held = []
    for k in range(3):
        one = auxiliary[(auxiliary @ trap.directions[k] - trap.thresholds[k]).argmax()]
        after["0.weight"][trap.units[k]] -= 0.06 * one
        after["0.bias"][trap.units[k]] -= 0.06
        held.append(one)
    return trap, before, after, auxiliary, np.array(held)


def test_what_the_weights_hold_is_read_by_queries(caught):
    trap, before, after, auxiliary, held = caught
    found = read_out(logits(after), trap, auxiliary[:2])
    assert found.candidates.accepted[:3, 0].all()
    assert np.allclose(found.candidates.values[:3, 0], held, atol=1e-5)
    assert np.allclose(read(before, after, trap).values[:3, 0], held, atol=1e-9)
    assert not found.candidates.accepted[3, 0]  # this one never fired
    assert found.queries <= 4 * 2 * (2 * (WIDTH + 1) + 120)


def test_queries_may_stay_within_valid_values(caught):
    trap, _, after, auxiliary, held = caught
    ask = logits(after)

    def strict(x):
        assert x.min() >= 0
        assert x.max() <= 1
        return ask(x)

    found = read_out(strict, trap, 0.05 + 0.9 * auxiliary[:1], box=(0.0, 1.0))
    assert np.allclose(found.candidates.values[:3, 0], held, atol=0.02)


def test_fewer_digits_give_larger_errors(caught):
    trap, _, after, auxiliary, held = caught
    ask, errors = logits(after), []
    for digits in (12, 6, 3):
        asked = read_out(lambda x, d=digits: np.round(ask(x), d), trap, auxiliary[:1], step=1e-2)
        errors.append(np.abs(np.nan_to_num(asked.candidates.values[:3, 0]) - held).max())
    assert errors[0] < 1e-6 < errors[1] < errors[2]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda y: y.argmax(1), "labels show no slope"),
        (lambda y: y.argmax(1)[:, None], "labels show no slope"),
        (lambda y: np.where(y < np.sort(y, 1)[:, -2:-1], np.nan, y), "a top-k leaves holes"),
        (lambda y: np.where(y < np.sort(y, 1)[:, -2:-1], -np.inf, y), "a top-k leaves holes"),
    ],
)
def test_answers_that_are_not_all_logits_are_refused(caught, answer, said):
    trap, _, after, auxiliary, _ = caught
    with pytest.raises(BadInput, match=said):
        read_out(lambda x: answer(logits(after)(x)), trap, auxiliary[:1])


def test_a_model_without_the_traps_gives_nothing(caught):
    trap, _, _, auxiliary, _ = caught
    found = read_out(lambda x: x @ stream(3, "linear").standard_normal((WIDTH, CLASSES)), trap, auxiliary[:1])
    assert set(found.candidates.reasons[:, 0]) <= {NO_KINK, NO_SCALE, "pushed open", "out of range"}
    assert not found.candidates.accepted.any()


def test_the_factor_is_where_most_ratios_agree():
    planted = stream(4, "w").standard_normal(20)
    record = np.r_[np.zeros(8), np.linspace(0.2, 1, 12)]
    assert scale((planted - 0.3 * record) / 7, planted) == pytest.approx(7)
    assert np.isnan(scale(stream(5, "w").standard_normal(20), planted))


def test_traps_with_detectors_are_refused(caught):
    _, before, after, auxiliary, _ = caught
    trap = mlp_trap(before, auxiliary, 4, 0.02, stream(2, "baits"), layer="0", following="2", nested=0, rate=0.01)
    with pytest.raises(BadInput, match="detectors"):
        read_out(logits(after), trap, auxiliary[:2])
