"""What `score` accepts, refuses and says about arrays: shapes, membership, labels, groups, copies of records."""

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from undertow.audits.membership.evidence import MODELS_AXIS, SignalSet, check_evidence
from undertow.audits.membership.score import audit_score
from undertow.engine.design import Design
from undertow.rng import stream
from undertow.types import BadInput

MODELS, RECORDS, CLASSES = 8, 60, 4
TRUTH = np.stack([s.member for s in Design(0, RECORDS, MODELS, 1, RECORDS).slots("shadow")])
ONE = TRUTH[0]
RNG = stream(0, "score input")
LABELS = RNG.integers(CLASSES, size=RECORDS)
Z = RNG.normal(size=(MODELS, RECORDS, CLASSES)) + 3 * (LABELS[:, None] == np.arange(CLASSES))
P = np.exp(Z) / np.exp(Z).sum(-1, keepdims=True)
VALUES = RNG.normal(size=(MODELS, RECORDS)) + TRUTH
BINARY = LABELS % 2
WORDS = np.array(["cat", "dog", "elk", "fox"])[LABELS]


def check(drop=False, ids=None, **arrays):
    return check_evidence(SignalSet("s.npz", "", {k: np.asarray(v) for k, v in arrays.items()}, ids), drop)


def evidence(**arrays):
    return check(**arrays)[0]


def notes(**arrays):
    return check(**arrays)[2]


MEMBERS = {
    "bool": ONE,
    "int": ONE.astype(int),
    "uint8": ONE.astype(np.uint8),
    "float": ONE.astype(float),
    "float16": ONE.astype(np.float16),
    "true and false": ONE.astype(str),
    "member and non-member": np.where(ONE, "Member", "Non-member "),
    "bytes": np.where(ONE, b"1", b"0"),
    "in and out": np.where(ONE, "IN", "OUT"),
    "a row": ONE[None],
    "a column": ONE[:, None],
}


@pytest.mark.parametrize("form", MEMBERS)
def test_membership_of_one_model_in_any_plain_form(form):
    found, ids, said = check(member=MEMBERS[form], values=VALUES[0])
    np.testing.assert_array_equal(found.member, ONE[None])
    np.testing.assert_array_equal(found.values, VALUES[:1])
    assert ids[:2] == ("0", "1")
    assert said == ()


ALIKE = {  # each is the same evidence as the full form (M, N, A, C)
    "views": {"logits": Z[:1, :, None]},
    "no views": {"logits": Z[:1]},
    "no models": {"logits": Z[0]},
    "no models, views": {"logits": Z[0][:, None]},
    "float labels": {"logits": Z[0], "labels": LABELS.astype(float)},
    "labels in a column": {"logits": Z[0], "labels": LABELS[:, None]},
    "labels as digits": {"logits": Z[0], "labels": LABELS.astype(str)},
    "labels as words": {"logits": Z[0], "labels": WORDS},
}


@pytest.mark.parametrize("form", ALIKE)
def test_outputs_of_one_model_in_any_plain_form(form):
    found, _, said = check(**{"member": ONE, "labels": LABELS, **ALIKE[form]})
    np.testing.assert_array_equal(found.logits, Z[:1, :, None])
    np.testing.assert_array_equal(found.labels, LABELS)
    assert ("cat = 0, dog = 1, elk = 2, fox = 3" in "".join(said)) == (form == "labels as words")
    assert len(said) == (form == "labels as words")


@pytest.mark.parametrize("given", [P, P[:, :, None], P.astype(np.float32)])
def test_probabilities_are_logits_by_their_logarithm(given):
    found = evidence(member=TRUTH, probabilities=given, labels=LABELS)
    np.testing.assert_allclose(found.logits, np.log(P)[:, :, None], rtol=1e-4)
    assert notes(member=TRUTH, probabilities=given, labels=LABELS) == ()
    taken = evidence(member=TRUTH, logits=given, labels=LABELS)
    np.testing.assert_array_equal(taken.logits, found.logits)
    assert "are probabilities" in notes(member=TRUTH, logits=given, labels=LABELS)[0]


