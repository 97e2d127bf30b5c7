"""Made-up personal records: the same on every day for a seed, never twice, the templates in turn."""

import re
import sys
import time

import pytest

pytest.importorskip("faker")

from undertow.sources.records.pii import TEMPLATES, pii_records
from undertow.types import BadInput, MissingExtra


def test_a_seed_gives_the_same_records_and_more_of_them_begin_alike():
    few, many = pii_records(40, 3), pii_records(200, 3)
    assert few == pii_records(40, 3)
    assert many.texts[:40] == few.texts
    assert many.groups[:40] == few.groups
    assert not set(many.texts) & set(pii_records(200, 4).texts)


def test_no_record_occurs_twice_and_all_are_filled():
    records = pii_records(400, 0)
    assert len(set(records.texts)) == len(records) == len(set(records.ids)) == len(records.groups) == 400
    assert not any(re.search(r"[{}\n]", text) for text in records.texts)
    assert [records.groups.count(f"template-{i}") for i in range(len(TEMPLATES))] == [50] * 8


def test_a_text_is_of_its_template():
    records = pii_records(64, 1)
    for text, group in zip(records.texts, records.groups, strict=True):
        fixed = re.split(r"\{\w+\}", TEMPLATES[int(group.partition("-")[2])])
        assert re.fullmatch(".+".join(re.escape(part) for part in fixed), text)


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="time zones cannot be changed here")
def test_the_time_zone_and_the_global_generator_change_nothing(monkeypatch):
    import random

    before = pii_records(32, 0)
    state = random.getstate()
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    time.tzset()
    try:
        assert pii_records(32, 0) == before
    finally:
        monkeypatch.undo()
        time.tzset()
    assert random.getstate() == state


def test_the_notes_say_how_to_make_them_again():
    note = pii_records(1, 7, locale="de_DE").notes[0]
    assert re.fullmatch(r"made up by Faker [\d.]+, locale de_DE, seed 7", note)


def test_what_cannot_be_made_is_said(monkeypatch):
    with pytest.raises(BadInput, match="0 PII records"):
        pii_records(0, 0)
    with pytest.raises(BadInput, match="Faker has no locale 'xx_XX'"):
        pii_records(1, 0, locale="xx_XX")
    monkeypatch.setitem(sys.modules, "faker", None)
    with pytest.raises(MissingExtra, match=r"undertow\[pii\]"):
        pii_records(1, 0)
