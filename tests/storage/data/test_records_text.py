"""Text records: each text once, and errors that name the file and the line."""

import gzip
import json

import pytest

from undertow.storage.data.records_text import TextRecords, jsonl_records, known_records
from undertow.types import BadInput


def write(path, *rows):
    lines = "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows)
    raw = lines.encode() if isinstance(lines, str) else lines
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return path


@pytest.mark.parametrize("name", ["mine.jsonl", "mine.jsonl.gz"])
def test_a_users_file(tmp_path, name):
    path = write(tmp_path / name, {"text": "first"}, "", {"text": "two\u2028lines", "x": 1}, {"text": "last "}, "")
    records = jsonl_records(path)
    assert records == TextRecords("mine", ("first", "two\u2028lines", "last "), ("line-1", "line-3", "line-4"))
    assert len(records) == 3


def test_another_field_and_a_byte_order_mark(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"body": "a b"}\r\n{"body": "c d"}\r\n')
    assert jsonl_records(path, "body").texts == ("a b", "c d")


def test_repeated_texts_are_left_out_and_told(tmp_path):
    path = write(tmp_path / "mine.jsonl", *({"text": t, "kind": k} for t, k in zip("abab", (1, 2, 3, 2), strict=True)))
    records = jsonl_records(path, group="kind")
    assert (records.texts, records.ids, records.groups) == (("a", "b"), ("line-1", "line-2"), ("1", "2"))
    note = "2 of 4 texts repeat another and were left out (the first: line 3 repeats line 1)"
    assert records.notes == (note,)


BAD = {
    "no JSON": ('{"text": ', "line 2: no JSON"),
    "nested beyond reason": ("[" * 100_000, "line 2: no JSON"),
    "a list": ("[1]", "line 2: list found; each line must be one JSON object"),
    "a string": ('"text"', "line 2: str found"),
    "no such field": ('{"body": "x", "id": 3}', "line 2: field 'text' is missing; it has body, id"),
    "an empty object": ("{}", "line 2: field 'text' is missing; it has none"),
    "a number": ('{"text": 3}', "line 2: field 'text' must be a text, found 3"),
    "null": ('{"text": null}', "line 2: field 'text' must be a text, found None"),
    "only blanks": ('{"text": " \\n"}', "line 2: field 'text' must be a text"),
    "half a surrogate pair": ('{"text": "\\ud800"}', "line 2: field 'text' holds half a surrogate pair"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_line_is_named_in_one_line(tmp_path, case):
    line, said = BAD[case]
    with pytest.raises(BadInput) as caught:
        jsonl_records(write(tmp_path / "mine.jsonl", {"text": "fine"}, line))
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'mine.jsonl'}, line 2")
    assert said in message
    assert "\n" not in message


def test_bad_files_are_named(tmp_path):
    (tmp_path / "latin.jsonl").write_bytes('{"text": "é"}'.encode("latin-1"))
    (tmp_path / "broken.jsonl.gz").write_bytes(gzip.compress(b'{"text": "x"}' * 50)[:-12])
    (tmp_path / "plain.jsonl.gz").write_bytes(b'{"text": "x"}')
    (tmp_path / "empty.jsonl").touch()
    said = {
        "absent.jsonl": "no such file",
        "latin.jsonl": "is not UTF-8 text",
        "broken.jsonl.gz": "cannot be read",
        "plain.jsonl.gz": "cannot be read",
        "empty.jsonl": "no texts",
    }
    for name, message in said.items():
        with pytest.raises(BadInput, match=message) as caught:
            jsonl_records(tmp_path / name)
        assert name.partition(".")[0] in str(caught.value)
    with pytest.raises(BadInput, match="field 'kind' is missing"):
        jsonl_records(write(tmp_path / "mine.jsonl", {"text": "x"}), group="kind")


def test_known_sets_are_found_in_a_folder_or_in_its_folder_text(tmp_path):
    for folder in (tmp_path, tmp_path / "text"):
        folder.mkdir(exist_ok=True)
        path = write(folder / "ai4privacy_1000.jsonl.gz", {"text": f"in {folder.name}"})
        assert known_records("ai4privacy", str(tmp_path)).texts == (f"in {folder.name}",)
        path.unlink()
    with pytest.raises(BadInput, match=r"no ai4privacy_1000\.jsonl\.gz there"):
        known_records("ai4privacy", str(tmp_path))
    with pytest.raises(BadInput, match="no text set is known as 'enron'; known: ai4privacy, presidio"):
        known_records("enron", str(tmp_path))


def test_the_real_sets(shared_data):
    ai4privacy, presidio = (known_records(name, str(shared_data)) for name in ("ai4privacy", "presidio"))
    assert (len(ai4privacy), ai4privacy.notes, ai4privacy.groups) == (1000, (), ())
    assert (len(presidio), len(set(presidio.groups))) == (1392, 209)
    assert presidio.notes[0].startswith("108 of 1500 texts repeat another")
    assert len(presidio.groups) == len(presidio.ids) == len(presidio)
