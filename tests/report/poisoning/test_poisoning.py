"""A poisoning audit on the page and on the screen: what it claims, what it shows, and what it must never say."""

import re
from dataclasses import replace

import pytest
from tests.report import poisoned
from tests.report.test_html import EVIL, Tags, text_of

from undertow.audits.poisoning.blind_spots import BLIND
from undertow.report.html import page
from undertow.report.poisoning.arms import (
    Setting,
    arms_of,
    cell,
    points_of,
    scores_of,
    settings_of,
    sweep_of,
    utility_tables,
)
from undertow.report.poisoning.figures import arms_roc, forest, sweep
from undertow.report.poisoning.verdict import blind_spots, cautions, verdict
from undertow.report.text import summary
from undertow.types import Measurement

NOTHING = {"None", "nan", "NaN", "inf", "undefined", "Undefined"}


@pytest.fixture(scope="module")
def audit():
    return poisoned.build()


@pytest.fixture(scope="module")
def many():
    return poisoned.many()


@pytest.fixture(scope="module")
def judged():
    return poisoned.judged()


def spoken(html):
    return text_of(html).replace("\N{NO-BREAK SPACE}", " ")


def changed(audit, poisoned_at=None, benign_at=None):
    """The audit with other differences of the targets: (value, low, high)."""
    new = {"poisoned": poisoned_at, "benign": benign_at}
    rows = tuple(
        replace(m, **dict(zip(("value", "low", "high"), new[m.group])))
        if m.metric == "tpr_difference" and m.points == "targets" and new[m.group]
        else m
        for m in audit.measurements
    )
    return replace(audit, measurements=rows)


@pytest.mark.parametrize(
    ("at", "benign", "state", "says"),
    [
        (
            (0.33, 0.27, 0.39),
            (0.0, -0.03, 0.02),
            "amplified",
            "leak more: lira finds 33.0 percentage points more of the members (95% interval 27.0 to 39.0)",
        ),
        ((0.33, 0.27, 0.39), (0.3, 0.25, 0.35), "unexplained", "that the poison is why was not shown"),
        (
            (0.03, -0.01, 0.07),
            (0.0, -0.03, 0.02),
            "not-amplified",
            "as large as 7.0 percentage points",
        ),
        (
            (-0.2, -0.3, -0.1),
            (0.0, -0.03, 0.02),
            "lessened",
            "lira finds 20.0 percentage points fewer",
        ),
        ((0.33, None, None), (0.0, -0.03, 0.02), "undecided", "Nothing can be said"),
    ],
)
def test_the_headline_follows_the_interval_and_the_benign_arm(audit, at, benign, state, says):
    found = verdict(changed(audit, at, benign))
    assert found.state == state
    assert says in found.headline


def test_the_headline_names_what_benign_training_alone_does(audit):
    found = verdict(changed(audit, (0.33, 0.27, 0.39), (0.0, -0.03, 0.02)))
    assert "alone changes that by +0.0 percentage points (95% interval -3.0 to +2.0)" in found.headline


def test_when_nothing_differs_no_increase_is_claimed():
    found = verdict(poisoned.null())
    assert found.state == "not-amplified"
    assert found.checks[0].passed


def test_further_training_that_leaks_fails_its_check(audit):
    found = verdict(changed(audit, (0.33, 0.27, 0.39), (0.3, 0.24, 0.36)))
    assert found.state == "unexplained"
    assert found.checks[0].passed is False


def test_further_training_that_leaks_less_than_the_poison_is_said_and_no_failure(audit):
    found = verdict(changed(audit, (0.33, 0.27, 0.39), (0.1, 0.05, 0.15)))
    assert found.state == "amplified"
    assert found.checks[0].passed is True
    assert "that part of the difference is not due to the poison" in found.checks[0].text


def test_without_a_benign_arm_nothing_is_put_down_to_the_poison_alone(audit):
    rows = tuple(m for m in audit.measurements if m.group != "benign")
    found = verdict(replace(audit, measurements=rows))
    assert "no benign arm was played" in found.headline
    assert found.checks[0].passed is None


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("suspicious", "Suspicious: 2 of 3 tests"),
        ("safe", "as far as these tests see"),
        ("unknown", "Unknown is not safe"),
    ],
)
def test_a_judged_checkpoint_comes_verdict_first_then_evidence_then_its_limits(judged, word, says):
    result = replace(judged, verdict=word)
    for text in (" ".join(summary(result).split()), spoken(page(result))):
        places = [text.index(says)]
        places += [text.index(e["found"]) for e in result.evidence]
        places += [text.index(spot) for spot in blind_spots(result)]
        places += [text.index("reference", places[-1])]
        assert places == sorted(places)


