"""What an audit of one model must not take: one readable line, exit 2, nothing written."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

import undertow as ut
from undertow.cli import app
from undertow.types import AuditError

RNG = ut.stream(0, "bad input")
X, Y = RNG.normal(size=(60, 4)), RNG.integers(3, size=60)
IN, OUT = (X[:30], Y[:30]), (X[30:], Y[30:])


def good(x):
    return x @ np.arange(12.0).reshape(4, 3)


def nan_for_one(x):
    return np.where(np.arange(len(x))[:, None] == 3, np.nan, good(x))


def refuses(x):
    raise ValueError(f"X has {x.shape[1]} features, but the model expects 5")


class Estimator:
    __module__ = "sklearn.ensemble"


API = {
    "members are nonmembers": ((good, IN, IN), "the same records; give records that the model was not trained on"),
    "some overlap": ((good, IN, (X[25:], Y[25:])), "5 of 35 nonmembers are also members (the first: 0)"),
    "one record": ((good, (X[:1], Y[:1]), OUT), "members: one record"),
    "no record": ((good, IN, (X[:0], Y[:0])), "nonmembers: no record"),
    "labels of one side": ((good, X[:30], OUT), "members have no labels and the others have"),
    "labels too few": ((good, (X[:30], Y[:29]), OUT), "30 records and 29 labels"),
    "labels beyond the classes": ((good, (X[:30], Y[:30] + 7), (X[30:], np.arange(30))), "the answers have 3 classes"),
    "words beyond the classes": (
        (good, (X[:30], np.array(list("abcde") * 6)), (X[30:], np.array(list("abcde") * 6))),
        "5 labels occur (a, b, c, d, ...) and the answers have 3 classes",
    ),
    "words and numbers": ((good, (X[:30], np.array(["a"] * 30)), OUT), "both must be of one kind"),
    "missing labels": ((good, (X[:30], [None, *Y[1:30]]), OUT), "1 labels are missing"),
    "labels that are NaN": ((good, (X[:30], np.where(Y[:30] == 0, np.nan, 1)), OUT), "are missing (NaN)"),
    "labels of a regression": ((good, (X[:30], X[:30, 0]), (X[30:], X[30:, 0])), "as of a regression; give score="),
    "several labels per record": ((good, (X[:30], X[:30] > 0), OUT), "labels have shape (30, 4)"),
    "a regression's outputs": (
        (lambda x: x.sum(1), (X[:30], X[:30, 0]), (X[30:], X[30:, 0])),
        "as of a regression; give score=",
    ),
    "class numbers": (
        (lambda x: np.argmax(good(x), 1), IN, OUT),
        "class numbers, not probabilities; give predict_proba",
    ),
    "class names": ((lambda x: np.array(["cat"] * len(x)), IN, OUT), "answers texts ('cat'), not numbers"),
    "one column": ((lambda x: good(x)[:, :1], IN, OUT), "one column, (n, 1); for two classes give both"),
    "several labels at once": ((lambda x: 0.5 + 0 * good(x), IN, OUT), "rows sum to 1.5..1.5, not 1"),
    "sequences": ((lambda x: np.zeros((len(x), 7, 3)), IN, OUT), "answers in shape (7, 3) per record"),
    "NaN": ((nan_for_one, IN, OUT), "answers nan for 1 of 60 records"),
    "infinity": ((lambda x: good(x) / 0.0, IN, OUT), "answers"),
    "one short": ((lambda x: good(x)[1:], IN, OUT), "asked about 60 records and answered for 59"),
    "one number": ((lambda x: 0.3, IN, OUT), "asked about 60 records and answered for 1"),
    "nothing": ((lambda x: None, IN, OUT), "returned None"),
    "objects": ((lambda x: [object()] * len(x), IN, OUT), "a list of object, which is no array of numbers"),
    "a dict of something": ((lambda x: {"hidden": x}, IN, OUT), "a dict with hidden; it must hold one of logits"),
    "the model refuses the shape": (
        (refuses, IN, OUT),
        "failed on an array of float64 (60, 4): ValueError: X has 4 features, but the model expects 5",
    ),
    "no function": ((3, IN, OUT), "predict is int; give a function predict(x)"),
    "an estimator": ((Estimator(), IN, OUT), "predict is a Estimator; give undertow.integrations.from_sklearn(model)"),
    "a file name": ((good, "members.csv", OUT), "members is str; give Examples, (x, y)"),
    "a tuple of three": ((good, (X, Y, Y), OUT), "members is a tuple of 3; give (x, y)"),
    "other shapes": ((good, IN, (X[30:, :3], Y[30:])), "members have shape (4,), nonmembers (3,)"),
    "texts and numbers": ((good, IN, (["a", "b"], [0, 1])), "members are ndarray, nonmembers str"),
    "records with NaN": ((good, IN, (X[30:] * np.nan, Y[30:])), "nonmembers: record 0 holds NaN or infinity"),
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("case", list(API))
def test_from_python(case, tmp_path):
    arguments, said = API[case]
    with pytest.raises(AuditError) as found:
        ut.audit_model(*arguments, out=tmp_path / "run")
    assert said in str(found.value)
    assert "\n" not in str(found.value)
    assert not (tmp_path / "run").exists()


OPTIONS = {
    "base of other classes": ({"base": lambda x: x}, "base answers 4 classes and predict 3"),
    "base of scores": ({"base": lambda x: x[:, 0]}, "base answers scores and predict answers classes"),
    "base of other records": ({"base": (np.zeros((30, 3)), np.zeros((29, 3)))}, "59 answers were given for 60 records"),
    "features of some": ({"features": (X[:30], X[:10])}, "features: give a pair, for 30 members and for 30 nonmembers"),
    "groups of some": ({"groups": np.arange(7)}, "groups: give a pair"),
    "a score of another shape": ({"score": lambda a, y: a}, "score returned shape (60, 3); it must be (60,)"),
    "a score that fails": ({"score": lambda a, y: a[:, 9]}, "score failed on answers (60, 3): IndexError"),
}


@pytest.mark.parametrize("case", list(OPTIONS))
def test_options_from_python(case):
    options, said = OPTIONS[case]
    with pytest.raises(AuditError) as found:
        ut.audit_model(good, IN, OUT, **options)
    assert said in str(found.value)
    assert "\n" not in str(found.value)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a model, members and nonmembers that are right, and files that are wrong."""
    monkeypatch.chdir(tmp_path)
    np.savez("in.npz", x=X[:30], y=Y[:30])
    np.savez("out.npz", x=X[30:], y=Y[30:])
    np.savez("no-x.npz", a=Y[30:])
    np.savez("weights.npz", w=X)
    with open("in.csv", "w") as file:
        file.writelines(["a,b,label\n", *(f"{i},{i + 1},{i % 3}\n" for i in range(30))])
    with open("lacks.csv", "w") as file:
        file.writelines(["a,label\n", *(f"{i}.5,{i % 3}\n" for i in range(30))])
    for name, text in {
        "my.py": "import numpy as np\ndef predict(x):\n    return x @ np.arange(12.0).reshape(4, 3)\n",
        "broken.py": "import nonsense_package\n",
        "empty.csv": "",
        "headless.csv": "1,2,0\n3,4,1\n",
        "ragged.csv": "a,b\n1,2\n3\n",
        "words.csv": "a,city,label\n1,Rome,0\n2,Oslo,1\n",
        "gap.csv": "a,b,label\n1,,0\n2,3,1\n",
        "no-label.csv": "a,b,label\n1,2,\n2,3,1\n",
        "twice.csv": "a,a,label\n1,2,1\n2,3,1\n",
        "bad.jsonl": '{"text": "a"}\n{"text"\n',
        "list.jsonl": '{"text": "a", "label": 0}\n[1]\n',
        "uneven.jsonl": '{"text": "a", "label": 0}\n{"text": "b"}\n',
        "model.pkl": "x", "model.pt": "x", "model.safetensors": "x", "model.keras": "x", "notes.txt": "x",
        "in.pkl": "x",
    }.items():  # fmt: skip
        (tmp_path / name).write_text(text)
    (tmp_path / "bad.onnx").write_bytes(b"\x08\x08not onnx")
    for name, config in {"t5": {"model_type": "t5"}, "odd": {"model_type": "odd-one"}, "nameless": {}}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps(config))
    (tmp_path / "nothing").mkdir()
    return tmp_path