def test_one_model_s_probabilities():
    found = evidence(member=ONE, probabilities=P[0], labels=LABELS)
    np.testing.assert_allclose(found.logits, np.log(P)[:1, :, None])


def test_probabilities_beside_logits_are_left():
    found, _, said = check(member=TRUTH, logits=Z, probabilities=P, labels=LABELS)
    np.testing.assert_array_equal(found.logits[:, :, 0], Z)
    assert "probabilities` were not used" in said[0]


@pytest.mark.parametrize("given", [Z[..., 0], Z[..., :1], Z[:, :, None, :1]])
def test_one_logit_of_two_classes(given):
    found, _, said = check(member=TRUTH, logits=given, labels=BINARY)
    np.testing.assert_array_equal(found.logits[:, :, 0, 1], Z[..., 0])
    assert (found.logits[..., 0] == 0).all()
    assert "logit of class 1" in said[0]


def test_one_logit_of_one_model():
    found = evidence(member=ONE, logits=Z[0, :, 0], labels=BINARY)
    np.testing.assert_array_equal(found.logits[0, :, 0, 1], Z[0, :, 0])


def test_the_pretrained_models_outputs_are_read_the_same_way():
    found = evidence(member=ONE, values=VALUES[0], pretrained_probabilities=P[0], pretrained_labels=WORDS)
    np.testing.assert_allclose(found.pretrained_logits, np.log(P)[:1, :, None])
    np.testing.assert_array_equal(found.pretrained_labels, LABELS)