def test_without_a_reference_the_limits_say_so(judged):
    bare = replace(judged, measurements=(), scores=(), ids=())
    assert "none was given to compare with" in spoken(page(bare))
    assert "none was given" not in spoken(page(judged))
    for text in (summary(judged), spoken(page(judged))):
        assert " ".join(text.split()).count(" ".join(BLIND[0].split())) == 1  # a warning of the result, said once


def test_a_judged_checkpoint_is_compared_with_its_reference(judged):
    text = summary(judged)
    for points in ("targets", "others"):
        m = judged.find("lira", "tpr_difference", 0.01, "suspect", points=points)
        assert re.search(rf"^  suspect - reference +{re.escape(f'{100 * m.value:+.1f}')} pp \[", text, re.M)
    assert "targets your records" in text
    assert "suspect less reference" in spoken(page(judged))
    assert "suspect (AUC" in arms_roc(judged).label
    assert scores_of(judged, "suspect").values.shape[1] == poisoned.TARGETS


def test_a_small_increase_that_a_safe_verdict_lets_pass_is_said(judged):
    def rows(low):
        small = {"value": 0.03, "low": low, "high": 0.049}
        return tuple(replace(m, **small) if m.metric == "tpr_difference" else m for m in judged.measurements)

    for low, said in ((0.011, True), (-0.011, False)):
        result = replace(judged, verdict="safe", measurements=rows(low))
        for text in (summary(result), spoken(page(result))):
            assert ("leak more than with the reference, though not surely" in " ".join(text.split())) is said


def test_the_lists_of_blind_spots_are_one():
    pytest.importorskip("torch")
    from undertow.audits.poisoning import suspicion

    assert suspicion.BLIND == BLIND


def test_every_attack_is_on_the_page(audit):
    rows = [replace(m, attack="lira-offline") for m in audit.measurements if m.group and m.points]
    html = page(replace(audit, measurements=(*audit.measurements, *rows)))
    assert "Every attack on the targets" in html
    assert html.count('<th scope="row">lira-offline</th>') == 1
    assert "Every attack on the targets" not in page(audit)


def test_every_arm_and_difference_is_on_the_screen(audit):
    text = summary(audit)
    assert max(map(len, text.splitlines())) <= 90
    for points in ("targets", "others"):
        for arm in ("clean", "benign", "poisoned"):
            m = audit.find("lira", "tpr", 0.01, arm, points=points)
            assert re.search(rf"^  {arm} +{100 * m.value:.1f}% \[", text, re.M)
        for arm in ("benign", "poisoned"):
            m = audit.find("lira", "tpr_difference", 0.01, arm, points=points)
            assert re.search(rf"^  {arm} - clean +{re.escape(f'{100 * m.value:+.1f}')} pp \[", text, re.M)
    assert re.search(r"before finetuning +95.1% +95.7% +93.3%", text)
    assert "VERDICT: Leaks more" in text
    assert not NOTHING & set(re.findall(r"\w+", text))


def test_one_line_per_recipe_view_and_swept_value(many):
    text = summary(many)
    for setting in settings_of(many):
        assert f"\n{setting.name} (" in text
    for at in sweep_of(many):
        assert re.search(rf"^  {at:g} ", text, re.M)
    assert "Of 8 combinations of recipe and view, 7 show an increase" in " ".join(text.split())


def test_the_order_of_the_rows_changes_nothing(many):
    again = poisoned.shuffled(many)
    assert settings_of(again) == settings_of(many)
    assert summary(replace(again, warnings=())).split("CHECKS")[0] == summary(many).split("CHECKS")[0]


def test_the_page_is_whole_and_asks_nothing_of_anyone(many, judged):
    for result in (many, judged):
        html = page(result)
        found = Tags(html)
        assert "script" not in found.tags
        assert all(link.startswith("#") for link in found.links)
        assert len(found.ids) == len(set(found.ids))
        assert not re.search(r"@import|url\((?!#)", html)
        text = spoken(html)
        assert verdict(result).headline in text
        assert not NOTHING & set(re.findall(r"\w+", text))
        for line in (*cautions(result), *(c.text for c in verdict(result).checks)):
            assert line in text
        assert page(result) == html
        assert len(html) < 500_000


