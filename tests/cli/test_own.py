"""The user's own training from the shell: a script, a command, their files, and what is refused in one line."""

import gzip
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "e2e"))
from commands import undertow

from undertow.audits.own.pool import as_pool
from undertow.sources.records.record_files import read_own
from undertow.types import AuditError
from undertow.workflows.own_command import Command, _read, identity_of, words
from undertow.workflows.own_script import load_function, load_pool

SCRIPT = """
import numpy as np

def train(records, seed):
    rng = np.random.RandomState(seed)
    seen = {row.tobytes() for row in records.x}
    def predict(x):
        inside = np.array([row.tobytes() in seen for row in x])
        return rng.normal(size=(len(x), 2)) + 2 * inside[:, None] * np.array([-1, 1])
    return predict

def pretrain(records, seed):
    return {row.tobytes() for row in records.x}

def finetune(model, seed):
    rng = np.random.RandomState(seed)
    return lambda x: rng.normal(size=(len(x), 3)) + 3 * np.outer([r.tobytes() in model for r in x], [-1, 0, 1])

def broken(records, seed):
    return 1 / 0

def records():
    return {"x": np.random.RandomState(0).normal(size=(40, 3)), "y": np.arange(40) % 2, "group": np.arange(40) // 2}

def odd():
    return {"x": [1], "labels": [1]}

def empty():
    raise RuntimeError("no such table")

constant = 3
"""
COMMAND = """
import sys
import numpy as np
rows, out, seed = np.loadtxt(sys.argv[1], dtype=int), sys.argv[2], int(sys.argv[3])
if seed < 0 or rows.max() >= 40:
    sys.exit("impossible")
z = np.random.RandomState(seed).normal(size=(40, 2))
z[rows, 1] += 2
np.save(out, z)
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "own_script_of_a_test.py").write_text(SCRIPT)
    (tmp_path / "command.py").write_text(COMMAND)
    rng = np.random.RandomState(0)
    x, y = rng.normal(size=(40, 3)), np.arange(40) % 2
    np.savez(tmp_path / "own.npz", x=x, y=y, id=[f"r{i}" for i in range(40)], group=np.arange(40) // 2)
    lines = [f"{a:.6f},{b:.6f},{'yes' if k else 'no'},p{i // 2}" for i, ((a, b, _), k) in enumerate(zip(x, y))]
    (tmp_path / "own.csv").write_text("\n".join(["age,income,label,person", *lines]) + "\n")
    return tmp_path


SCRIPT_AT = "own_script_of_a_test.py"


def test_a_script_is_audited_and_the_page_says_whose_training_it_was(folder):
    arguments = ["audit", "mia", "--train", f"{SCRIPT_AT}:train", "--data", f"{SCRIPT_AT}:records"]
    code, said, wrong = undertow(*arguments, "--shadows", 8, "--out", "run", cwd=folder)
    assert code == 0, wrong
    assert "Your own training, 8 runs of it, in 4 complementary pairs" in " ".join(said.split())
    assert "The records form 20 groups." in " ".join(said.split())
    assert "Your own training, 8 runs of it" in (folder / "run" / "report.html").read_text()
    held = json.loads((folder / "run" / "result.json").read_text())
    assert held["environment"]["own training"]["trained"] == f"{SCRIPT_AT}:train"
    assert held["environment"]["own training"]["identity known"] is True
    code, said, _ = undertow(*arguments, "--shadows", 8, "--out", "run", "--plan", cwd=folder)
    assert code == 0
    assert "8 answers are in the store, so 0 are to be run" in said


def test_a_command_is_audited_with_the_same_dealing(folder):
    command = f"{sys.executable} command.py {{rows}} {{out}} {{seed}}"
    code, said, wrong = undertow(
        "audit", "mia", "--train-cmd", command, "--data", "own.csv", "--shadows", 8, "--out", "run", cwd=folder
    )
    assert code == 0, wrong
    assert "VERDICT: Leak shown" in said
    assert "what command.py reads and imports could not be read" in " ".join(said.split())
    assert "The labels were numbered in sorted order: no = 0, yes = 1." in " ".join(said.split())


MEMORISES = """
import sys
import numpy as np
rows, out = np.loadtxt(sys.argv[1], dtype=int), sys.argv[2]
x = np.load("copies.npz")["x"]
seen = {row.tobytes() for row in x[rows]}
inside = np.array([row.tobytes() in seen for row in x])
np.save(out, inside + 0.0)
"""


@pytest.mark.parametrize("first", [False, True])
def test_rows_of_a_command_are_those_of_the_file_where_copies_are_left_out(folder, first):
    """A model that memorises its own rows tells members perfectly; with rows of another numbering it could not."""
    rng = np.random.RandomState(1)
    x = rng.normal(size=(40, 3))
    order = np.r_[np.arange(5), np.arange(40)] if first else np.r_[np.arange(40), 3:9]
    np.savez(folder / "copies.npz", x=x[order])
    (folder / "memorises.py").write_text(MEMORISES)
    command = f"{sys.executable} memorises.py {{rows}} {{out}}"
    code, _, wrong = undertow(
        "audit", "mia", "--train-cmd", command, "--data", "copies.npz", "--drop-duplicates", "--shadows", 8, "--out",
        "run", "--quiet", cwd=folder,
    )  # fmt: skip
    assert code == 0, wrong
    held = json.loads((folder / "run" / "result.json").read_text())
    assert max(m["value"] for m in held["measurements"] if m["metric"] == "auc" and "group" not in m) == 1.0


def test_two_stages_are_audited(folder):
    stages = ["--pretrain", f"{SCRIPT_AT}:pretrain", "--finetune", f"{SCRIPT_AT}:finetune"]
    arguments = ["audit", "tmi", *stages, "--data", "own.npz", "--shadows", 8, "--out", "run"]
    code, said, wrong = undertow(*arguments, cwd=folder)
    assert code == 0, wrong
    assert "Membership in your pretraining data (tmi)" in said
    code, _, wrong = undertow("audit", "tmi", *stages[:2], "--data", "own.npz", "--out", "other", cwd=folder)
    assert code == 2
    assert "--finetune is missing" in wrong


def test_an_error_of_the_script_keeps_its_traceback_and_names_the_training(folder):
    code, _, wrong = undertow(
        "audit", "mia", "--train", f"{SCRIPT_AT}:broken", "--data", "own.npz", "--out", "run", cwd=folder
    )
    assert code == 2
    assert "in broken" in wrong
    assert "ZeroDivisionError: division by zero" in wrong
    assert wrong.strip().splitlines()[-1].startswith("undertow: training 0 (seed ")


OPTIONS = {
    "answers alone": (["--answers", "scores"], "--answers goes with --train"),
    "two doors": (["--train", "a.py:b", "--train-cmd", "c {rows} {out}"], "give one of them"),
    "a preset": (["--train", "a.py:b", "--preset", "digits"], "--preset does not go with"),
    "no data": (["--train", f"{SCRIPT_AT}:train"], "--train needs --data"),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_wrong_options_are_one_line(case, folder):
    given, said = OPTIONS[case]
    code, _, wrong = undertow("audit", "mia", *given, "--out", "run", cwd=folder)
    assert code == 2
    assert said in wrong
    assert len(wrong.strip().splitlines()) == 1
    assert not (folder / "run").exists()


FILES = {
    "missing.csv": (None, "no such file"),
    "empty.csv": (b"", "is empty"),
    "array.npy": (b"\x93NUMPY\x01\x00", "a single .npy array"),
    "table.parquet": (b"PAR1....", "parquet"),
    "pickle.npz": (b"\x80\x04\x95", "perhaps a pickle"),
    "torn.npz": (b"PK\x03\x04....", "cannot be read as npz"),
    "noheader.csv": (b"1,2,0\n3,4,1\n", "must name the columns"),
    "short.csv": (b"a,b,label\n1,2,0\n1,2\n", "row 3 has 2 cells, the header 3"),
    "words.csv": (b"city,label\nParis,0\nRome,1\n", "row 2: city is 'Paris'"),
    "nolabel.csv": (b"a,label\n1,0\n2,\n", "row 3 has no label"),
    "onlylabels.csv": (b"label,id\n0,a\n1,b\n", "no column is left for x"),
    "twice.csv": (b"a,label,y\n1,0,0\n2,1,1\n", "two columns are the 'y'"),
    "latin.csv": ("a,label\n1,\xe9\n".encode("latin1"), "not UTF-8"),
    "torn.jsonl": (b'{"text": "a", "label": 0}\n{"text": \n', "line 2 is no JSON"),
    "fields.jsonl": (b'{"body": "a"}\n', "line 1 has no field 'text'"),
    "somelabels.jsonl": (b'{"text": "a", "label": 0}\n{"text": "b"}\n', "line 2 has no label"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_wrong_file_is_one_line(name, tmp_path):
    raw, said = FILES[name]
    if raw is not None:
        (tmp_path / name).write_bytes(raw)
    with pytest.raises(AuditError, match=re.escape(said)) as caught:
        read_own(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_folder_is_read_as_its_finetune_npz(tmp_path):
    with pytest.raises(AuditError, match=r"no finetune\.npz there"):
        read_own(tmp_path)
    np.savez(tmp_path / "finetune.npz", x=np.arange(12, dtype=np.uint8).reshape(6, 2), y=np.arange(6) % 2)
    assert read_own(tmp_path).x.dtype == np.uint8  # as it is: nothing is scaled


def test_an_unknown_array_is_named(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.eye(3), extra=np.eye(3))
    with pytest.raises(AuditError, match="unknown key 'extra'"):
        read_own(tmp_path / "a.npz")


def test_texts_and_their_labels_come_from_jsonl_compressed_or_not(tmp_path):
    lines = "".join(json.dumps({"text": f"text {i}", "label": i % 2, "person": i // 2}) + "\n" for i in range(8))
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    found = read_own(tmp_path / "a.jsonl.gz")
    assert found.x[3] == "text 3"
    assert found.y.tolist() == [0, 1] * 4
    assert found.groups.tolist() == [str(i // 2) for i in range(8)]


def test_empty_cells_are_left_to_the_training(tmp_path):
    (tmp_path / "a.csv").write_text("a;b;label\n1;;0\n2;3;1\n")
    assert np.isnan(read_own(tmp_path / "a.csv").x[0, 1])


PLACES = {
    "no colon": ("own.py", "write my_script.py:function"),
    "no file": ("absent.py:train", "no such file"),
    "no module": ("no_such_module_here:train", "cannot be imported: ModuleNotFoundError"),
    "no function": (f"{SCRIPT_AT}:trian", "has no function 'trian'; it has: train, pretrain"),
    "no callable": (f"{SCRIPT_AT}:constant", "has no function 'constant'"),
    "a syntax error": ("syntax.py:train", "cannot be imported: SyntaxError"),
    "a script that exits": ("exits.py:train", "cannot be imported: SystemExit"),
}


@pytest.mark.parametrize("case", PLACES)
def test_a_function_that_is_not_there_is_one_line(case, folder, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "syntax.py").write_text("def train(:\n")
    (folder / "exits.py").write_text("import sys\nsys.exit(1)\n")
    place, said = PLACES[case]
    with pytest.raises(AuditError, match=said):
        load_function(place, "--train")
    sys.modules.pop("own_script_of_a_test", None)


@pytest.mark.parametrize(("name", "said"), [("odd", "dictionary with 'labels'"), ("empty", "no such table")])
def test_records_functions_are_checked(name, said, folder, monkeypatch):
    monkeypatch.chdir(folder)
    with pytest.raises(AuditError, match=said):
        load_pool(f"{SCRIPT_AT}:{name}")
    sys.modules.pop("own_script_of_a_test", None)


COMMANDS = {
    "": "is empty",
    "train --rows {rows}": "{out} is missing",
    "train {rows} {out} {sed}": "did you mean {seed}",
    "train {rows} {out} {model}": "no place {model}",
    "train '{rows} {out}": "No closing quotation",
}


@pytest.mark.parametrize("template", COMMANDS)
def test_a_wrong_command_is_one_line(template):
    with pytest.raises(AuditError) as caught:
        words(template)
    assert COMMANDS[template] in str(caught.value)


def test_a_command_that_is_not_there_and_one_that_writes_nothing():
    from undertow.audits.own.training import Training

    pool, training = as_pool((np.eye(8), np.arange(8) % 2)), Training(0, 1, np.arange(4), "key")
    with pytest.raises(AuditError, match="there is no command 'no-such-command'"):
        Command("no-such-command {rows} {out}", pool)(training)
    with pytest.raises(AuditError, match="wrote no answers"):
        Command("true {rows} {out}", pool)(training)
    with pytest.raises(RuntimeError, match="exit code 1"):
        Command("false {rows} {out}", pool)(training)


def test_answers_of_a_command_may_be_npy_npz_or_csv(tmp_path):
    values = np.arange(6.0).reshape(3, 2)
    out = tmp_path / "answers"
    np.save(out, values)
    assert np.array_equal(_read(out), values)
    np.savez(out, values)
    with pytest.raises(AuditError, match="one file is wanted"):
        _read(out)
    (tmp_path / "answers.npy").unlink()
    assert np.array_equal(_read(out), values)
    (tmp_path / "answers.npz").unlink()
    for text in ("0,1\n2,3\n4,5\n", "a;b\n0;1\n2;3\n4;5\n", ",a,b\n0,0,1\n1,2,3\n2,4,5\n"):
        out.write_text(text)
        assert np.array_equal(_read(out), values)
    for text, said in (("0,1\n2\n", "different length"), ("a,b\n0,x\n", "no numbers")):
        out.write_text(text)
        with pytest.raises(AuditError, match=said):
            _read(out)
    np.save(tmp_path / "objects.npy", np.array([{}], object))
    out.write_bytes((tmp_path / "objects.npy").read_bytes())
    with pytest.raises(AuditError, match="without unpickling"):
        _read(out)


def test_a_command_is_known_by_its_text_and_its_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a.py").write_text("1")
    template = "python a.py {rows} {out}"
    first = identity_of(template, None)
    assert not first.known
    assert identity_of(template, "mine").known
    Path("a.py").write_text("2")
    assert identity_of(template, None).digest != first.digest
