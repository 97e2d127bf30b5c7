"""The page: escaped, self-contained, complete, and the same bytes every time."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from undertow.report.datatrap.pictures import Picture, picture
from undertow.report.html import index_page, page
from undertow.report.verdict import verdict
from undertow.types import BadInput

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 7*7 }}"


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.ids, self.links, self.text, self.attributes = [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.append(dict(attrs))
        self.ids += [v for k, v in attrs if k == "id"]
        self.links += [v for k, v in attrs if k in ("src", "href", "action", "data", "xlink:href")]

    handle_startendtag = handle_starttag

    def handle_data(self, data):
        self.text.append(data)


def text_of(html):
    bare = re.sub(r"<(style|svg)\b.*?</\1>", " ", html, flags=re.S)
    return " ".join(" ".join(Tags(bare).text).split())


def test_names_from_files_are_escaped_everywhere(tmi):
    old = tmi.measurements[0].attack
    rename = lambda m: replace(m, attack=EVIL) if m.attack == old else m  # noqa: E731
    result = replace(
        tmi,
        measurements=tuple(replace(rename(m), warning=EVIL, reason=EVIL) for m in tmi.measurements),
        scores=tuple(rename(s) for s in tmi.scores),
        ids=tuple(f"{EVIL}{q}" for q in range(len(tmi.ids))),
        warnings=(EVIL,),
        config={EVIL: {EVIL: EVIL}},
        environment={EVIL: EVIL},
        data={"name": EVIL, EVIL: [EVIL]},
        timing={EVIL: 1.0},
        utility={EVIL: 0.5},
    )
    png = picture(np.zeros((4, 4), np.uint8))
    for html in (page(result, {i: Picture(EVIL, png) for i in result.ids}), index_page({EVIL: result})):
        found = Tags(html)
        assert "script" not in found.tags
        assert not any(name.startswith("on") for a in found.attributes for name in a)
        assert "onerror=alert(2)&gt;49" not in html
    assert "onerror=alert(2)&gt;{{ 7*7 }}" in page(result)
    assert found.links[0].startswith("%3Cscript%3E")


def test_the_page_asks_nothing_of_anyone(leakage_page, tmi, mia):
    for html in (leakage_page, index_page({"tmi/report.html": tmi, "mia/report.html": mia})):
        found = Tags(html)
        assert "script" not in found.tags
        assert "link" not in found.tags
        assert all(link.startswith(("#", "data:", "tmi/", "mia/")) for link in found.links)
        assert not re.search(r"@import|url\((?!#)", html)
        assert "default-src 'none'" in html


def test_no_link_of_the_index_leaves_the_folder(tmi):
    for link in ("javascript:alert(1)", "//evil.example/x", "https://evil.example", "\\\\evil\\x", "data:text/html,x"):
        for found in Tags(index_page({link: tmi})).links:
            assert not re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*:|/|\\", found), found


def test_nothing_missing_shows_as_none_or_nan(leakage_page, tmi, mia, null):
    odd = {"a": None, "b": float("nan"), "c": [], "d": "", "e": {"f": float("inf")}}
    bare = replace(null, scores=(), ids=(), timing={}, utility={"loss": float("nan")}, config=odd)
    for html in (leakage_page, page(mia), page(bare), index_page({"a.html": tmi})):
        words = re.findall(r"[A-Za-z]+", text_of(html))
        assert not {"None", "nan", "NaN", "inf", "Infinity", "undefined", "Undefined"} & set(words)
    assert "not set" in page(bare)
    assert "not available" in page(bare)


def test_the_verdict_comes_first_and_whole(leakage_page, tmi):
    text, found = text_of(leakage_page).replace("\N{NO-BREAK SPACE}", " "), verdict(tmi)
    for sentence in (found.badge, found.headline, *found.sentences, *(c.text for c in found.checks), *tmi.warnings):
        assert sentence in text
    assert text.index(found.headline) < text.index("All attacks")


def test_every_row_of_the_table_is_there_with_a_scope(leakage_page, tmi):
    names = {(m.attack, m.group) for m in (*tmi.measurements, *tmi.controls)}
    assert leakage_page.count('<th scope="row"><span class="title">') == len(names)
    assert '<html lang="en">' in leakage_page
    for html in re.findall(r"<th\b[^>]*>", leakage_page):
        assert "scope=" in html
    assert leakage_page.count('role="img" aria-label="') == 3


def test_an_unresolved_cell_gives_its_reason_as_a_footnote(leakage_page):
    cells = re.findall(r'<span class="missing">not resolved</span><sup><a href="#note-(\d+)">', leakage_page)
    assert cells
    (note,) = set(cells)
    assert re.search(rf'<li id="note-{note}">not resolvable with [\d,]+ non-members</li>', leakage_page)


def test_ids_are_unique_and_every_anchor_lands(leakage_page):
    found = Tags(leakage_page)
    assert len(found.ids) == len(set(found.ids))
    assert {link[1:] for link in found.links if link.startswith("#")} <= set(found.ids)


def test_the_same_result_gives_the_same_bytes(leakage_page, tmi):
    assert page(tmi) == leakage_page
    assert len(leakage_page) < 500_000


def test_records_are_named_but_never_shown_unless_handed_over(leakage_page, tmi):
    assert "<img" not in leakage_page
    assert "named by id only" in leakage_page
    png = picture(np.full((8, 8), 200, np.uint8))
    shown = page(tmi, {i: Picture(f"{i}, label 3", png) for i in tmi.ids})
    assert shown.count("<img") == shown.count("data:image/png;base64,") == 12
    assert "named by id only" not in shown
    assert "label 3 &middot; in" in shown  # the id is not said twice


def test_the_most_exposed_records_are_led_by_the_most_exposed(leakage_page):
    shares = [float(x) for x in re.findall(r'<span class="share">([\d.]+)%', leakage_page)]
    assert len(shares) == 12
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > 80


def test_without_scores_the_page_says_so(tmi):
    html = page(replace(tmi, scores=(), ids=()))
    assert "no curve can be drawn" in html
    assert "none can be named" in html
    assert "<svg" not in html


def test_records_without_ids_are_numbered(mia):
    assert re.search(r"record \d+", page(replace(mia, ids=())))


def test_provenance_is_all_there(leakage_page, tmi):
    text = text_of(leakage_page)
    for shown in ("seed 0", "finetune.dp. epsilon", "numpy", "2.4.6", tmi.data["sha256"]["pool"], "94.3%", "2 min 6 s"):
        assert shown in text.replace("finetune. dp.", "finetune.dp."), shown


def test_each_audit_states_what_the_adversary_sees(leakage_page, mia):
    assert "queries only the finetuned model" in text_of(leakage_page)
    assert "holds a record and its label" in text_of(page(mia))
    assert "trained nothing here" in text_of(page(replace(mia, audit="score")))
    assert "configuration of the audit" in text_of(page(replace(mia, audit="other")))


def test_the_index_leads_to_each_audit(tmi, mia, null):
    html = index_page({"tmi/report.html": tmi, "mia/report.html": mia, "null.html": null})
    for result in (tmi, mia, null):
        assert verdict(result).headline in text_of(html).replace("\N{NO-BREAK SPACE}", " ")
    assert Tags(html).links.count("tmi/report.html") == 2
    assert "3 audits of one supply chain" in html


@pytest.mark.parametrize("array", [np.zeros((2, 2)), np.zeros((2, 2, 4), np.uint8), np.zeros((0, 3), np.uint8)])
def test_a_picture_is_bytes_of_an_image(array):
    with pytest.raises(BadInput, match="uint8"):
        picture(array)
    with pytest.raises(BadInput, match="not a PNG"):
        Picture("x", b"<svg onload=alert(1)>")
    assert picture(np.zeros((3, 2, 3), np.uint8)) == picture(np.zeros((3, 2, 3), np.uint8))
