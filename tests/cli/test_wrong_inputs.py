"""What a stranger gets wrong, at every door: one readable line, exit 2, no traceback, and nothing is lost."""

import gzip
import hashlib
import json
import re
import sys

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")

from undertow.cli import main
from undertow.rng import stream

RNG = stream(0, "wrong inputs")
X, Y = RNG.normal(size=(30, 5)), np.arange(30) % 3
LONG = 600  # characters that a line has at most, long paths and all


def npz(path, **arrays):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)


def text(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def folder(root, name, finetune=None, pretrain=None):
    """A folder of records, one of whose files is wrong."""
    for stage, wrong in (("finetune", finetune), ("pretrain", pretrain)):
        npz(root / name / f"{stage}.npz", **{**{"x": X + (stage == "pretrain"), "y": Y}, **(wrong or {})})


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Everything that the cases below name, made once."""
    root = tmp_path_factory.mktemp("wrong")
    folder(root, "good")
    folder(root, "floats", {"y": Y + 0.5})
    folder(root, "nan-labels", {"y": np.where(Y == 1, np.nan, Y)})
    folder(root, "negative", {"y": Y - 1})
    folder(root, "one-class", {"y": np.zeros(30, int)})
    folder(root, "one-hot", {"y": np.eye(3)[Y]})
    folder(root, "many-labels", {"y": np.ones((30, 4), int)})
    folder(root, "short", {"y": Y[:20]})
    folder(root, "flat", {"x": X[:, 0]})
    folder(root, "nan", {"x": np.where(X > 2, np.nan, X)})
    folder(root, "words", {"x": np.array([["a"]] * 30)})
    folder(root, "complex", {"x": X + 1j})
    folder(root, "empty", {"x": X[:0], "y": Y[:0]})
    folder(root, "ids", {"id": np.arange(4)})
    folder(root, "layout", {"x": RNG.random((30, 3, 8, 3))}, {"x": RNG.random((30, 3, 8, 3))})
    folder(root, "shapes", {"x": X[:, :4]})
    folder(root, "twins", {"x": np.repeat(X[:15], 2, 0)})
    folder(root, "odd", {"x": X[:29], "y": Y[:29]})
    npz(root / "no-y" / "finetune.npz", x=X)
    npz(root / "no-x" / "finetune.npz", y=Y)
    npz(root / "only-finetune" / "finetune.npz", x=X, y=Y)
    (root / "nothing").mkdir()
    text(root / "text" / "finetune.npz", "x,y\n1,2\n")
    text(root / "array" / "finetune.npz", "")
    np.save(root / "single.npy", X)
    (root / "array" / "finetune.npz").write_bytes((root / "single.npy").read_bytes())
    np.savez(root / "object.npz", x=np.array([{}, {}], object), y=np.arange(2))
    (root / "objects").mkdir()
    (root / "object.npz").rename(root / "objects" / "finetune.npz")
    npz(root / "mine.npz", x=np.abs(X[:, :4]) / 9, y=Y)
    npz(root / "wide.npz", x=X * 100, y=Y)
    text(root / "a.toml", "shadows = 8\n")
    text(root / "broken.toml", "shadows = = 8\n")
    text(root / "unknown.toml", "shadow = 8\n")
    text(root / "kind.toml", "[model]\nkind = 'forest'\n")
    text(root / "string.toml", "shadows = '8'\n")
    text(root / "table.toml", "data = 3\n")
    text(root / "noise.toml", "[data]\nlabel_noise = 0.3\n")
    text(root / "of-mia.toml", "audit = 'mia'\n")
    text(root / "attack.toml", "attacks = ['magic']\n")
    text(root / "factory.toml", "[model]\nfactory = 'nowhere_at_all:make'\n")
    text(root / "no-colon.toml", "[model]\nfactory = 'make'\n")
    text(root / "head.toml", "[model]\nhead = 'fc'\n")
    text(root / "checkpoint.toml", f"[model]\nkind = 'huggingface'\ncheckpoint = '{root / 'nothing'}'\n")
    text(root / "signals.csv", "value,member\n0.1,1\n0.2,maybe\n")
    text(root / "semicolon.csv", "score;member\n0,1;1\n0,2;0\n")
    text(root / "headless.csv", "0.1,1\n0.2,0\n")
    text(root / "words.csv", "value,member\nhigh,1\nlow,0\n")
    npz(root / "no-member.npz", values=np.arange(4.0))
    npz(root / "all-members.npz", values=np.arange(4.0), member=np.ones(4, bool))
    npz(root / "shape.npz", values=np.arange(4.0), member=np.ones(3, bool))
    npz(root / "nan-signals.npz", values=np.array([0.1, np.nan]), member=np.array([1, 0]))
    text(root / "text.npz", "value,member\n0.1,1\n")
    npz(root / "scores.npz", score=np.arange(40.0), member=np.arange(40) % 2)
    text(root / "curve.csv", "epsilon\n1\n")
    text(root / "lines.jsonl", '{"text": "a b c"}\nnot json\n')
    text(root / "other-field.jsonl", '{"body": "a b c"}\n{"body": "d e f"}\n')
    text(root / "unlabelled.jsonl", '{"text": "a b c"}\n{"text": "d e f"}\n')
    text(root / "image.pdf", "%PDF")
    (root / "torn.jsonl.gz").write_bytes(gzip.compress(b'{"text": "a"}\n' * 50)[:-9])
    text(root / "notes.txt", "no checkpoint")
    text(root / "torn.safetensors", "torn")
    (root / "broken-run").mkdir()
    text(root / "broken-run" / "result.json", "{")
    text(root / "thesis" / "chapter.tex", "\\chapter{}")
    text(root / "finished" / "undertow.json", json.dumps({"schema": "undertow.run/1", "audit": "mia"}))
    finished = {"audit": "mia", "config": {"shadows": 16, "seed": 5}, "seed": 5, "data": {}, "environment": {}}
    text(root / "finished" / "result.json", json.dumps(finished))
    return root


CASES = {
    # audit mia and tmi: the command line
    "no such preset": ("audit tmi --preset nonsense", "no preset 'nonsense'"),
    "a preset of another audit": ("audit mia --preset cifar100-coarse-full-small", "undertow audit tmi --preset"),
    "an odd number of shadows": ("audit mia --shadows 7", "shadows = 7; it must be even"),
    "shadows in words": ("audit mia --shadows many", "'--shadows'"),
    "no such option": ("audit mia --shadow 8", "--shadow"),
    "no such command": ("audti mia", "audti"),
    "an option before the audit": ("audit --seed 1 tmi", "options go after the audit's name"),
    "a gate without a percent sign": ("audit mia --fail-if tpr@0.1>0.01", "%"),
    "a gate of nothing": ("audit mia --fail-if accuracy>0.5", "accuracy"),
    "a negative seed": ("audit mia --seed -1", "seed"),
    "no worker": ("audit mia --workers 0", "--workers"),
    # the configuration file
    "no such file": ("audit mia --config @/absent.toml", "no such file"),
    "a torn file": ("audit mia --config @/broken.toml", "broken.toml"),
    "a folder as a file": ("audit mia --config @/nothing", "nothing"),
    "an unknown key": ("audit mia --config @/unknown.toml", "unknown key 'shadow'; did you mean 'shadows'?"),
    "an unknown kind": ("audit mia --config @/kind.toml", "model.kind"),
    "a number as text": ("audit mia --config @/string.toml", "shadows = '8'"),
    "a table that is none": ("audit mia --config @/table.toml", "data is a table"),
    "a file of another audit": ("audit tmi --config @/of-mia.toml", "settings of the audit 'mia', not of 'tmi'"),
    "a file of one audit for both": ("audit --config @/a.toml", "a file for `undertow audit` holds tables"),
    "an unknown attack": ("audit mia --config @/attack.toml", "magic"),
    "a factory that is nowhere": ("audit mia --config @/factory.toml", "cannot be imported"),
    "a factory without a colon": ("audit mia --config @/no-colon.toml", "write 'package.module:function'"),
    "a head without a factory": ("audit mia --config @/head.toml", "goes with model.factory"),
    "a checkpoint without config": ("audit mia --config @/checkpoint.toml", "has no readable config.json"),
    # the records
    "no such folder": ("audit mia --data @/absent", "no such folder"),
    "a file as a folder": ("audit mia --data @/mine.npz", "is a file; give the folder that holds finetune.npz"),
    "an empty folder": ("audit mia --data @/nothing", "finetune.npz is missing"),
    "no base for tmi": ("audit tmi --data @/only-finetune", "pretrain.npz is missing"),
    "downloads without a pair": ("audit tmi --data hub", "name one, e.g. --preset cifar100"),
    "no labels": ("audit mia --data @/no-y", "key 'y' is missing; found: x"),
    "no records": ("audit mia --data @/no-x", "key 'x' is missing; found: y"),
    "fractions as labels": ("audit mia --data @/floats", "Regression is not trained here"),
    "labels that are missing": ("audit mia --data @/nan-labels", "leave out records without a label"),
    "negative labels": ("audit mia --data @/negative", "label -1 at row 0 is negative"),
    "one class": ("audit mia --data @/one-class", "only one class is there (0)"),
    "one-hot labels": ("audit mia --data @/one-hot", "one-hot; store class numbers: y.argmax(1)"),
    "several labels a record": ("audit mia --data @/many-labels", "several labels per record are not trained here"),
    "too few labels": ("audit mia --data @/short", "y has 20, x has 30"),
    "one number a record, flat": ("audit mia --data @/flat", "x[:, None]"),
    "records that are not numbers": ("audit mia --data @/nan", "x holds nan at record"),
    "texts as records": ("audit mia --data @/words", "x holds texts; it must be numbers"),
    "complex records": ("audit mia --data @/complex", "x holds complex128"),
    "no examples": ("audit mia --data @/empty", "no examples"),
    "ids of other records": ("audit mia --data @/ids", "id has shape (4,)"),
    "images of either layout": ("audit mia --data @/layout", "data.layout = 'NCHW' or 'NHWC'"),
    "records of two shapes": ("audit mia --data @/shapes", "must have one shape"),
    "records that occur twice": ("audit mia --data @/twins", "--drop-duplicates"),
    "an odd pool": ("audit mia --data @/odd", "28"),
    "a text named npz": ("audit mia --data @/text", "finetune.npz is no npz: it looks like text"),
    "a single array named npz": ("audit mia --data @/array", "a single .npy array"),
    "pickled objects": ("audit mia --data @/objects", "without unpickling"),
    "label noise nobody asked for": ("audit mia --config @/noise.toml --data @/good", "data.change_records = true"),
    "settings of the demonstration": ("audit mia --preset digits --data @/good", "undertow init-config mia --data"),
    # the run folder
    "somebody's folder": ("audit mia --out @/thesis", "is no run of undertow"),
    "a file as a run": ("audit mia --out @/notes.txt", "is a file; --out names a folder"),
    "a run of another audit": ("audit tmi --out @/finished", "holds a run of 'mia', not 'tmi'"),
    "a finished run of other settings": (
        "audit mia --seed 4 --out @/finished",
        "seed (5 there, 4 now), shadows (16 there, 64 now); choose another --out",
    ),
    # audit poisoning, datatrap and dp
    "no such records": ("audit poisoning --data @/absent.npz", "no such file or folder"),
    "records out of range": ("audit datatrap --data @/wide.npz", "bring them to 0..1"),
    "a reference without a suspect": ("audit poisoning --reference @/nothing", "goes with --checkpoint"),
    "a plan of a suspect": ("audit poisoning --checkpoint @/nothing --plan", "does not go with --checkpoint"),
    "an unknown recipe": ("audit poisoning --recipes fuller", "did you mean 'full'|no recipe is called 'fuller'"),
    "an odd number of models": ("audit poisoning --models 7", "models = 7; it must be even"),
    "a suspect without weights": ("audit poisoning --checkpoint @/nothing", "holds no safetensors"),
    "a torn suspect": ("audit poisoning --checkpoint @/torn.safetensors", "torn.safetensors"),
    "a line that is no JSON": ("audit poisoning --data @/lines.jsonl", "line 2: no JSON"),
    "texts in another field": ("audit poisoning --data @/other-field.jsonl", "(another one: --field NAME)"),
    "a torn archive": ("audit poisoning --data @/torn.jsonl.gz", "cannot be read"),
    "a document": ("audit poisoning --data @/image.pdf", "image.pdf"),
    "texts without labels": ("audit datatrap --preset gpt2 --data @/unlabelled.jsonl", "field 'label' is missing"),
    "no experiment": ("audit datatrap --seeds 0", "seeds = 0"),
    "an unknown access": ("audit dp --access root", "access"),
    "a canary nobody could ask about": ("audit dp --canary gradient --access black-box", "use access 'weights'"),
    "a negative epsilon": ("audit dp --epsilon -1", "above 0 and finite"),
    # score
    "no signals": ("score @/absent.npz", "no such file"),
    "no membership": ("score @/no-member.npz", "member"),
    "members only": ("score @/all-members.npz", "member"),
    "membership of others": ("score @/shape.npz", "member"),
    "signals that are not numbers": ("score @/nan-signals.npz", "nan"),
    "membership in words": ("score @/signals.csv", "row 3: member is 'maybe'; write 0/1 or true/false"),
    "a column of another name": ("score @/semicolon.csv", "found 'score': name it 'value'"),
    "a table without a header": ("score @/headless.csv", "it must name the columns: value,member"),
    "values in words": ("score @/words.csv", "row 2: value is 'high', not a number"),
    "a csv named npz": ("score @/text.npz", "text.npz"),
    "an attack that is none": ("score @/all-members.npz --attack magic", "magic"),
    # epsilon
    "no scores": ("epsilon @/absent.npz", "no such file"),
    "no column of scores": ("epsilon @/no-member.npz", "score"),
    "two claims": ("epsilon @/scores.npz --claim-epsilon 1 --claim-gdp 1", "give one claim"),
    "a threshold in words": ("epsilon @/scores.npz --threshold high", "--threshold 'high'"),
    "a curve without delta": ("epsilon @/scores.npz --claim-curve @/curve.csv", "'delta' is missing"),
    # scan, clean, report, init-config, theory
    "nothing to scan": ("scan @/absent", "absent"),
    "an unknown format": ("scan @/nothing --format xml", "--format xml"),
    "records without a proof": ("scan @/nothing --data @/mine.npz", "are for --prove"),
    "nothing to clean": ("clean @/absent.safetensors --out @/new.safetensors", "absent.safetensors"),
    "a cleaned copy over a file": ("clean @/torn.safetensors --out @/notes.txt", "notes.txt"),
    "no run to draw": ("report @/nothing", "no finished run"),
    "a torn run": ("report @/broken-run", "cannot be read as JSON"),
    "settings of no audit": ("init-config nonsense", "known: mia, tmi"),
    "settings for no records": ("init-config mia --data @/absent", "no such folder"),
    "settings for a file of no kind": ("init-config poisoning --data @/absent.npz", "no such file or folder"),
    "a theory of no trials": ("theory --trials 0 --out @/t.svg", "--trials"),
}


def state(root):
    return {p: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(root.rglob("*")) if p.is_file()}


def test_there_are_enough_cases():
    assert len(CASES) >= 60


@pytest.mark.parametrize("case", CASES)
def test_a_wrong_input_is_one_line(case, files, monkeypatch, capsys, tmp_path):
    arguments, says = CASES[case]
    arguments = arguments.replace("@", str(files)).split(" ") if "tpr@" not in arguments else arguments.split(" ")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["undertow", *arguments])
    before = state(files)
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    assert ended.value.code == 2, (out, err)
    assert out == ""
    assert err.startswith("undertow: ")
    assert err.count("\n") == 1, err
    assert any(part in err for part in says.split("|")), err
    assert "Traceback" not in err
    assert len(re.sub(re.escape(str(files)), "", err)) < LONG, err
    assert state(files) == before  # nothing is lost
    assert not list(tmp_path.iterdir())  # and nothing is left behind
