"""A data-trap audit on the page and on the screen: what it claims, what it shows, and what it must never say."""

import re
from dataclasses import replace

import numpy as np
import pytest
from tests.report import trapped
from tests.report.test_html import EVIL, Tags, text_of

from undertow.report.datatrap.figures import holdings
from undertow.report.datatrap.gallery import LACKING, Gallery, Shown, Words, image_gallery, text_gallery
from undertow.report.datatrap.page import STATES
from undertow.report.datatrap.trapped import BROKEN, another, broken_of, mean_gap, seeds_of
from undertow.report.datatrap.verdict import STAGED, verdict
from undertow.report.html import index_page, page
from undertow.report.text import summary
from undertow.types import AuditResult, BadInput, Measurement

NOTHING = {"None", "nan", "NaN", "inf", "undefined", "Undefined"}


@pytest.fixture(scope="module")
def one():
    return trapped.build()


@pytest.fixture(scope="module")
def five():
    return trapped.several(5)


@pytest.fixture(scope="module")
def gallery():
    candidates, found, records, ids = trapped.read()
    return image_gallery(0, candidates, found, records, ids, (8, 8))


def spoken(html):
    return text_of(html).replace("\N{NO-BREAK SPACE}", " ")


def said(result):
    """Terminal and page, each as one line."""
    return " ".join(summary(result).split()), spoken(page(result))


def captured(exact, accepted=0, precision=None, **changes):
    counts = {"traps": 64, "captured_exact": exact, "captured_unique": exact, "mixed": 64 - exact, "none": 0}
    return trapped.rows_of(0, counts | {"accepted": accepted}, precision, 1e-6 if exact else None, **changes)


def test_the_headline_counts_what_was_copied(one, five):
    assert verdict(one).state == "captured"
    assert verdict(one).headline == "The traps copied finetuning records: 50 of 64 hold one exactly."
    assert verdict(five).headline == (
        "The traps copied finetuning records in 5 of 5 experiments: on average 50.8 (lowest 50, highest 52) of 64 "
        "hold one exactly."
    )
    assert "47 different records, 4.7% of the victim's 1,000; the largest error of any value is 7.0e-06" in said(one)[0]


@pytest.mark.parametrize(
    ("rows", "state", "says"),
    [
        (captured(0), "not-captured", "None of 64 traps held a finetuning record exactly. That does not show"),
        (captured(0), "not-captured", "accept no reading: it could not tell a record from a mixture"),
        (captured(0, 10, 0.0), "not-captured", "cannot rely on its own tests: 0 of the 10"),
        (captured(0, 4, 0.5), "captured", "but some held one up to rounding"),
        (captured(1, 1, 1.0), "captured", "1 of 64 holds one exactly"),
        (captured(30, 50, 0.2), "captured", "cannot rely on its own tests: 10 of the 50"),
    ],
)
def test_the_verdict_follows_what_was_captured_and_what_the_adversary_knows(rows, state, says):
    result = trapped.build(rows)
    assert verdict(result).state == state
    for text in said(result):
        assert says in text
        assert STAGED in text


def test_experiments_without_a_capture_are_counted(five):
    rows = [replace(m, value=0.0) if (m.metric, m.seed) == ("captured_exact", 3) else m for m in five.measurements]
    assert "in 4 of 5 experiments" in verdict(replace(five, measurements=tuple(rows))).headline


@pytest.mark.parametrize(("broken", "state", "says"), [
    (0, "captured", "In each of the 5 experiments the planted model ended at most 10 points below"),
    (2, "captured", "Finetuning broke down in 2 of 5 experiments (seeds 0, 1)"),
    (5, "captured-broken", "Every finetuning broke down, too."),
])  # fmt: skip
def test_a_collapse_is_said_and_fails_its_check(broken, state, says):
    result = trapped.several(5, broken)
    found = verdict(result)
    assert found.state == state
    assert found.checks[0].passed is (broken == 0)
    assert len(broken_of(result)) == broken
    for text in said(result):
        assert says in text
        assert ("broke down in" in text) is (broken > 0)
    assert f"{broken} of 5" in said(result)[1]
    assert ("broke down" in holdings(result).wide) is (broken > 0)


def test_a_single_experiment_that_broke_down_is_said():
    result = trapped.build(trapped.rows_of(0, accuracy=trapped.ACCURACY | {("planted", "after"): 0.1}))
    assert verdict(result).state == "captured-broken"
    for text in said(result):
        assert "Finetuning broke down: the planted model ended more than 10 points below" in text


