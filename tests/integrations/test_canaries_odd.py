"""Odd arguments of the canary functions: one clear error each, before anything is trained."""

import numpy as np
import pytest

from undertow.integrations.audit import audit_canaries
from undertow.integrations.canaries import with_canaries
from undertow.integrations.planner import MOST_CANARIES, _least_right, guess_counts, plan_canaries
from undertow.metrics.epsilon import Guesses, one_run_p_value
from undertow.types import BadInput, ConfigError

NAN, INF = float("nan"), float("inf")
ROWS = [{"input_ids": [i % 50, 3, 4]} for i in range(40)]


def call(rows=ROWS, count=32, seed=0, vocabulary=64, **more):
    return with_canaries(rows, count, seed, vocabulary, **more)


@pytest.mark.parametrize(
    "odd",
    [{"count": "32"}, {"count": 32.5}, {"count": 8}, {"count": True}, {"length": "3"}, {"length": 3.5}, {"length": 1},
     {"seed": "a"}, {"seed": None}, {"seed": -1}, {"seed": 0.5}, {"repeats": 1.5}, {"repeats": 0}, {"rows": "x"},
     {"rows": 0}, {"vocabulary": 0}, {"vocabulary": -5}, {"vocabulary": 1}, {"tokens": ["a", "b"]}, {"tokens": 5},
     {"tokens": []}, {"tokens": "abc"}, {"tokens": [1.5]}, {"tokens": [-1]}, {"tokens": [900]}, {"model": "gpt2"},
     {"kind": "odd"}, {"kind": "sampled"}, {"kind": "new-token"}],
)  # fmt: skip
def test_odd_arguments_are_one_line(odd):
    with pytest.raises((ConfigError, BadInput)) as caught:
        call(**odd)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("odd", "why"),
    [({"fill": {"labls": 1}}, "no column"), ({"fill": ["a"]}, "dictionary"), ({"rows": []}, "no rows")],
)
def test_odd_rows_and_fills_are_one_line(odd, why):
    rows = odd.pop("rows", [{"input_ids": [1, 2], "labels": [1, 2]}] * 20)
    with pytest.raises(BadInput, match=why):
        call(rows, **odd)


@pytest.mark.parametrize("row", [{"input_ids": None}, {"text": None}, {"messages": []}, {"messages": None}])
def test_a_first_row_that_lacks_its_content_is_named(row):
    class Tokens:
        def __len__(self):
            return 64

        def decode(self, ids, **_):
            return " ".join(map(str, ids))

    with pytest.raises(BadInput, match="first row has no"):
        call([row] * 20, vocabulary=Tokens())


@pytest.mark.parametrize(
    "odd",
    [{"epochs": 0.5}, {"epochs": -1}, {"epochs": 0}, {"per_pass": INF}, {"per_pass": NAN}, {"per_pass": 0.0},
     {"per_pass": -1}, {"canaries": 100.5}, {"canaries": 10**7}, {"canaries": "64"}, {"copies": 0}, {"power": 1.0},
     {"power": NAN}, {"delta": NAN}, {"delta": 2}, {"confidence": 95}, {"confidence": NAN}, {"kind": "odd"}],
)  # fmt: skip
def test_odd_plans_are_one_line(odd):
    with pytest.raises(ConfigError) as caught:
        plan_canaries(1.0, **odd)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("epsilon", ["1", 0, -1, NAN, INF, 64, None])
def test_odd_targets_of_a_plan_are_one_line(epsilon):
    with pytest.raises(ConfigError, match="epsilon"):
        plan_canaries(epsilon)


@pytest.mark.parametrize("canaries", [32, 64, 200])
@pytest.mark.parametrize("epsilon", [0.0, 0.5, 1.5, 4.0])
def test_the_fewest_right_guesses_are_those_of_the_slow_search(canaries, epsilon):
    made = sum(guess_counts(canaries))
    slow = next(
        (r for r in range(made // 2, made + 1) if one_run_p_value(Guesses(canaries, made, r), epsilon, 1e-5) <= 0.05),
        made + 1,
    )
    assert _least_right(epsilon, canaries, 1e-5, 0.95) == slow


def test_many_canaries_are_planned_at_once():
    assert plan_canaries(1.0, canaries=MOST_CANARIES).canaries == MOST_CANARIES


def _losses():
    _, key = call()
    return key, np.full(32, 3.0), 3.0 - key.member


@pytest.mark.parametrize("kind", ["short", "long", "infinite", "nan", "two"])
def test_odd_losses_are_one_line(kind):
    key, before, after = _losses()
    audit_canaries(before, after, key)
    if kind in ("infinite", "nan"):
        after[0] = INF if kind == "infinite" else NAN
    else:
        after = {"short": after[:-1], "long": np.r_[after, 1.0], "two": np.stack([after, after])}[kind]
    with pytest.raises(BadInput) as caught:
        audit_canaries(before, after, key)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("odd", [{"delta": 2}, {"delta": NAN}, {"confidence": 95}, {"confidence": NAN}, {"tell": 3}])
def test_the_callback_refuses_odd_arguments_when_it_is_made(odd):
    pytest.importorskip("transformers")
    from undertow.integrations.transformers_hook import CanaryCallback

    key, _, _ = _losses()
    CanaryCallback(key)
    with pytest.raises(ConfigError, match=next(iter(odd))):
        CanaryCallback(key, **odd)
