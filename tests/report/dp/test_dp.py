"""A DP audit on the page and on the screen: what it declares, and what it must never say."""

from dataclasses import replace

import pytest

from undertow.report.dp.figures import against_claim, against_runs
from undertow.report.dp.page import side_by_side
from undertow.report.dp.verdict import verdict
from undertow.report.html import index_page, page
from undertow.report.text import summary
from undertow.types import AuditResult, Measurement

LOWER = Measurement(
    "trap", "epsilon_lower", 7.2, None, None, 2000, "runs", epsilon=8.0, delta=1e-5, view="weights",
    bound="gdp-accuracy", assumes="gdp", confidence=0.95, headline=True,
)  # fmt: skip
FREE = replace(LOWER, value=2.6, bound="clopper-pearson", assumes="none", headline=None)
CREDIBLE = replace(FREE, value=9.0, bound="joint-beta", warning="a credible bound")
CLAIMED = Measurement("trap", "epsilon_claimed", 8.0, None, None, 0, "runs", epsilon=8.0, delta=1e-5, bound="pld")
CEILING = replace(CLAIMED, metric="epsilon_ceiling", bound=None, view="weights")
POINT = replace(LOWER, metric="epsilon_point", value=7.9, headline=None, confidence=0.5)
TEST = replace(LOWER, metric="claim_p_value", value=0.4, bound="accuracy", assumes="none", headline=None)
GROWTH = tuple(replace(LOWER, value=v, at=n, headline=None) for n, v in ((20.0, 1.0), (200.0, 5.0), (1000.0, 6.8)))
NULL = replace(LOWER, value=0.0, headline=None, group="no canary", n=1000)


def build(*rows, controls=(NULL,), **config):
    every = (CLAIMED, CEILING, FREE, CREDIBLE, POINT, TEST, *GROWTH, *rows)
    return AuditResult(
        "dp", {"runs": 1000, "one_run": False, "canaries": 400, "recipe": {"sampling": "poisson"}, **config}, 0, {},
        {"name": "<b>digits</b>", "sizes": {"victim": 200}}, every, controls,
        utility={"largest part of another record in a canary's direction": 0.001},
    )  # fmt: skip


@pytest.mark.parametrize(("value", "state"), [(7.2, "within"), (2.0, "loose")])
def test_a_claim_that_is_not_rejected_is_read_by_its_headline(value, state):
    found = verdict(build(replace(LOWER, value=value)))
    assert found.state == state
    assert f"{value:.2f}" in found.headline


@pytest.mark.parametrize(
    ("p", "state"), [(0.0009, "violated"), (0.0011, "repeat"), (0.05, "repeat"), (0.051, "within")]
)
def test_the_p_value_of_the_claim_decides_and_an_old_headline_is_not_quoted_on_a_rejected_premise(p, state):
    low = build(replace(LOWER, value=8.1))
    rows = tuple(replace(m, value=p) if m.metric == "claim_p_value" else m for m in low.measurements)
    found = verdict(replace(low, measurements=rows))
    assert found.state == state
    assert ("8.10" in found.headline) == (state == "within")
    assert ("at least 2.60" in found.headline) == (state != "within")
    assert "7.90" not in " ".join(found.sentences) or state == "within"


def test_a_point_above_the_ceiling_is_not_shown_and_nothing_is_promised():
    result = build(LOWER)
    rows = tuple(replace(m, value=8.7) if m.metric == "epsilon_point" else m for m in result.measurements)
    high = replace(result, measurements=rows)
    assert "8.70" not in summary(high)
    assert "Point estimate" in summary(result)
    for shown in (summary(result), page(result), summary(high), page(high)):
        assert "bring the bound" not in shown


def test_a_credible_bound_above_the_claim_declares_nothing():
    assert CREDIBLE.value > CREDIBLE.epsilon
    assert verdict(build(LOWER)).state == "within"


def test_without_a_headline_nothing_is_said():
    result = build()
    assert verdict(result).state == "undecided"
    assert against_claim(result) is None
    assert against_runs(result) is None
    assert "Nothing can be said" in summary(result)
    assert page(result)


def test_a_bound_on_nothing_fails_a_check():
    loud = build(LOWER, controls=(replace(NULL, value=1.2),))
    assert [check.passed for check in verdict(loud).checks] == [False, True, True]
    shuffled = build(LOWER, recipe={"sampling": "shuffled"})
    assert verdict(shuffled).checks[-1].passed is False


def test_the_ceiling_is_explained_where_it_is_below_the_claim():
    low = build(LOWER)
    rows = [replace(m, value=4.7) if m.metric == "epsilon_ceiling" else m for m in low.measurements]
    said = " ".join(verdict(replace(low, measurements=tuple(rows))).sentences)
    assert "more than 4.70 of the 8.00" in said
    assert "more than" not in " ".join(verdict(low).sentences).replace("more runs", "")


def test_page_and_screen_hold_every_number_and_escape_names():
    result = build(LOWER)
    html, text = page(result), summary(result)
    for number in ("7.20", "2.60", "7.90", "8.00"):
        assert number in html
        assert number in text
    assert "<b>digits" not in html
    assert html.count("<figure>") == 2
    assert page(result) == html
    assert [group.name for group in side_by_side(result)] == ["The claim", "weights"]
    assert "The claim stands" in index_page({"dp/report.html": result})
