"""Figures: text stays text, ids stay apart, and odd scores still draw."""

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import matplotlib
import numpy as np
import pytest

from undertow.report.figures import histogram, roc
from undertow.report.rows import realistic
from undertow.types import Scores


def ids(svg):
    return re.findall(r'\bid="([^"]+)"', svg)


def first(result):
    return realistic(result)[0]


def test_the_roc_shows_a_readable_few_and_names_the_rest_by_table(tmi):
    drawing = roc(tmi)
    texts = "".join(ElementTree.fromstring(drawing.wide).itertext())
    for name in ("tmi-lda", "confidence", "direct-lira", "baseline, AUC", "direct access, AUC", "control, AUC"):
        assert name in texts
    assert "tmi-label-only" not in texts
    assert texts.count("AUC") == 7


def test_text_is_text_and_nothing_is_nan(tmi):
    for drawing in (roc(tmi), histogram(tmi, first(tmi))):
        for svg in (drawing.wide, drawing.narrow):
            assert svg.startswith("<svg ")
            assert "<text" in svg
            assert not re.search(r"\bnan\b|\binf\b|None|<metadata|<\?xml|<!DOCTYPE", svg)


def test_ids_never_collide_and_every_reference_is_there(tmi):
    drawings = [roc(tmi), histogram(tmi, first(tmi))]
    svgs = [svg for d in drawings for svg in (d.wide, d.narrow)]
    every = [i for svg in svgs for i in ids(svg)]
    assert len(every) == len(set(every))
    for svg in svgs:
        used = re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', svg)
        assert used
        assert {a or b for a, b in used} <= set(ids(svg))


def test_the_same_result_draws_the_same_bytes_whatever_the_user_set(tmi):
    before = roc(tmi), histogram(tmi, first(tmi))
    with matplotlib.rc_context({"font.size": 30, "lines.linewidth": 9, "axes.grid": True}):
        assert (roc(tmi), histogram(tmi, first(tmi))) == before
        assert matplotlib.rcParams["font.size"] == 30


def test_without_scores_there_is_no_figure(tmi):
    bare = replace(tmi, scores=())
    assert roc(bare) is None
    assert histogram(bare, first(bare)) is None


@pytest.mark.parametrize("values", ["constant", "two", "huge", "tiny"])
def test_odd_scores_still_draw(tmi, values):
    old = next(s for s in tmi.scores if s.attack == first(tmi).attack and s.group is None)
    made = {
        "constant": np.full(old.values.shape, 3.0),
        "two": (old.values > 0).astype(float),
        "huge": old.values * 1e300,
        "tiny": old.values * 1e-300,
    }[values]
    result = replace(tmi, scores=(Scores(old.attack, made, old.member),))
    assert "<svg" in roc(result).wide
    assert "<svg" in histogram(result, first(result)).narrow


def test_one_model_with_few_points_still_draws(tmi):
    name = first(tmi).attack
    member = np.array([[True, False, True, False]])
    result = replace(tmi, scores=(Scores(name, np.array([[1.0, 0.0, 0.5, 0.7]]), member),))
    assert "<svg" in roc(result).wide


def test_one_class_alone_has_no_figure(tmi):
    name = first(tmi).attack
    result = replace(tmi, scores=(Scores(name, np.ones((2, 3)), np.ones((2, 3), bool)),))
    assert roc(result) is None
    assert histogram(result, first(result)) is None


def test_a_name_is_never_mathematics_nor_markup(tmi):
    odd = "_$x^2$<script>&\x00"
    rename = lambda m: replace(m, attack=odd) if m.attack == first(tmi).attack else m  # noqa: E731
    result = replace(
        tmi,
        measurements=tuple(rename(m) for m in tmi.measurements),
        scores=tuple(rename(s) for s in tmi.scores),
    )
    drawing = roc(result)
    assert "_$x^2$<script>&?" in "".join(ElementTree.fromstring(drawing.wide).itertext())
    assert "<script" not in drawing.wide