@pytest.mark.parametrize("group", [np.arange(RECORDS) // 3, (np.arange(RECORDS) // 3).astype(float)])
def test_groups_are_numbered(group):
    np.testing.assert_array_equal(evidence(member=ONE, values=VALUES[0], group=group).groups, np.arange(RECORDS) // 3)


def test_groups_by_name():
    people = np.array(["ann", "bob", "eve"])[np.arange(RECORDS) % 3]
    found = evidence(member=TRUTH, values=VALUES, group=people)
    np.testing.assert_array_equal(found.groups, np.arange(RECORDS) % 3)
    assert found.groups.dtype.kind == "i"


def test_features_may_be_pictures():
    pictures = RNG.integers(0, 255, size=(RECORDS, 4, 4, 3)).astype(np.uint8)
    found, _, said = check(member=TRUTH, values=VALUES, features=pictures)
    np.testing.assert_array_equal(found.features, pictures.reshape(RECORDS, -1))
    assert said == ()


def with_(values, place, what):
    result = np.array(values, float)
    result[place] = what
    return result


WRONG = {
    "member of three axes": ({"member": TRUTH[None]}, r"member has shape \(1, 8, 60\).*\(M models, N records\)"),
    "member of no axis": ({"member": True}, r"member has shape \(\)"),
    "no records": ({"member": np.zeros((3, 0), bool)}, "neither of them 0"),
    "member of -1 and 1": ({"member": np.where(ONE, 1, -1)}, r"member holds -1 .int64..*True/False or 1/0"),
    "member of fractions": ({"member": np.where(ONE, 0.9, 0.1)}, "member holds 0.1, 0.9"),
    "member with nan": ({"member": with_(ONE, 3, np.nan)}, "member holds nan"),
    "member of other words": ({"member": np.where(ONE, "train", "test")}, "member holds 'test', 'train'"),
    "member of objects": ({"member": ONE.astype(object)}, "member holds Python objects"),
    "members only": ({"member": np.ones(4, bool)}, "members and non-members are needed"),
    "member transposed": ({"member": TRUTH.T, "values": VALUES.T, "labels": LABELS}, r"of 8 records|member\.T"),
    "values transposed": ({"values": VALUES.T}, r"axes are swapped: save np\.swapaxes\(values, 0, 1\)"),
    "logits transposed": ({"logits": Z.swapaxes(0, 1), "labels": LABELS}, r"np\.swapaxes\(logits, 0, 1\)"),
    "values of three axes": ({"values": Z}, r"one number per model and record, \(8, 60\).*`logits`"),
    "values of one model of eight": ({"values": VALUES[0]}, r"values has shape \(60,\).*8 models comes first"),
    "one model's logits transposed": (
        {"member": ONE, "logits": Z[0].T, "labels": LABELS},
        r"\(4, 60\), member \(60,\); the axis of the 60 records comes first: save logits\.T",
    ),
    "one model's values of other length": ({"member": ONE, "values": VALUES[0, :9]}, r"\(9,\), member \(60,\)"),
    "logits of one model of eight": ({"logits": Z[0], "labels": LABELS}, "8 models comes first"),
    "values of other length": ({"values": VALUES[:, :-1]}, r"\(8, 59\), member \(8, 60\)"),
    "values of text": ({"values": VALUES.astype(str)}, "it must be numbers"),
    "values complex": ({"values": VALUES + 1j}, "it must be numbers"),
    "values nan": ({"values": with_(VALUES, (3, 5), np.nan)}, "model 3, record 5 is nan .1 such"),
    "one model's nan": ({"member": ONE, "values": with_(VALUES[0], 5, np.nan)}, "values of record 5 is nan"),
    "logits infinite": ({"logits": with_(Z, (1, 2, 0), np.inf), "labels": LABELS}, "model 1, record 2 is inf"),
    "logits masked": ({"logits": with_(Z, (1, 2, 0), -np.inf), "labels": LABELS}, "record 2 is -inf.*before any mask"),
    "logits of five axes": ({"logits": Z[..., None, None], "labels": LABELS}, r"\(M, N, C\) or \(M, N, views, C\)"),
    "one logit of four classes": ({"logits": Z[..., 0], "labels": LABELS}, "only with labels 0 and 1"),
    "one logit without labels": ({"logits": Z[..., 0]}, "only with labels 0 and 1"),
    "no classes": ({"logits": Z[..., :0], "labels": LABELS}, "C >= 2"),
    "one probability": ({"probabilities": P[..., 0], "labels": BINARY}, r"values=np\.log\(p / \(1 - p\)\)"),
    "one model's probability": ({"member": ONE, "probabilities": P[0, :, 0]}, r"values=np\.log\(p / \(1 - p\)\)"),
    "logits as probabilities": ({"probabilities": Z, "labels": LABELS}, "not within 0..1; .*give them as logits"),
    "log-probabilities": ({"probabilities": np.log(P), "labels": LABELS}, "give them as logits"),
    "percent": ({"probabilities": 100 * P, "labels": LABELS}, "divide by 100"),
    "sigmoids": ({"probabilities": 1 / (1 + np.exp(-Z)), "labels": LABELS}, r"rows of probabilities sum to .* not 1"),
    "probabilities nan": ({"probabilities": with_(P, (2, 3, 1), np.nan), "labels": LABELS}, "model 2, record 3 is nan"),
    "labels from 1": ({"logits": Z, "labels": LABELS + 1}, "run from 1 to 4.*subtract 1"),
    "labels of another range": ({"logits": Z, "labels": LABELS + 7}, r"classes 0\.\.3"),
    "labels negative": ({"logits": Z, "labels": LABELS - 1}, "run from -1 to 2"),
    "labels of other length": ({"logits": Z, "labels": LABELS[:-1]}, r"labels has shape \(59,\); it must be \(60,\)"),
    "labels one-hot": ({"logits": Z, "labels": np.eye(CLASSES)[LABELS]}, r"labels\.argmax\(1\)"),
    "labels of fractions": ({"logits": Z, "labels": LABELS + 0.5}, "whole numbers"),
    "words of fewer classes": ({"logits": Z, "labels": np.where(WORDS == "elk", "cat", WORDS)}, "3 different values"),
    "words and more classes": ({"logits": np.concatenate([Z, Z], -1), "labels": WORDS}, r"save numbers 0\.\.7"),
    "features of other length": ({"values": VALUES, "features": np.zeros((3, 2))}, r"it must be \(60, \.\.\.\)"),
    "features nan": ({"values": VALUES, "features": with_(np.ones((60, 2)), (7, 1), np.nan)}, "of record 7 is nan"),
    "features of text": ({"values": VALUES, "features": WORDS}, "features are text.*`hash`"),
    "features empty": ({"values": VALUES, "features": np.zeros((60, 0))}, "leave the key out"),
    "group of other length": ({"values": VALUES, "group": np.arange(3)}, r"group has shape \(3,\)"),
    "group of fractions": ({"values": VALUES, "group": np.arange(60) / 7}, "whole numbers or text"),
    "one group": ({"values": VALUES, "group": np.zeros(60, int)}, "every record is in group '0'"),
    "hash of other length": ({"values": VALUES, "hash": np.arange(61)}, r"hash has shape \(61,\)"),
    "target beyond": ({"values": VALUES, "target": np.array([8])}, r"s\.npz: target must .* in 0\.\.7"),
    "target a number": ({"values": VALUES, "target": np.array(3)}, r"model numbers \(T,\), such as \[3\]"),
    "ids of other length": ({"values": VALUES, "ids": ("a",)}, "id names 1 records, member has 60"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arrays_are_refused_in_one_line_with_file_key_and_fix(name):
    arrays, says = WRONG[name]
    with pytest.raises(BadInput, match=says) as error:
        check(**{"member": TRUTH, **arrays})
    assert str(error.value).startswith("s.npz: ")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 300


def test_axes_that_look_swapped_are_said():
    assert "read as 60 models and 8 records" in notes(member=TRUTH.T, values=VALUES.T)[0]
    assert "save member.ravel()" in notes(member=ONE[:, None], values=VALUES[0][:, None])[0]


def test_labels_of_another_order_are_said():
    assert notes(member=TRUTH, logits=Z, labels=LABELS) == ()
    assert "check that labels number the columns" in notes(member=TRUTH, logits=Z, labels=(LABELS + 1) % CLASSES)[0]


def test_values_that_look_like_probabilities_are_said():
    assert "attacks with shadow models need" in notes(member=TRUTH, values=P[..., 0])[0]


def copied():
    """Pictures with two records twice and one three times; which rows are copies."""
    pictures = stream(0, "pictures").normal(size=(RECORDS, 5, 5))
    pictures[[10, 11, 12, 13]] = pictures[[0, 1, 2, 2]]
    return pictures, np.array([0, 1, 2, 10, 11, 12, 13])


def test_copies_are_told_by_content_and_all_of_them_removed():
    pictures, rows = copied()
    told = notes(member=TRUTH, values=VALUES, features=pictures)[0]
    assert told.startswith("3 records occur more than once by `features` (7 rows, first: 0, 1, 2)")
    assert "--drop-duplicates removes all copies" in told
    found, ids, said = check(True, member=TRUTH, values=VALUES, features=pictures, group=np.arange(RECORDS) // 2)
    left = np.setdiff1d(np.arange(RECORDS), rows)
    np.testing.assert_array_equal(found.values, VALUES[:, left])
    np.testing.assert_array_equal(found.member, TRUTH[:, left])
    np.testing.assert_array_equal(found.groups, (np.arange(RECORDS) // 2)[left])
    assert ids == tuple(str(i) for i in left)
    assert "all copies were removed, 53 of 60" in said[0]


def test_what_is_removed_does_not_depend_on_membership():
    pictures, rows = copied()
    alike = TRUTH.copy()
    alike[:, [10, 12, 13]] = TRUTH[:, [0, 2, 2]]  # the copies of two records are members together
    kept = {check(True, member=truth, values=VALUES, features=pictures)[1] for truth in (TRUTH, ~TRUTH, alike)}
    assert kept == {tuple(str(i) for i in range(RECORDS) if i not in rows)}


def test_the_number_of_records_with_copies_on_both_sides_is_counted():
    truth = np.array([[1, 1, 0, 0, 1, 0], [0, 0, 1, 1, 0, 1]], bool)
    values = VALUES[:2, :6]
    assert "the copies of 1 of them" in notes(member=truth, values=values, hash=["a", "a", "b", "c", "d", "d"])[0]
    assert "same membership" in notes(member=truth, values=values, hash=["a", "a", "b", "b", "c", "d"])[0]


def test_hashes_and_ids_tell_copies_too():
    names = tuple(f"r{i % 59}" for i in range(RECORDS))
    assert (
        "1 record occurs more than once by `id` (2 rows, first: r0)"
        in check(ids=names, member=TRUTH, values=VALUES)[2][0]
    )
    hashes = np.arange(RECORDS)
    hashes[30] = 31
    kept = check(True, ids=names, member=TRUTH, values=VALUES, hash=hashes)[1]
    assert kept == tuple(f"r{i}" for i in range(1, 59) if i not in (30, 31))


def test_a_hash_decides_over_features():
    pictures, _ = copied()
    assert notes(member=TRUTH, values=VALUES, features=pictures, hash=np.arange(RECORDS)) == ()


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({}, r"needs to know the records.*`features` \(N, \.\.\.\), `hash` \(N,\) or `id` \(N,\)"),
        ({"features": np.ones((RECORDS, 3))}, "all 60 records are equal by `features`"),
        ({"hash": np.arange(RECORDS) // 2}, "members or non-members are absent"),
    ],
)
def test_copies_that_cannot_be_dropped(arrays, says):
    with pytest.raises(BadInput, match=says) as error:
        check(True, member=TRUTH, values=VALUES, **arrays)
    assert "\n" not in str(error.value)


def test_equal_features_of_all_records_say_nothing_about_copies():
    assert (
        "all records are equal by `features`" in notes(member=TRUTH, values=VALUES, features=np.ones((RECORDS, 3)))[0]
    )


def test_no_copies_is_said_where_it_was_asked():
    assert check(True, member=TRUTH, values=VALUES, features=np.arange(RECORDS))[2] == (
        "no record occurs twice by `features`",
    )


def forest_votes(records=600, trees=10):
    """Votes of a small forest: every record differs, the outputs of many are equal across the boundary."""
    rng = stream(0, "votes")
    truth = rng.random(records) < 0.5
    votes = rng.binomial(trees, np.where(truth, 0.85, 0.7))
    return truth, np.stack([trees - votes, votes], -1) / trees, np.ones(records, int)


def test_equal_outputs_are_no_duplicates_and_change_nothing():
    truth, votes, labels = forest_votes()
    found, ids, said = check(member=truth, probabilities=votes, labels=labels)
    assert len(ids) == len(truth)
    assert found.member.shape == (1, len(truth))
    note = next(s for s in said if "exactly the outputs" in s)
    assert "no sign of duplicates" in note
    assert "`features`, `hash` or `id`" in note
    with pytest.raises(BadInput, match="needs to know the records"):
        check(True, member=truth, probabilities=votes, labels=labels)
    kept, ids, said = check(True, member=truth, probabilities=votes, labels=labels, hash=np.arange(len(truth)))
    np.testing.assert_array_equal(kept.logits, found.logits)
    assert not any("exactly the outputs" in s for s in said)


def test_notes_reach_the_result_and_ids_follow():
    pictures, rows = copied()
    signals = SignalSet("s", "", {"member": TRUTH, "values": VALUES, "features": pictures}, notes=("read so",))
    result = audit_score(signals, ["threshold"], drop_duplicates=True)
    assert result.warnings[0] == "read so"
    assert "all copies were removed" in result.warnings[1]
    assert len(result.ids) == RECORDS - len(rows)


SHAPES = st.sampled_from(
    [(), (0,), (1,), (4,), (6,), (4, 6), (6, 4), (1, 6), (6, 1), (4, 6, 3), (6, 3), (4, 6, 2, 3), (4, 6, 0)]
)
KINDS = st.sampled_from(["bool", "int", "uint8", "float", "float16", "str", "bytes", "complex", "object"])
FILLS = st.sampled_from([0, 1, -1, 2, 0.5, 1e30, np.nan, np.inf, -np.inf])


@st.composite
def anything(draw):
    """An array a stranger might give under any key."""
    shape, kind = draw(SHAPES), draw(KINDS)
    numbers = stream(draw(st.integers(0, 9)), "any").integers(0, draw(st.sampled_from([1, 2, 3, 9])), shape)
    values = numbers.astype(float)
    if kind in ("float", "float16", "complex") and values.size and draw(st.booleans()):
        values.flat[draw(st.integers(0, values.size - 1))] = draw(FILLS)
    with np.errstate(all="ignore"):
        return values.astype({"str": "U8", "bytes": "S8"}.get(kind, kind))


SMALL = {  # 4 models, 6 records: each key as it should be, half of them left out below
    "values": VALUES[:4, :6], "logits": Z[:4, :6], "labels": LABELS[:6], "probabilities": P[:4, :6],
    "features": RNG.normal(size=(6, 3)), "group": np.arange(6) // 2, "hash": np.arange(6) // 2, "target": np.array([1]),
    "pretrained_values": VALUES[4:, :6], "pretrained_logits": Z[4:, :6, None], "pretrained_labels": LABELS[:6],
    "pretrained_probabilities": P[4:, :6],
}  # fmt: skip


@given(
    right=st.sets(st.sampled_from(sorted(SMALL)), min_size=1, max_size=6),
    odd=st.dictionaries(st.sampled_from(["member", *sorted(SMALL)]), anything(), max_size=2),
    one=st.booleans(),
    drop=st.booleans(),
)
@settings(max_examples=400, deadline=None)
def test_any_arrays_are_evidence_or_refused_in_one_line(right, odd, one, drop):
    arrays = {"member": TRUTH[:4, :6], **{key: SMALL[key] for key in right}}
    if one:
        arrays = {k: v[0] if k in MODELS_AXIS or k == "member" else v for k, v in arrays.items() if k != "target"}
    arrays |= odd
    try:
        found, ids, said = check(drop, **arrays)
    except BadInput as error:
        refusal = str(error)
        event("refused")
    else:
        refusal = ""
        event("accepted")
        assert found.member.shape[1] == len(ids)
        assert not any("\n" in sentence for sentence in said)
        for key in ("values", "logits", "pretrained_values", "pretrained_logits"):
            outputs = getattr(found, key)
            assert outputs is None or (np.isfinite(outputs).all() and outputs.shape[:2] == found.member.shape)
    assert "\n" not in refusal
    assert len(refusal) < 400


@pytest.mark.parametrize("unit", [1e300, 1e150, 1e-9, 1e-300])
def test_the_unit_of_a_signal_changes_no_number(unit):
    """Variances of tiny numbers vanish and those of huge ones overflow, unless the unit is changed first."""
    plain, scaled = (audit_score(SignalSet("s", "", {"member": TRUTH, "values": v})) for v in (VALUES, VALUES * unit))
    for a, b in zip(plain.measurements, scaled.measurements, strict=True):
        assert (a.attack, a.metric, a.fpr) == (b.attack, b.metric, b.fpr)
        assert a.value == pytest.approx(b.value, abs=1e-9)
    assert scaled.warnings == plain.warnings
