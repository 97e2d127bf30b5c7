"""Text records: each text once, and errors that name the file and the line."""

import gzip
import json

import pytest

from undertow.sources.records.conversations import Template
from undertow.sources.records.records_text import TextRecords, known_records, text_records
from undertow.sources.records.text_files import holds_texts
from undertow.types import BadInput


def write(path, *rows):
    lines = "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows)
    raw = lines.encode() if isinstance(lines, str) else lines
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return path


@pytest.mark.parametrize("name", ["mine.jsonl", "mine.jsonl.gz"])
def test_a_users_file(tmp_path, name):
    path = write(tmp_path / name, {"text": "first"}, "", {"text": "two\u2028lines", "x": 1}, {"text": "last "}, "")
    records = text_records(path)
    assert records == TextRecords("mine", ("first", "two\u2028lines", "last "), ("line-1", "line-3", "line-4"))
    assert len(records) == 3


def test_another_field_and_a_byte_order_mark(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"body": "a b"}\r\n{"body": "c d"}\r\n')
    assert text_records(path, "body").texts == ("a b", "c d")


def test_repeated_texts_are_left_out_and_told(tmp_path):
    path = write(tmp_path / "mine.jsonl", *({"text": t, "kind": k} for t, k in zip("abab", (1, 2, 3, 2), strict=True)))
    records = text_records(path, group="kind")
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
    "half a surrogate pair": ('{"text": "\\ud800"}', "line 2: field 'text' holds half a surrogate pair"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_line_is_named_in_one_line(tmp_path, case):
    line, said = BAD[case]
    with pytest.raises(BadInput) as caught:
        text_records(write(tmp_path / "mine.jsonl", {"text": "fine"}, line))
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
            text_records(tmp_path / name)
        assert name.partition(".")[0] in str(caught.value)
    with pytest.raises(BadInput, match="field 'kind' is missing"):
        text_records(write(tmp_path / "mine.jsonl", {"text": "x"}), group="kind")


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


def test_empty_texts_are_counted_and_skipped(tmp_path):
    path = write(tmp_path / "mine.jsonl", {"text": "a"}, {"text": ""}, {"text": None}, {"text": " \n"}, {"text": "b"})
    records = text_records(path)
    assert records.texts == ("a", "b")
    assert records.ids == ("line-1", "line-5")
    assert records.notes == ("3 of 5 texts of mine.jsonl are empty and were left out",)


TEXTS = ("one, two", 'three "four"', "five\nsix")


def formats(folder):
    """The same texts in every format."""
    import csv as table

    rows = [{"text": text, "kind": str(i)} for i, text in enumerate(TEXTS)]
    write(folder / "lines.jsonl", *rows)
    write(folder / "packed.jsonl.gz", *rows)
    (folder / "list.json").write_text(json.dumps(rows))
    (folder / "under.json").write_text(json.dumps({"version": 1, "data": rows}))
    (folder / "columns.json").write_text(json.dumps({"text": list(TEXTS), "kind": ["0", "1", "2"]}))
    for name, mark in (("comma.csv", ","), ("semicolon.csv", ";"), ("tab.tsv", "\t")):
        with (folder / name).open("w", newline="") as file:
            writer = table.DictWriter(file, ["text", "kind"], delimiter=mark)
            writer.writeheader()
            writer.writerows(rows)
    (folder / "packed.csv.gz").write_bytes(gzip.compress((folder / "comma.csv").read_bytes()))
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns = pyarrow.table({"text": list(TEXTS), "kind": ["0", "1", "2"]})
    parquet.write_table(columns, folder / "table.parquet")
    for name in ("saved", "splits/train", "splits/test"):
        (folder / name).mkdir(parents=True)
        with pyarrow.OSFile(str(folder / name / "data-00000-of-00001.arrow"), "wb") as sink, \
                pyarrow.ipc.new_stream(sink, columns.schema) as out:  # fmt: skip
            out.write_table(columns if "test" not in name else columns.slice(0, 1))
        state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_split": None}
        (folder / name / "state.json").write_text(json.dumps(state))
    (folder / "splits" / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "test"]}))
    (folder / "files").mkdir()
    for i, text in enumerate(TEXTS):
        (folder / "files" / f"{i}.txt").write_text(text)
    return sorted(path for path in folder.iterdir())


def test_every_format_gives_the_same_texts(tmp_path):
    for path in formats(tmp_path):
        records = text_records(path, label="" if path.name == "files" else "kind")
        assert records.texts == TEXTS, path.name
        assert records.labels == (() if path.name == "files" else ("0", "1", "2")), path.name
        assert holds_texts(path)