def test_what_counts_as_broken_is_one():
    pytest.importorskip("torch")
    from undertow.audits.datatrap.rows import COLLAPSE

    assert COLLAPSE == BROKEN


def test_intervals_of_means_stay_within_what_is_possible():
    pytest.importorskip("torch")
    from undertow.audits.datatrap.rows import mean_rows

    counts = trapped.COUNTS | {"captured_exact": 64, "mixed": 0}
    rows = {m.metric: m for m in mean_rows([trapped.rows_of(0), trapped.rows_of(1, counts, error=9e-6)])}
    assert (rows["captured_exact"].high, rows["mixed"].low, rows["max_error"].low) == (64, 0, 0)
    assert rows["max_error"].high > 9e-6
    assert (rows["captured_unique"].low, rows["captured_unique"].high) == (None, None)  # both gave the same


def test_accuracy_is_compared_with_the_twin_where_finetuning_worked():
    result = trapped.several(5, 2)
    text = said(result)[0]
    assert "before finetuning -4.0 pp" in text
    assert "after it, where it did not break down, -1.0 pp" in text
    assert "whether that is noticed depends on what was expected" in text
    assert "whether that is noticed" not in said(trapped.several(3, 3))[0]


def test_the_gap_has_the_interval_of_its_seeds():
    runs = []
    for seed, after in enumerate((0.94, 0.92, 0.90)):
        runs.append(trapped.rows_of(seed, accuracy=trapped.ACCURACY | {("planted", "after"): after}))
    m = mean_gap(trapped.build(*runs), (0, 1, 2), "after")
    reach = 4.302652729911275 * 0.02 / np.sqrt(3)
    np.testing.assert_allclose((m.value, m.low, m.high), (-0.03, -0.03 - reach, -0.03 + reach), rtol=1e-9)


def test_what_one_more_experiment_would_find_is_wider_than_the_range_of_these(five):
    """50, 51, 52, 50, 51: mean 50.8, deviation .837; 2.776 x .837 x sqrt(1.2) = 2.5."""
    for text in said(five):
        assert "In one more experiment 48 to 54 traps would hold a record exactly, with probability 95%." in text
    two = trapped.build(*(trapped.rows_of(seed, trapped.COUNTS | {"captured_exact": 50 + seed}) for seed in (0, 1)))
    reach = 12.7062 * 0.5**0.5 * 1.5**0.5  # Student's t of one degree of freedom
    assert another(two, "captured_exact") == pytest.approx((50.5 - reach, min(64, 50.5 + reach)), abs=1e-3)


def test_one_experiment_or_five_that_agree_predict_nothing(one):
    assert another(one, "captured_exact") is None
    assert "In one more experiment" not in said(one)[0]
    alike = trapped.build(*(trapped.rows_of(seed) for seed in range(5)))
    assert another(alike, "captured_exact") is None


def test_every_experiment_is_a_line_on_the_screen(five):
    text = summary(five)
    assert max(map(len, text.splitlines())) <= 90
    for seed in range(5):
        assert re.search(rf"^  {seed} +64 +5[012] +47 +[789] +5 +52  100.0 \[93.0, 100.0\] +7.0e-06$", text, re.M)
        assert re.search(rf"^  {seed} +92.0 \[89.0, 95.0\] +96.0 \[", text, re.M)
    assert re.search(r"^  mean +64 +50.8 +47.0 +8.2 +5.0 +52.0 +100.0 +7.0e-06$", text, re.M)
    assert "exact [45.7, 53.3]" in text
    assert "VERDICT: Records were copied" in text


def test_every_number_is_in_the_page(five, one):
    text, found = spoken(page(five)), Tags(page(five))
    for seed in (*range(5), "mean"):
        assert page(five).count(f'<th scope="row">{seed}</th>') == 2
    assert "50.8 [45.7, 53.3]" in text
    assert "100.0% [93.0, 100.0]" in text
    assert "297 records" in text
    assert "th" in found.tags
    assert page(one).count('role="img"') == 1
    assert "no interval" not in spoken(page(one)).split("How to read")[0]


def test_a_metric_nobody_knew_is_shown_under_its_name(five):
    new = [("ssim", 0.9132, "0.913"), ("psnr", 31.46, "31.5 dB"), ("something_new", 0.871, "0.871")]
    rows = [Measurement("datatrap", name, x, None, None, 64, "traps", seed=s) for name, x, _ in new for s in range(5)]
    names = {"ssim": "SSIM", "psnr": "PSNR", "something_new": "something_new"}
    loss = Measurement("utility", "heldout_loss", 2.5, 2.4, 2.6, 9, "records", group="planted", when="after", seed=0)
    control = Measurement("datatrap", "captured_exact", 0.0, None, None, 64, "traps", group="clean_twin", seed=0)
    result = replace(five, measurements=(*five.measurements, *rows, loss), controls=(control,))
    for text in said(result):
        for name, _, shown in new:
            assert names[name] in text
            assert shown in text
        assert "2.500 nats [2.400, 2.600]" in text
        assert "captured_exact, clean" in text
    assert max(map(len, summary(result).splitlines())) <= 90
    assert verdict(result).headline == verdict(five).headline


