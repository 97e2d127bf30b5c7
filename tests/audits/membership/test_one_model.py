"""One trained model, audited as it is: what is found, what is said, and what is asked."""

import json

import numpy as np
import pytest

import undertow as ut
from undertow.attacks.rmia import A
from undertow.report.verdict import verdict
from undertow.signals import label_confidence, label_log_probability

CLASSES = 4


def task(seed, count=600):
    """Records (n, 6) of four classes, half of them members; one kind, dealt at random."""
    rng = ut.stream(seed, "task")
    x = rng.normal(size=(count, 6))
    return x[: count // 2], x[count // 2 :], *np.split(rng.integers(CLASSES, size=count), 2)


class Remembers:
    """Logits of noise that the record decides, raised at the label of what was trained on."""

    def __init__(self, x, y, by):
        self.known = {row.tobytes(): label for row, label in zip(x, y)}
        self.by = by

    def __call__(self, x):
        rng = ut.stream(1, "weights")
        logits = np.tanh(x @ rng.normal(size=(x.shape[1], CLASSES)))
        for i, row in enumerate(x):
            if row.tobytes() in self.known:
                logits[i, self.known[row.tobytes()]] += self.by
        return logits


def test_a_model_that_remembers_is_found_and_one_that_does_not_is_not():
    a, b, ya, yb = task(0)
    leak = ut.audit_model(Remembers(a, ya, 3.0), (a, ya), (b, yb))
    nothing = ut.audit_model(Remembers(a, ya, 0.0), (a, ya), (b, yb))
    assert leak.find("loss", "auc").low > 0.7
    assert verdict(leak).state == "leak"
    m = nothing.find("loss", "auc")
    assert m.low < 0.5 < m.high
    assert verdict(nothing).state != "leak"


def test_every_attack_for_one_model_is_there_and_the_others_say_what_they_need():
    a, b, ya, yb = task(0)
    result = ut.audit_model(Remembers(a, ya, 3.0), (a, ya), (b, yb))
    assert {m.attack for m in result.measurements} == {
        "loss", "confidence", "entropy", "margin", "modified-entropy", "blind",
    }  # fmt: skip
    said = {entry["attack"]: entry["fix"] for entry in result.not_run}
    assert set(said) == {"calibrated", "rmia-offline", "lira", "rmia", "bavaria"}
    assert "--base" in said["rmia-offline"]
    assert "--shadows 16" in said["lira"]


def test_text_and_page_say_what_was_audited(tmp_path):
    a, b, ya, yb = task(0)
    result = ut.audit_model(Remembers(a, ya, 3.0), (a, ya), (b, yb), out=tmp_path / "run")
    text, page = ut.summary(result), (tmp_path / "run" / "report.html").read_text()
    for said in (text, page):
        assert "one model: nothing" in said
        assert "say nothing about another training run" in " ".join(said.split())
    kept = json.loads((tmp_path / "run" / "result.json").read_text())
    assert kept["design"]["name"] == "one model"
    assert set(kept["data"]["sha256"]) == {"members", "nonmembers", "answers of the model"}
    assert ut.load_result(tmp_path / "run").audit == "model"


def test_the_hashes_are_of_the_records():
    a, b, ya, yb = task(0)
    first = ut.audit_model(Remembers(a, ya, 1.0), (a, ya), (b, yb)).data["sha256"]
    second = ut.audit_model(Remembers(a, ya, 1.0), (a, ya), (b + 1, yb)).data["sha256"]
    assert first["members"] == second["members"]
    assert first["nonmembers"] != second["nonmembers"]


def test_another_audit_is_not_written_over_the_first(tmp_path):
    a, b, ya, yb = task(0)
    ut.audit_model(Remembers(a, ya, 3.0), (a, ya), (b, yb), out=tmp_path / "run")
    ut.audit_model(Remembers(a, ya, 3.0), (a, ya), (b, yb), out=tmp_path / "run")
    with pytest.raises(ut.StoreError, match="another nonmembers"):
        ut.audit_model(Remembers(a, ya, 3.0), (a, ya), (b + 1, yb), out=tmp_path / "run")


def test_a_difference_in_kind_is_no_leak():
    """A model that remembers nothing, and non-members from elsewhere: every AUC is high, and none means membership."""
    a, b, ya, yb = task(0)
    rng = ut.stream(0, "elsewhere")
    far = b + rng.normal(size=b.shape) + 1.5
    result = ut.audit_model(lambda x: np.stack([x.sum(1), -x.sum(1), 0 * x[:, 0]], 1), (a, ya % 3), (far, yb % 3))
    assert max(m.value for m in result.measurements if m.metric == "auc") > 0.7
    assert verdict(result).state == "confounded"
    assert "do not measure membership leakage" in verdict(result).headline


@pytest.mark.parametrize("shift", ["labels", "spread", "texts"])
def test_the_blind_guess_sees_other_differences_in_kind(shift):
    """Labels of another balance, records of another spread, texts of another length."""
    a, b, ya, yb = task(3)
    rng = ut.stream(2, "shift")
    if shift == "labels":
        yb = np.where(rng.random(len(yb)) < 0.6, 0, yb)
    elif shift == "spread":
        b = b * 1.6
    else:
        words = ["some", "words", "of", "one", "sort", "or", "another", "to", "write", "with"]
        a, b = ([" ".join(rng.choice(words, n)) for _ in range(300)] for n in (6, 9))
    result = ut.audit_model(lambda x: np.zeros((len(x), CLASSES)) + np.arange(CLASSES), (a, ya), (b, yb))
    assert result.find("blind", "auc").low > 0.5


def test_the_blind_guess_is_at_chance_on_one_kind():
    """Twenty deals of one set: the intervals of the blind guess cover .5 in at least 17 (18.9 expected at .95)."""
    covered = 0
    for seed in range(20):
        a, b, ya, yb = task(seed, 200)
        m = ut.audit_model(lambda x: np.zeros((len(x), CLASSES)) + x[:, :CLASSES], (a, ya), (b, yb)).find(
            "blind", "auc"
        )
        covered += m.low <= 0.5 <= m.high
    assert covered >= 17


def test_of_very_many_records_the_blind_guess_sees_a_sample(monkeypatch):
    from undertow.audits.membership import one_model

    monkeypatch.setattr(one_model, "SAMPLE", 250)
    a, b, ya, yb = task(0)
    result = ut.audit_model(Remembers(a, ya, 3.0), (a, ya), (b + 1.5, yb))
    m = result.find("blind", "auc")
    assert (m.n, m.low > 0.5) == (250, True)
    assert result.find("loss", "auc").n == 600
    assert result.left_out == (
        {"attack": "blind", "records": 350, "of": 600, "reason": "a random sample of 250 is enough to see a difference "
         "in kind"},
    )  # fmt: skip


def test_answers_come_back_to_their_records_whatever_the_order_of_asking():
    a, b, _, _ = task(0)
    asked = []

    def predict(x):
        asked.append(x)
        return x[:, 0]

    result = ut.audit_model(predict, a, b, batch=64)
    np.testing.assert_array_equal(result.scores[0].values[0], np.concatenate([a, b])[:, 0])
    assert max(map(len, asked)) == 64
    inside = {row.tobytes() for row in a}
    mixed = [np.mean([row.tobytes() in inside for row in batch]) for batch in asked if len(batch) == 64]
    assert 0.2 < min(mixed) <= max(mixed) < 0.8  # no batch is of one side


def test_with_a_reference_the_scores_are_the_formulas():
    a, b, ya, yb = task(0)
    rng = ut.stream(5, "reference")
    w = rng.normal(size=(6, CLASSES))
    target = Remembers(a, ya, 2.0)
    result = ut.audit_model(target, (a, ya), (b, yb), base=lambda x: x @ w)
    x, y = np.concatenate([a, b]), np.concatenate([ya, yb])
    z = np.stack([target(x), x @ w])[:, :, None]
    found = {s.attack: s.values[0] for s in result.scores}
    confidence = label_confidence(z, y)
    np.testing.assert_allclose(found["calibrated"], confidence[0] - confidence[1])
    p = np.exp(label_log_probability(z, y))
    ratio = p[0] / (((1 + A) * p[1] + 1 - A) / 2)
    beaten = np.array([(ratio[q] >= ratio).sum() - 1 for q in range(len(y))])
    np.testing.assert_array_equal(np.floor(found["rmia-offline"] * len(y)), beaten)
    assert {m.group for m in result.controls} == {"the reference model"}


def test_a_reference_that_tells_the_sides_apart_voids_the_numbers():
    a, b, ya, yb = task(0)
    result = ut.audit_model(
        Remembers(a, ya, 3.0), (a, ya), (b, yb), base=Remembers(a, ya, 3.0), features=False
    )  # it was trained on them, so it is no reference
    assert verdict(result).state == "doubtful"
    assert "the reference model" in verdict(result).headline


def test_groups_are_the_unit_where_they_are_given():
    a, b, ya, yb = task(0)
    people = (np.arange(300) // 3, 100 + np.arange(300) // 3)
    result = ut.audit_model(Remembers(a, ya, 3.0), (a, ya), (b, yb), groups=people)
    m = result.find("loss", "auc")
    assert (m.n, m.unit, result.design["groups"]) == (200, "groups", 200)


@pytest.mark.parametrize(
    "relabel",
    [
        lambda y: np.array([3, 10, 66, 70])[y],
        lambda y: np.array(["ant", "bee", "cat", "dog"])[y],
        lambda y: y.astype(float),
        lambda y: np.eye(CLASSES)[y],
    ],
    ids=["3, 10, 66, 70", "words", "floats", "one-hot"],
)
def test_labels_of_any_form_give_the_same_numbers(relabel):
    a, b, ya, yb = task(0)
    plain = ut.audit_model(Remembers(a, ya, 2.0), (a, ya), (b, yb))
    other = ut.audit_model(Remembers(a, ya, 2.0), (a, relabel(ya)), (b, relabel(yb)))
    assert other.find("loss", "auc").value == plain.find("loss", "auc").value
    said = " ".join(other.warnings)
    assert ("numbered in sorted order" in said) == (relabel(ya).dtype.kind in "iU" and relabel(ya).ndim == 1)


def test_labels_are_placed_by_the_classes_that_a_model_says():
    from undertow.audits.membership.answers import Predictor

    a, b, ya, yb = task(0)
    names = np.array(["dog", "cat", "bee", "ant"])  # not in sorted order
    told = Predictor(Remembers(a, ya, 2.0), "told", tuple(names))
    plain = ut.audit_model(Remembers(a, ya, 2.0), (a, ya), (b, yb))
    other = ut.audit_model(told, (a, names[ya]), (b, names[yb]))
    assert other.find("loss", "auc").value == plain.find("loss", "auc").value


def test_a_regression_is_audited_by_its_score():
    a, b, _, _ = task(0)
    ya, yb = a.sum(1) + 0.1, b.sum(1) + 0.1
    known = {row.tobytes() for row in a}

    def predict(x):
        return x.sum(1) + np.array([0.1 if row.tobytes() in known else 0.6 for row in x])

    result = ut.audit_model(predict, (a, ya), (b, yb), score=lambda answers, y: -np.square(answers - y))
    assert result.find("threshold", "auc").value == 1.0


def test_records_without_labels_and_datasets():
    a, b, ya, yb = task(0)
    bare = ut.audit_model(Remembers(a, ya, 3.0), a, b)
    assert {m.attack for m in bare.measurements} == {"confidence", "entropy", "blind"}
    pairs = [[(x, y) for x, y in zip(*part)] for part in ((a, ya), (b, yb))]

    class Set:
        def __init__(self, rows):
            self.rows = rows

        def __len__(self):
            return len(self.rows)

        def __getitem__(self, i):
            return self.rows[i]

    of_set = ut.audit_model(Remembers(a, ya, 3.0), Set(pairs[0]), Set(pairs[1]))
    assert (
        of_set.find("loss", "auc").value
        == ut.audit_model(Remembers(a, ya, 3.0), ut.Examples(a, ya, "a"), ut.Examples(b, yb, "b"))
        .find("loss", "auc")
        .value
    )


def test_answers_made_beforehand_do_as_a_model():
    a, b, ya, yb = task(0)
    model = Remembers(a, ya, 3.0)
    asked = ut.audit_model(model, (a, ya), (b, yb), base=lambda x: x[:, :CLASSES])
    given = ut.audit_model((model(a), model(b)), (a, ya), (b, yb), base=(a[:, :CLASSES], b[:, :CLASSES]))
    assert [m.value for m in asked.measurements] == [m.value for m in given.measurements]


def test_a_model_that_does_not_answer_twice_alike_is_said():
    a, b, ya, yb = task(0)
    rng = ut.stream(7, "dropout")
    result = ut.audit_model(lambda x: rng.normal(size=(len(x), CLASSES)), (a, ya), (b, yb))
    assert any("answered differently when it was asked again" in text for text in result.warnings)
