"""Every audit's text and page, whole, against what is kept; and numbers computed anew against those kept.

Where a difference is meant: run `python tests/golden/goldens.py`, look at `git diff tests/golden`, and name it in the
changelog.
"""

import json
import math
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import goldens

from undertow.report.reading import READINGS


def test_every_kind_of_audit_is_kept():
    """`score` and `model` are read as `mia` is; `epsilon` has its own golden sentences."""
    assert set(READINGS) - {"score", "model", "epsilon"} == set(goldens.COMMANDS)


def test_texts_and_pages_are_those_kept():
    told = dict(goldens.readings())
    assert len(told) == 2 * len(goldens.COMMANDS)
    for file, text in told.items():
        assert text.splitlines() == (HERE / file).read_text(encoding="utf8").splitlines(), file


def same(a, b):
    """Equal, with numbers to 1e-9: closed forms and ranks of stored values, on any machine."""
    if isinstance(a, float) and isinstance(b, float | int):
        return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12)
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def test_numbers_are_those_kept(tmp_path):
    kept = json.loads((HERE / "numbers.json").read_text(encoding="utf8"))
    for name, rows in goldens.numbers(tmp_path):
        now = json.loads(json.dumps(rows))
        if not same(now, kept[name]):
            assert now == kept[name]


@pytest.mark.parametrize("file", ["mia.page.txt", "mia.text.txt"])
def test_a_changed_number_is_a_difference(file, monkeypatch):
    """The goldens see one digit of one row."""
    from dataclasses import replace

    from undertow.storage import results

    load = results.load_result

    def moved(path):
        result = load(path)
        rows = list(result.measurements)
        rows[0] = replace(rows[0], value=rows[0].value - 0.01)
        return replace(result, measurements=tuple(rows))

    monkeypatch.setattr(results, "load_result", moved)
    assert dict(goldens.readings())[file] != (HERE / file).read_text(encoding="utf8")