def test_every_number_of_the_arms_is_in_the_table_with_its_count(audit):
    text = spoken(page(audit))
    for m in audit.measurements:
        if m.metric in ("tpr", "auc", "tpr_difference", "auc_difference") and m.value is not None:
            shown = f"{m.value:.3f}" if "auc" in m.metric else f"{100 * m.value:.1f}"
            assert shown.lstrip("-+") in text
    assert text.count("16 models") > 10
    assert "not resolvable with" in text


def test_figures_are_there_where_there_is_something_to_draw(audit, many):
    assert forest(audit) is None
    assert sweep(audit) is None
    assert arms_roc(replace(audit, scores=())) is None
    for arm in ("clean", "benign", "poisoned"):
        assert arm in arms_roc(audit).label
    label = forest(many).label
    for setting in settings_of(many):
        assert f"{setting.name}: poisoned, targets +" in label
    assert "poison.steps 1600, poisoned: 85" in sweep(many).label
    for drawing in (forest(many), sweep(many), arms_roc(many)):
        for svg in (drawing.wide, drawing.narrow):
            assert svg.startswith("<svg ")
            assert not re.search(r"\bnan\b|\binf\b|None|<metadata", svg)


def test_the_curve_is_of_the_targets_at_the_first_setting(many):
    assert scores_of(many, "poisoned").points == "targets"
    pooled = tuple(replace(s, points=None, ids=None) for s in many.scores if s.points == "others")
    unknown = replace(many, scores=pooled, data={})  # nothing says which of them are targets
    assert scores_of(unknown, "poisoned").points is None


def test_names_from_files_are_escaped(judged):
    evidence = tuple(dict.fromkeys(("test", "found", "verdict", "explanation"), EVIL) for _ in range(2))
    rows = tuple(replace(m, recipe=EVIL, view=EVIL, warning=EVIL, reason=EVIL) for m in judged.measurements)
    rows += tuple(replace(m, at=2.0) for m in rows)
    result = replace(
        judged, evidence=evidence, measurements=rows, scores=(), ids=(), warnings=(EVIL,), data={"name": EVIL},
        config={"sweep": EVIL, EVIL: EVIL}, environment={EVIL: EVIL},
    )  # fmt: skip
    for one in (result, replace(result, verdict=None)):
        found = Tags(page(one))
        assert "script" not in found.tags
        assert "img" not in found.tags
        assert not any(name.startswith("on") for a in found.attributes for name in a)
    assert chr(27) not in summary(replace(result, evidence=({"test": chr(27), "found": chr(27)},)))


def test_a_result_with_next_to_nothing_still_draws(audit):
    bare = replace(audit, measurements=(), scores=(), ids=(), timing={}, config={}, data={}, warnings=())
    assert "Nothing can be said" in summary(bare)
    assert "Nothing can be said" in spoken(page(bare))
    lone = Measurement("loss", "auc", 0.7, None, None, 1, "models", group="poisoned", points="targets")
    assert "0.700" in summary(replace(bare, measurements=(lone,)))
    assert "0.700" in spoken(page(replace(bare, measurements=(lone,))))


def test_losses_are_nats_and_never_percent(audit):
    rows = [m for m in audit.measurements if m.metric != "accuracy"]
    rows += poisoned.utility("heldout_loss", {"clean": (2.31, 2.2), "poisoned": (2.405, 2.25)})
    result = replace(audit, measurements=tuple(rows))
    assert re.search(r"before finetuning +2.310 nats +2.405 nats", summary(result))
    assert "2.405 nats" in spoken(page(result))


def test_rows_are_found_by_what_they_are(many):
    assert arms_of(many) == ("clean", "benign", "poisoned")
    assert points_of(many) == ("targets", "others")
    setting = Setting("lora", "watermark")
    m = cell(many, "auc", "benign", "others", setting)
    assert (m.group, m.points, m.recipe, m.view, m.at) == ("benign", "others", "lora", "watermark", None)
    assert cell(many, "auc", "benign", "others", Setting("lora", "int8")) is None
    assert [name for name, _ in utility_tables(many)[0].rows][:2] == ["before finetuning", "after full"]


def test_recipes_and_views_are_said_in_words():
    assert Setting("lora", "label").about == ("finetuned: low-rank updates (peft); seen: the predicted label alone")
    assert Setting("unheard of", None).about == ""
