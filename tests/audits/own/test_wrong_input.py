"""What people hand over that cannot be audited: one readable line each, which names the problem and the fix."""

import sys
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from toys import CLASSES, N, leaky, records

import undertow as ut
from undertow.audits.own.answers import checked
from undertow.audits.own.pool import as_pool

X, Y = records()
GOOD = leaky()(ut.Examples(X[:30], Y[:30], "toy"), 0)(X)
Table = namedtuple("Table", "values to_numpy shape")


def with_one(value, where=(7, 1)):
    wrong = GOOD.copy()
    wrong[where] = value
    return wrong


ANSWERS = {
    "none": (None, "answered nothing"),
    "a number": (3.0, "is a float"),
    "a text": ("hello", "is a str"),
    "a function": (leaky, "is a function"),
    "one row short": (GOOD[:-1], "59 rows for 60 records"),
    "one row more": (np.r_[GOOD, GOOD[:1]], "61 rows for 60 records"),
    "transposed": (GOOD.T, "records come first"),
    "not a number": (with_one(np.nan), "answer to record 7 is nan"),
    "infinite": (with_one(np.inf), "answer to record 7 is inf"),
    "minus infinite": (with_one(-np.inf, (9, 0)), "answer to record 9 is -inf"),
    "constant rows": (np.tile(GOOD[:1], (N, 1)), "same row for every record"),
    "too few classes": (GOOD[:, :2], "2 classes, the records have 3"),
    "predicted classes": (Y.copy(), "one class per record"),
    "predicted classes as floats": (Y.astype(float), "one class per record"),
    "one number where there are labels": (GOOD[:, 0], "answers='scores'"),
    "a column where there are labels": (GOOD[:, :1], "answers='scores'"),
    "names of classes": (np.array(["a", "b", "c"] * (N // 3)), "class names"),
    "ragged": ([[0.1, 0.9]] * (N - 1) + [[0.2]], "rows differ in length"),
    "objects": (np.array([{}] * N), "text or objects"),
    "complex": (GOOD + 1j, "complex128"),
    "sigmoids": (1 / (1 + np.exp(-GOOD)), "neither probabilities of classes nor logits"),
    "tokens": (np.zeros((N, 5, 7)), r"shape \(60, 5, 7\)"),
    "no columns": (np.zeros((N, 0)), r"shape \(60, 0\)"),
    "a dictionary of other things": ({"loss": 1, "mask": 2}, "dictionary with loss, mask"),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_a_wrong_answer_is_one_line(case):
    answer, said = ANSWERS[case]
    with pytest.raises(ut.BadInput, match=said) as caught:
        checked(answer, as_pool((X, Y)))
    assert "\n" not in str(caught.value)


SCORES = {
    "constant": (np.full(N, 2.0), "for every record"),
    "not a number": (np.r_[np.nan, np.ones(N - 1)], "record 0 is nan"),
    "classes": (GOOD, "answers = 'scores' asks for one number"),
}


@pytest.mark.parametrize("case", SCORES)
def test_a_wrong_score_is_one_line(case):
    answer, said = SCORES[case]
    with pytest.raises(ut.BadInput, match=said):
        checked(answer, as_pool((X, Y)), "scores")


RECORDS = {
    "nothing": ({"records": None}, "nothing was given"),
    "three parts": ({"records": (X, Y, Y)}, "tuple of 3"),
    "no x": ({"records": {"inputs": X}}, "key 'x' is missing; found: inputs"),
    "labels of other length": ({"records": (X, Y[:-1])}, r"shape \(59,\) for 60 records"),
    "one-hot": ({"records": (X, np.eye(CLASSES)[Y])}, r"argmax\(1\)"),
    "one class": ({"records": (X, Y * 0)}, "every label is '0'"),
    "regression": ({"records": (X, Y + 0.5)}, "regression"),
    "labels that are no numbers": ({"records": (X, np.where(Y == 0, np.nan, Y))}, "y of record 0 is nan"),
    "labels that are names of records": ({"records": (X, [f"r{i}" for i in range(N)])}, "60 different labels"),
    "objects": ({"records": ([{"a": 1}] * N, Y)}, "Python objects"),
    "ragged": ({"records": ([[1, 2], [3]] * (N // 2), Y)}, "rows differ in length"),
    "a single text": ({"records": "text"}, "x is str"),
    "two records": ({"records": (X[:2], [0, 1])}, "2 records; at least 4"),
    "copies": ({"records": (np.r_[X, X[:2]], np.r_[Y, Y[:2]])}, r"2 records occur before.*\(60, 61\)"),
    "all equal": ({"records": (np.zeros_like(X), Y)}, "all 60 records are equal"),
    "groups of other length": ({"records": (X, Y), "groups": [1, 2]}, r"groups: shape \(2,\)"),
    "two groups": ({"records": (X, Y), "groups": Y > 0}, "2 groups; at least 4"),
    "a record without a group": (
        {"records": (X, Y), "groups": np.r_[np.nan, np.arange(N - 1)]},
        "record 0 has no group",
    ),
    "ids twice": ({"records": (X, Y), "ids": ["a"] * N}, "two records have one name"),
    "ids of other length": ({"records": (X, Y), "ids": ["a"]}, "1 names for 60 records"),
    "features of other length": ({"records": (X, Y), "features": X[:3]}, r"give numbers \(60, ...\)"),
}


@pytest.mark.parametrize("case", RECORDS)
def test_wrong_records_are_one_line_and_nothing_is_trained(case):
    given, said = RECORDS[case]
    trained = []
    with pytest.raises(ut.BadInput, match=said) as caught:
        ut.audit_mia(train=lambda part, seed: trained.append(part), **given)
    assert "\n" not in str(caught.value)
    assert not trained


FUNCTIONS = {
    "a string": ("train.py:train", "train is a str"),
    "no seed": (lambda part: None, r"cannot be called as train\(records, seed\)"),
    "three arguments": (lambda x, y, seed: None, r"cannot be called as train\(records, seed\)"),
}


@pytest.mark.parametrize("case", FUNCTIONS)
def test_wrong_functions_are_one_line(case):
    train, said = FUNCTIONS[case]
    with pytest.raises(ut.ConfigError, match=said):
        ut.audit_mia(train=train, records=(X, Y))


SETTINGS = {
    "odd shadows": ({"shadows": 7}, "even and at least 4"),
    "unknown attack": ({"attacks": ["lirra"]}, "did you mean 'lira'"),
    "unknown kind of answers": ({"answers": "labels"}, "allowed: auto, classes, scores"),
    "no batch": ({"batch": 0}, "at least 1 record"),
    "no workers": ({"workers": 0}, "at least 1"),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_wrong_settings_are_one_line(case):
    given, said = SETTINGS[case]
    with pytest.raises(ut.ConfigError, match=said):
        ut.audit_mia(train=leaky(), records=(X, Y), **given)


RETURNED = {
    "nothing": (lambda part, seed: None, "train returned nothing"),
    "the answers themselves": (lambda part, seed: GOOD, "train returned a ndarray"),
    "a model": (lambda part, seed: Fitted(), r"train returned a Fitted.*such as model.predict_proba"),
    "other shapes": (
        lambda part, seed: lambda x: GOOD if seed % 2 else wide(),
        "same classes",
    ),
}


class Fitted:
    def predict_proba(self, x):
        return GOOD


def wide():
    return np.c_[GOOD, GOOD[:, 0]]


@pytest.mark.parametrize("case", RETURNED)
def test_wrong_returns_name_the_training(case):
    train, said = RETURNED[case]
    with pytest.raises(ut.BadInput, match=said) as caught:
        ut.audit_mia(train=train, records=(X, Y), shadows=16)
    assert str(caught.value).startswith("training ")


def test_what_can_be_unwrapped_is():
    pool = as_pool((X, Y))
    Output = namedtuple("Output", "loss logits")
    for answer in (
        GOOD.tolist(),
        {"logits": GOOD},
        {"anything": GOOD},
        (GOOD, "cache"),
        Output(None, GOOD),
        list(GOOD),
    ):
        np.testing.assert_allclose(checked(answer, pool), GOOD)
    assert checked(GOOD.astype(np.float16), pool).dtype == np.float32


def test_tensors_are_unwrapped():
    torch = pytest.importorskip("torch")
    z = torch.tensor(GOOD, requires_grad=True)
    np.testing.assert_allclose(checked(z, as_pool((X, Y))), GOOD)
    np.testing.assert_allclose(checked(z.bfloat16(), as_pool((X, Y))), GOOD, atol=0.05)
    pool = as_pool((torch.tensor(X), torch.tensor(Y)))
    np.testing.assert_allclose(pool.examples.x, X)


def test_classes_that_a_half_lacks_are_filled_where_the_model_says_which():
    some = np.exp(GOOD[:, [0, 2]]) / np.exp(GOOD[:, [0, 2]]).sum(1, keepdims=True)
    found = checked(some, as_pool((X, Y)), "auto", columns=np.array([0, 2]))
    np.testing.assert_allclose(found[:, [0, 2]], some)
    assert (found[:, 1] == 0).all()


def test_names_and_far_numbers_are_numbered_in_sorted_order_and_that_is_said():
    for labels, said in ((np.array([3, 10, 66])[Y], "3 = 0, 10 = 1, 66 = 2"), (np.array(["b", "a", "c"])[Y], "a = 0")):
        pool = as_pool((X, labels))
        assert sorted(set(pool.examples.y)) == [0, 1, 2]
        assert any(said in note for note in pool.notes)
    assert as_pool((X, Y.astype(float))).notes == ()


def test_copies_are_dropped_where_that_is_asked_for():
    pool = as_pool((np.r_[X, X[:2]], np.r_[Y, Y[:2]]), drop_duplicates=True)
    assert len(pool) == N
    assert any("2 records that occur before were removed" in note for note in pool.notes)


def test_copies_of_one_person_are_no_fault():
    groups = np.r_[np.arange(N), 0, 1]
    assert len(as_pool((np.r_[X, X[:2]], np.r_[Y, Y[:2]]), groups=groups)) == N + 2
