"""The pages in a real browser, offline: no error, no request, nothing runs over, text large enough."""

import shutil

import numpy as np
import pytest
from tests.report import poisoned, scanned, trapped

from undertow.report.datatrap.gallery import image_gallery, text_gallery
from undertow.report.datatrap.pictures import Picture, picture
from undertow.report.html import index_page, page

WIDTHS = (1280, 760, 400, 320)
ARGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
ARGS += ["--disable-component-update", "--disable-sync"]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
TEXT_HEIGHT = 9  # CSS pixels: smaller is not read


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} on the path")
    with api.sync_playwright() as play:
        running = play.chromium.launch(executable_path=found, args=ARGS)
        yield running
        running.close()


def pictures():
    candidates, found, records, ids = trapped.read()
    return image_gallery(0, candidates, found, records, ids, (8, 8))


def texts():
    """Long tokens and long names are part of it."""
    candidates, found, _, ids = trapped.read()
    records = [["the", "Rindfleischetikettierung" * 4, f"{i}"] for i in range(trapped.RECORDS)]
    read = [["a", *records[n][1:]] for n in found.nearest]
    return text_gallery(0, candidates, found, read, records, [f"{'x' * 90}-{i}" for i in ids])


@pytest.fixture(scope="module")
def pages(tmp_path_factory, tmi, mia, null):
    """One of every kind; a long name and a long value are part of it."""
    folder = tmp_path_factory.mktemp("pages")
    png = picture(np.arange(64, dtype=np.uint8).reshape(8, 8) * 3)
    made = {
        "tmi": page(tmi, {i: Picture(f"{i}, label 3", png) for i in tmi.ids}),
        "mia": page(mia),
        "null": page(null),
        "poisoning": page(poisoned.many()),
        "verdict": page(poisoned.judged()),
        "datatrap": page(trapped.several(5, 1), gallery=pictures()),
        "texts": page(trapped.build(), gallery=texts()),
        "scan": scanned.long_names(),
        "index": index_page({"tmi.html": tmi, "mia.html": mia, "x" * 120 + ".html": null}),
    }
    for name, html in made.items():
        (folder / f"{name}.html").write_text(html, encoding="utf8")
    return folder


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["tmi", "mia", "null", "poisoning", "verdict", "datatrap", "texts", "scan", "index"])
def test_a_page_opens_offline_and_stays_in_its_window(browser, pages, name, width):
    address = (pages / f"{name}.html").as_uri()
    tab = browser.new_page(viewport={"width": width, "height": 900}, offline=True)
    problems, asked = [], []
    tab.on("console", lambda message: problems.append(message.text))
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.on("requestfailed", lambda request: problems.append(request.url))
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(address)
    over = tab.evaluate("document.scrollingElement.scrollWidth - document.scrollingElement.clientWidth")
    spilt = tab.evaluate(SPILT)
    tab.close()
    assert problems == []
    assert [url for url in asked if not url.startswith("data:image/png;base64,")] == [address]
    assert over <= 0
    assert spilt == []


# What sticks out of the window, other than inside a box that scrolls by itself.
SPILT = """() => [...document.querySelectorAll('main *')]
  .filter(e => !e.closest('.scroll') && e.getBoundingClientRect().right > window.innerWidth + 0.5)
  .filter(e => !e.closest('svg')).map(e => e.outerHTML.slice(0, 80))"""

CHARTS = """() => [...document.querySelectorAll('[role=img]')].map(figure => {
  const shown = [...figure.querySelectorAll('svg')].filter(svg => svg.getBoundingClientRect().width > 0);
  const svg = shown[0], box = svg.getBoundingClientRect();
  const texts = [...svg.querySelectorAll('text')].map(t => {
    const b = t.getBoundingClientRect(), turned = /rotate\\((-90|90)/.test(t.outerHTML);
    return {text: t.textContent, height: turned ? b.width : b.height, left: b.left, right: b.right, top: b.top,
            bottom: b.bottom};
  });
  return {shown: shown.length, width: box.width, height: box.height, left: box.left, right: box.right,
          top: box.top, bottom: box.bottom, texts};
})"""


CHARTED = [("tmi", 3), ("mia", 2), ("poisoning", 3), ("verdict", 1), ("datatrap", 1)]


@pytest.mark.parametrize("width", WIDTHS[:3])
@pytest.mark.parametrize(("name", "charts"), CHARTED)
def test_charts_are_seen_and_their_text_is_read(browser, pages, name, charts, width):
    tab = browser.new_page(viewport={"width": width, "height": 900}, offline=True)
    tab.goto((pages / f"{name}.html").as_uri())
    found = tab.evaluate(CHARTS)
    tab.close()
    assert len(found) == charts
    for chart in found:
        assert chart["shown"] == 1
        assert len(chart["texts"]) > 8
        assert chart["width"] > 250
        assert chart["height"] > 150
        assert chart["right"] <= width
        for text in chart["texts"]:
            assert text["height"] >= TEXT_HEIGHT, text
            assert chart["left"] - 1 <= text["left"], text
            assert text["right"] <= chart["right"] + 1, text
            assert chart["top"] - 1 <= text["top"] <= text["bottom"] <= chart["bottom"] + 1, text
        assert overlaps(chart["texts"]) == []


def overlaps(texts):
    """Pairs of texts that cover each other by more than the gap between two lines."""
    pairs = [(a, b) for i, a in enumerate(texts) for b in texts[i + 1 :]]
    return [
        (a["text"], b["text"]) for a, b in pairs if shared(a, b, "left", "right") > 2 < shared(a, b, "top", "bottom")
    ]


def shared(a, b, low, high):
    return min(a[high], b[high]) - max(a[low], b[low])


def test_the_table_scrolls_in_its_own_box(browser, pages):
    tab = browser.new_page(viewport={"width": 400, "height": 900}, offline=True)
    tab.goto((pages / "tmi.html").as_uri())
    box = tab.evaluate("(() => {const e = document.querySelector('.scroll'); return [e.scrollWidth, e.clientWidth]})()")
    first = "document.querySelector('.numbers tr.best th').getBoundingClientRect().left"
    before = tab.evaluate(first)
    tab.evaluate("document.querySelector('.scroll').scrollLeft = 200")
    assert box[0] > box[1]
    assert abs(tab.evaluate(first) - before) < 20  # the name stays in sight
    tab.close()


def test_print_shows_one_shape_of_each_chart_and_cuts_nothing(browser, pages):
    tab = browser.new_page(viewport={"width": 718, "height": 1000}, offline=True)  # A4 less its margins
    tab.emulate_media(media="print")
    tab.goto((pages / "tmi.html").as_uri())
    assert [chart["shown"] for chart in tab.evaluate(CHARTS)] == [1, 1, 1]
    assert tab.evaluate("document.scrollingElement.scrollWidth - document.scrollingElement.clientWidth") <= 0
    tab.screenshot(path=str(pages / "print.png"), full_page=True)
    tab.close()