SHELL = {
    "a missing model": ("--model none.onnx", "--model none.onnx: no such file or folder"),
    "a pickle": ("--model model.pkl", "which run code and are never loaded; write my.py"),
    "a torch file": ("--model model.pt", "which run code and are never loaded"),
    "weights alone": ("--model model.safetensors", "give the folder with config.json"),
    "a Keras file": ("--model model.keras", "a Keras file; write my.py"),
    "another suffix": ("--model notes.txt", ".txt is not read"),
    "a hub id without a network": ("--model nobody-here/no-model", "is no path here and cannot be downloaded"),
    "an empty folder": ("--model nothing", "nothing is unknown: "),
    "a folder without weights": ("--model nameless", "is unknown"),
    "no ONNX": ("--model bad.onnx", "bad.onnx"),
    "an npz that holds no answers": ("--model weights.npz", "key 'members' is missing"),
    "no such script": ("--model none.py:predict", "none.py: no such script"),
    "no such function": ("--model my.py:predic", "no function 'predic'; did you mean 'predict'?"),
    "a script that fails": ("--model broken.py:predict", "failed while it was imported: ModuleNotFoundError"),
    "no address": ("--model ftp://host/x", "no http or https address"),
    "members alone": ("--model my.py:predict --nonmembers=", "--model needs --nonmembers"),
    "no such members": ("--members none.csv", "--members none.csv: no such file or folder"),
    "pickled members": ("--members in.pkl", "never read; save arrays as npz"),
    "members of another kind": ("--members notes.txt", ".txt is not read; give csv"),
    "a folder without pictures": ("--members nothing", "no picture there (nothing)"),
    "an npz without x": ("--members no-x.npz", "key 'x' is missing; found: a"),
    "an empty table": ("--members empty.csv", "is empty"),
    "a table without a header": ("--members headless.csv", "the first row is 1, 2, 0; it must name the columns"),
    "a ragged table": ("--members ragged.csv", "row 3 has 1 cells, the first row 2"),
    "a column of words": ("--members words.csv", "column 'city' holds 'Rome', no number"),
    "an empty cell": ("--members gap.csv", "record 1, column 'b' is empty"),
    "an empty label": ("--members no-label.csv", "the label of record 1 is missing"),
    "a column twice": ("--members twice.csv", "two columns are named 'a'"),
    "a column too few": ("--members in.csv --nonmembers lacks.csv", "nonmembers lack the column 'b'"),
    "no such label": ("--members in.csv --label lable", "--label 'lable' is no column; did you mean 'label'?"),
    "no JSON": ("--members bad.jsonl", "line 2: no JSON"),
    "no object": ("--members list.jsonl", "record 2 is list; each must be one JSON object"),
    "a field missing": ("--members uneven.jsonl", "record 2 has no 'label'"),
    "options of trainings": ("--shadows 16", "--shadows does not go with --model"),
    "a gate that means nothing": ("--fail-if nonsense", "nonsense"),
}


@pytest.mark.parametrize("case", list(SHELL))
def test_from_the_shell(case, folder):
    given, said = SHELL[case]
    usual = {"--model": "my.py:predict", "--members": "in.npz", "--nonmembers": "out.npz", "--out": "run"}
    words = [word for key, value in usual.items() if key not in given for word in (key, value)]
    done = CliRunner().invoke(app, ["audit", "mia", *words, *given.split()])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert (done.exit_code, done.stdout) == (2, ""), done.stderr
    assert said in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert not (folder / "run").exists()


def test_options_of_the_door_need_a_model(folder):
    done = CliRunner().invoke(app, ["audit", "mia", "--members", "in.npz"])
    assert (done.exit_code, done.stderr) == (2, "undertow: --members goes with --model, the one model to audit\n")