def test_the_page_is_whole_and_asks_nothing_of_anyone(one, five, gallery):
    for html in (page(one), page(five, gallery=gallery)):
        found = Tags(html)
        assert "script" not in found.tags
        assert all(link.startswith(("#", "data:image/png;base64,")) for link in found.links)
        assert len(found.ids) == len(set(found.ids))
        assert not re.search(r"@import|url\((?!#)", html)
        assert not NOTHING & set(re.findall(r"\w+", spoken(html)))
    found = verdict(five)
    for line in (found.badge, found.headline, *found.sentences, *(c.text for c in found.checks), *five.warnings):
        assert all(line in text for text in said(five))
    assert "arXiv:2404.00473" in spoken(page(five))
    assert page(five, gallery=gallery) == page(five, gallery=gallery)
    assert page(five) == page(five)


def test_no_record_is_shown_unless_asked(one, gallery):
    assert "<img" not in page(one)
    assert "No reading is shown" in spoken(page(one))
    assert "digit-0" not in page(one)
    html = page(one, gallery=gallery)
    assert html.count("<img") == 2 * (trapped.TRAPS - 1)  # one trap holds nothing
    assert "No reading is shown" not in spoken(html)


def test_every_state_has_its_shelf_and_its_reason(one, gallery):
    assert [s.state for s in gallery.shown[:6]] == ["exact", "rounded", "wrong", "missed", "rejected", "nothing"]
    text = spoken(page(one, gallery=gallery))
    for state, n in (("exact", 59), ("rounded", 1), ("wrong", 1), ("missed", 1), ("rejected", 1), ("nothing", 1)):
        assert f"{STATES[state][0]}: {n}" in text
    assert "digit-1 trap 1, error 0.002" in text
    assert re.search(r"nearest: digit-\d+ trap 2, error", text)
    assert "digit-3 trap 3, error 0.01, pushed open" in text
    assert re.search(r"nearest: digit-\d+ trap 4, between grey levels: several records mixed", text)
    assert "Trap 5." in text


def test_a_large_gallery_is_cut_and_says_so(one):
    candidates, found, records, ids = trapped.read(traps=100)
    text = spoken(page(one, gallery=image_gallery(7, candidates, found, records, ids, (8, 8))))
    assert "The first 64 of 100 traps of seed 7" in text
    assert "trap 63," in text
    assert "trap 64," not in text


def test_a_picture_is_of_its_record_in_grey_and_in_color():
    from io import BytesIO

    from PIL import Image

    for shape in ((8, 8), (1, 8, 8), (3, 4, 4)):
        candidates, found, records, ids = trapped.read(shape)
        shown = image_gallery(0, candidates, found, records, ids, shape).shown[0]
        drawn = np.asarray(Image.open(BytesIO(shown.true.png)))
        assert shown.read.png == shown.true.png
        expected = np.moveaxis(records[0], 0, -1) if shape[0] == 3 else records[0].reshape(shape[-2:])
        np.testing.assert_array_equal(drawn, np.round(255 * expected))
    with pytest.raises(BadInput, match="no images of shape"):
        image_gallery(0, candidates, found, records, ids, (5, 5))


def test_a_text_marks_its_wrong_tokens(one):
    candidates, found, _, ids = trapped.read()
    records = [["the", "cat", f"no{i}", "sat"] for i in range(trapped.RECORDS)]
    read = [list(records[n]) for n in found.nearest]
    read[1][2], read[3] = None, ["the", "dog"]
    shown = text_gallery(0, candidates, found, read, records, ids)
    assert shown.of_texts
    assert shown.shown[0].read.wrong == 0
    assert shown.shown[1].read.tokens[2] == (LACKING, True)
    assert shown.shown[3].read == Words((("the", False), ("dog", True), (LACKING, True), (LACKING, True)))
    assert shown.shown[3].note == "3 of 4 tokens wrong, pushed open"
    html = page(one, gallery=shown)
    assert html.count("<mark>") == 4
    assert "<mark>dog</mark>" in html
    assert "<img" not in html