def test_lines_of_a_text_file_are_texts(tmp_path):
    (tmp_path / "mine.txt").write_bytes("first\r\n\r\nsecond\u2028still\n".encode())
    records = text_records(tmp_path / "mine.txt")
    assert (records.texts, records.ids) == (("first", "second\u2028still"), ("line-1", "line-3"))


def test_a_folder_of_shards_is_read_in_order(tmp_path):
    for i, text in enumerate("ab"):
        write(tmp_path / f"part-{i}.jsonl", {"body": text})
    records = text_records(tmp_path, "body")
    assert (records.texts, records.ids) == (("a", "b"), ("part-0-line-1", "part-1-line-1"))


DIAGNOSES = {
    "array.jsonl": ('[\n{"text": "a"}\n]', "this looks like one JSON document: name it .json"),
    "prose.jsonl": ("Once upon a time", "this looks like plain text or csv"),
    "lines.json": ('{"text": "a"}\n{"text": "b"}', "one object a line is .jsonl"),
    "number.json": ("3", "a list of objects or texts is needed"),
    "mixed.json": ('[{"text": "a"}, 3]', "record 2: int found"),
    "short.csv": ("text,kind\na,1\nb\n", "line 3: 1 cells"),
    "other.csv": ("body;kind\na;1\n", "field 'text' is missing; it has body, kind (another one: --field NAME)"),
    "open.csv": ('text\n"a\n', "is no csv"),
    "binary.txt": ("a\0b", "is binary"),
    "table.parquet": ("no table", "cannot be read as parquet"),
    "ragged.json": ('{"text": ["a", "b"], "kind": [1]}', "different lengths"),
    "thing.pdf": ("%PDF", "is no file of texts; texts come as"),
}


@pytest.mark.parametrize("name", DIAGNOSES)
def test_the_diagnosis_is_the_right_one(tmp_path, name):
    content, says = DIAGNOSES[name]
    (tmp_path / name).write_text(content)
    with pytest.raises(BadInput) as caught:
        text_records(tmp_path / name)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


CHAT = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Ada."}]
TEMPLATE = Template(
    "{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}",
    {"bos_token": "<s>"},
)


def test_conversations_are_written_by_the_models_template(tmp_path):
    path = write(tmp_path / "chat.jsonl", {"messages": CHAT}, {"messages": CHAT[:1]})
    records = text_records(path, template=TEMPLATE)
    assert records.texts == ("<s><user>Who?</s><assistant>Ada.</s>", "<s><user>Who?</s>")
    assert records.texts[0][records.asked[0] :] == "Ada.</s>"
    assert records.asked[1] == 0
    assert records.notes == ("the loss of 1 conversations is of the last answer",)
    plain = text_records(path)
    assert plain.texts[0] == "user: Who?\nassistant: Ada.\n"
    assert plain.texts[0][plain.asked[0] :] == "Ada.\n"


def test_prompts_and_completions(tmp_path):
    path = write(tmp_path / "pairs.jsonl", {"prompt": "Who? ", "completion": "Ada."},
                 {"prompt": CHAT[:1], "completion": CHAT[1:]})  # fmt: skip
    records = text_records(path)
    assert records.texts[0] == "Who? Ada."
    assert records.asked[0] == 5
    assert records.texts[1] == "user: Who?\nassistant: Ada.\n"
    assert text_records(path, template=TEMPLATE).texts[0] == "<s><user>Who? </s><assistant>Ada.</s>"


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"messages": []}, "'messages' must be a list"),
        ({"messages": [{"role": "user"}]}, "a message needs 'role' and 'content'"),
        ({"prompt": "a", "completion": ["b"]}, "must both be texts"),
        ({"prompt": "a"}, "field 'text' is missing; it has prompt"),
    ],
)
def test_what_is_no_conversation_is_named_by_line(tmp_path, row, says):
    with pytest.raises(BadInput, match=f"line 1: .*{says}"):
        text_records(write(tmp_path / "chat.jsonl", row))


@pytest.mark.parametrize(
    "source", ["{{ ''.__class__.__mro__ }}", "{% for i in x %}", "{{ raise_exception('no system') }}"]
)
def test_a_template_reaches_nothing_and_its_refusal_is_one_line(tmp_path, source):
    path = write(tmp_path / "chat.jsonl", {"messages": CHAT})
    with pytest.raises(BadInput, match="the model's chat template cannot write this conversation"):
        text_records(path, template=Template(source))
