"""Records of a poisoning audit that are where they must not be, and the auditor's view of them."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")

from undertow.audits.poisoning.supply import PoisonSupply
from undertow.rng import stream
from undertow.types import BadInput, Examples


def part(count, name):
    rng = stream(0, name)
    return Examples(rng.normal(size=(count, 4)), rng.integers(3, size=count), name)


def supply(**changes):
    given = {"name": "toy", "candidates": part(10, "candidates"), "targets": 4, "auxiliary": part(12, "auxiliary"),
             "held_out": part(6, "held-out"), "classes": 3, "public": part(5, "public"),
             "lookalikes": part(7, "look-alikes"), "ids": tuple(f"c{i}" for i in range(10))}  # fmt: skip
    return PoisonSupply(**{**given, **changes})


def joined(a, b):
    return Examples(np.concatenate([a.x, b.x]), np.concatenate([a.y, b.y]), a.name)


@pytest.mark.parametrize(
    ("where", "said"), [("auxiliary", "auxiliary"), ("public", "public"), ("held_out", "held-out")]
)
def test_candidates_in_data_that_all_models_meet_are_refused_by_name(where, said):
    shared = part(10, "candidates").take(np.array([2, 9]))
    with pytest.raises(BadInput, match=rf"2 candidates are also in the {said} data \(c2, c9\)") as error:
        supply(**{where: joined(part(12, where), shared)})
    assert "\n" not in str(error.value)


def test_names_must_be_as_many_as_candidates():
    with pytest.raises(BadInput, match="9 ids for 10 candidates"):
        supply(ids=tuple("abcdefghi"))


def test_the_first_candidates_are_the_targets():
    assert supply().targeted.tolist() == [True] * 4 + [False] * 6


@pytest.mark.parametrize(("likes", "total"), [(7, 16), (8, 18), (1, 10)])
def test_the_auditor_holds_all_candidates_and_compares_with_look_alikes(likes, total):
    whole = supply(lookalikes=part(likes, "look-alikes"))
    view = whole.with_lookalikes()
    assert len(view) == len(view.ids) == total
    assert view.targets == 10
    assert view.targeted.sum() == 10
    np.testing.assert_array_equal(view.candidates.x[:10], whole.candidates.x)
    np.testing.assert_array_equal(view.candidates.x[10:], whole.lookalikes.x[: total - 10])
    np.testing.assert_array_equal(view.candidates.y[10:], whole.lookalikes.y[: total - 10])
    assert view.ids[:10] == whole.ids
    assert view.lookalikes is None


def test_without_look_alikes_all_candidates_are_mine():
    view = supply(lookalikes=None).with_lookalikes()
    assert (len(view), view.targets) == (10, 10)


def test_a_look_alike_that_is_ordinary_text_is_refused_too():
    shared = supply().auxiliary.take(np.arange(2))
    with pytest.raises(BadInput, match="look-alike-7"):
        supply(lookalikes=joined(part(7, "look-alikes"), shared).take(np.arange(8))).with_lookalikes()


def test_the_warm_up_is_on_public_records_or_else_on_ordinary_ones():
    assert supply().warm_up.name == "public"
    assert replace(supply(), public=None).warm_up.name == "auxiliary"


def test_it_is_described_by_size_and_content():
    said = supply().describe()
    assert said["sizes"] == {"candidates": 10, "auxiliary": 12, "held out": 6, "public": 5, "look-alikes": 7,
                             "targets": 4}  # fmt: skip
    other = part(10, "candidates")
    other.x[0, 0] += 1
    assert supply(candidates=other).describe()["sha256"]["candidates"] != said["sha256"]["candidates"]
