"""Golden sentences: the whole reading of each situation, word for word, as a privacy officer would repeat it."""

import tomllib
from pathlib import Path

import pytest
from tests.report.situations import SITUATIONS
from tests.report.test_html import text_of

from undertow.report.design import left_out, not_run
from undertow.report.html import page
from undertow.report.lines import warnings
from undertow.report.poisoning.verdict import verdict as of_arms
from undertow.report.text import summary
from undertow.report.verdict import verdict

GOLDEN = tomllib.loads(Path(__file__).with_name("golden_sentences.toml").read_text(encoding="utf8"))


def said(result):
    """Badge, headline, findings, and where there are any: the unit, warnings, what was not run and left out."""
    found = (of_arms if result.audit == "poisoning" else verdict)(result)
    unit = [check.text for check in found.checks if "training procedure" in check.name]
    more = {"unit": unit, "not_run": list(not_run(result)), "left_out": list(left_out(result))}
    if result.audit != "poisoning":
        more["warnings"] = list(warnings(result))
    whole = {"badge": found.badge, "headline": found.headline, "findings": list(found.sentences)}
    return whole | {key: texts for key, texts in more.items() if texts}


def test_every_situation_has_its_golden_text():
    assert GOLDEN.keys() == SITUATIONS.keys()
    assert len(SITUATIONS) >= 25


@pytest.mark.parametrize("name", SITUATIONS)
def test_the_reading_is_the_golden_one(name):
    assert said(SITUATIONS[name]()) == GOLDEN[name]


@pytest.mark.parametrize("name", SITUATIONS)
def test_text_and_page_say_all_of_it(name):
    result = SITUATIONS[name]()
    shown = " ".join(text_of(page(result)).replace("\N{NO-BREAK SPACE}", " ").split())
    told = " ".join(summary(result).split())
    for key, texts in GOLDEN[name].items():
        for sentence in [texts] if isinstance(texts, str) else texts:
            assert sentence in told, key
            assert sentence in shown, key


@pytest.mark.parametrize("name", SITUATIONS)
def test_the_sentences_are_sentences(name):
    """A subject first, a full stop last, an interval in words, and no bracket to be read aloud."""
    golden = GOLDEN[name]
    for sentence in (golden["headline"], *golden["findings"], *golden.get("unit", ())):
        assert sentence[0].isupper()
        assert sentence.endswith(".")
        assert "[" not in sentence
        assert not {"None", "nan"} & set(sentence.replace(",", " ").split())


def test_no_leak_shown_never_stands_beside_an_interval_that_says_nothing():
    """What the badge rests on: the interval is narrow, and enough models were audited."""
    for name, make in SITUATIONS.items():
        result = make()
        if GOLDEN[name]["badge"] == "No leak shown":
            best = max((m for m in result.measurements if m.metric == "auc"), key=lambda m: m.value)
            assert best.high - best.low <= 0.2
            assert result.audit == "score" or best.n >= 3