def test_a_gallery_of_unknown_state_cannot_be_built():
    with pytest.raises(BadInput, match="none of exact"):
        Shown(0, "fine", "")


def test_names_from_files_are_escaped(five, gallery):
    seeds = dict.fromkeys(range(5), EVIL)
    rows = tuple(replace(m, warning=EVIL, reason=EVIL, seed=seeds.get(m.seed, m.seed)) for m in five.measurements)
    rows += (Measurement("datatrap", EVIL, 1.0, None, None, 1, EVIL, group=EVIL, seed=EVIL),)
    result = replace(
        five, measurements=rows, warnings=(EVIL,), data={"name": EVIL}, config={EVIL: EVIL}, environment={EVIL: EVIL}
    )
    shown = tuple(replace(one, record=EVIL, note=EVIL) for one in gallery.shown)
    texts = tuple(Shown(k, "wrong", EVIL, EVIL, *[Words(((EVIL, True),))] * 2) for k in range(3))
    for one in (Gallery(0, shown), Gallery(0, texts), None):
        found = Tags(page(result, gallery=one))
        assert "script" not in found.tags
        assert all(a.get("src", "").startswith("data:image/png") for a in found.attributes if "src" in a)
        assert not any(name.startswith("on") for a in found.attributes for name in a)
    odd = replace(result, measurements=tuple(replace(m, seed=chr(27), metric=m.metric + chr(27)) for m in rows))
    assert chr(27) not in summary(odd)


def test_missing_rows_do_not_crash(one, five):
    bare = replace(one, measurements=(), timing={}, config={}, data={}, warnings=())
    for text in said(bare):
        assert "Nothing can be said" in text
        assert "There is no experiment" in text
    assert holdings(bare) is None
    for result in (one, five):
        for metric in {m.metric for m in result.measurements}:
            left = replace(result, measurements=tuple(m for m in result.measurements if m.metric != metric))
            for text in said(left):
                assert not NOTHING & set(re.findall(r"\w+", text))
        for rest in ({"seed": None}, {"group": None, "when": None}):
            assert said(replace(result, measurements=tuple(replace(m, **rest) for m in result.measurements)))
    lone = replace(bare, measurements=one.measurements[1:2])
    assert "50 hold one exactly" in verdict(lone).headline
    assert all("50" in text for text in said(lone))


def test_without_accuracy_a_collapse_is_not_ruled_out(one):
    rows = tuple(m for m in one.measurements if m.metric != "accuracy")
    found = verdict(replace(one, measurements=rows))
    assert found.checks[0].passed is None
    assert not any("Accuracy" in line for line in found.sentences)


def test_the_order_of_the_rows_changes_nothing(one):
    again = replace(one, measurements=tuple(reversed(one.measurements)))
    assert summary(again) == summary(one)
    assert page(again) == page(one)


def test_experiments_are_told_from_their_mean(five):
    assert seeds_of(five) == (0, 1, 2, 3, 4)
    assert verdict(five).checks[1].passed is None
    assert verdict(trapped.several(8)).checks[1].passed is True


def test_the_index_names_it(one, five):
    text = spoken(index_page({"datatrap/report.html": one, "other.html": five}))
    assert verdict(one).headline in text
    assert "Traps that hold a record exactly 50 of 64 traps; one experiment" in text
    assert "Records were copied" in text


def test_a_frozen_layer_is_said_first():
    why = "the finetuning left the layer that holds the traps as it was: nothing can be written into it"
    counts = {"traps": 8, "captured_exact": 0, "captured_unique": 0, "mixed": 0, "none": 8, "accepted": 0}
    rows = tuple(
        Measurement(
            "datatrap", metric, float(n), None, None, 8, "traps", seed=0, warning=why * (metric == "none") or None
        )
        for metric, n in counts.items()
    )
    frozen = AuditResult("datatrap", {}, 0, {}, {"name": "digits"}, rows, {})
    assert "left the layer that holds them as it was" in verdict(frozen).headline
    open_ = replace(frozen, measurements=tuple(replace(m, warning=None) for m in rows))
    assert "left the layer" not in verdict(open_).headline


def test_adapters_hold_a_shadow_and_the_headline_says_so(one):
    exact = captured(0, accepted=10, precision=0.5)
    named = [
        Measurement("datatrap", metric, n, None, None, 64, "traps", seed=0)
        for metric, n in (("identified", 17.0), ("identified_blind", 2.0))
    ]
    told = verdict(replace(one, measurements=(*exact, *named)))
    assert "candidates can tell 17 records" in told.headline
    assert any("the prior alone would name 2." in sentence for sentence in told.sentences)
    assert "rounding" not in told.headline
