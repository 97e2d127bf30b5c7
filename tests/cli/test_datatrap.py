"""`undertow audit datatrap` as a user runs it."""

import json

import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")

from typer.testing import CliRunner

from undertow.cli import app
from undertow.rng import stream
from undertow.sources.checkpoints.files import PLANTED, read_checkpoint
from undertow.sources.checkpoints.trap_key import read_key

QUICK = """
[model]
hidden = [256, 64]
[pretrain]
epochs = 6
[finetune]
epochs = 2
[traps]
count = 16
"""


def call(*arguments):
    return CliRunner().invoke(app, ["audit", "datatrap", *map(str, arguments)])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    (folder / "quick.toml").write_text(QUICK)
    done = call("--config", folder / "quick.toml", "--out", folder / "out", "--seed", 3)
    assert done.exit_code == 0, done.output
    return folder, done.output


def test_it_says_what_was_copied_and_leaves_the_files(finished):
    folder, said = finished
    assert "VERDICT: Records were copied" in said
    result = json.loads((folder / "out" / "result.json").read_text())
    assert {row["seed"] for row in result["measurements"]} == {3}
    page = (folder / "out" / "report.html").read_text()
    assert "data:image/png" in page  # the digits are public


def test_the_planted_checkpoint_is_marked_and_its_key_lies_apart(finished):
    folder, _ = finished
    _, metadata = read_checkpoint(folder / "out" / "checkpoints" / "planted-3.safetensors")
    assert metadata[PLANTED] == "true"
    trap = read_key(folder / "out" / "key" / "traps-3.safetensors")
    assert len(trap.units) == 16
    for name in ("result.json", "report.html"):
        assert str(float(trap.thresholds[0]))[:10] not in (folder / "out" / name).read_text()


def test_the_report_is_drawn_again(finished):
    folder, _ = finished
    before = (folder / "out" / "report.html").read_bytes()
    again = CliRunner().invoke(app, ["report", str(folder / "out")])
    assert again.exit_code == 0, again.output
    assert (folder / "out" / "report.html").read_bytes() == before


def test_a_gate_counts_copied_records(finished):
    folder, _ = finished
    options = ("--config", folder / "quick.toml", "--out", folder / "out", "--seed", 3, "--quiet")
    assert call(*options, "--fail-if", "captured_exact>0").exit_code == 1
    assert call(*options, "--fail-if", "captured_exact>16").exit_code == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--preset", "digits-mpl"), "did you mean 'digits-mlp'"),
        (("--preset", "cifar10-mlp"), "needs --data, the folder that holds cifar10"),
        (("--preset", "vit-caltech101"), "needs --data"),
        (("--preset", "gpt2"), "needs --data, the folder that holds its file"),
        (("--fail-if", "captured_exact>x"), "is not a count"),
        (("--data", "nowhere"), "no such file or folder"),
        (("--seeds", 0), "at least 1"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(tmp_path, options, said):
    done = call("--out", tmp_path / "out", *options)
    assert done.exit_code == 2
    assert said in done.output
    assert len(done.output.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_presets_are_listed():
    assert "digits-adamw" in call("--list-presets").output


@pytest.mark.slow
def test_a_gpt2_is_made_trapped_and_reported(tmp_path):
    pytest.importorskip("transformers")
    pytest.importorskip("tokenizers")
    words = stream(0, "texts").choice([f"word{i}" for i in range(200)], (700, 9))
    lines = [json.dumps({"text": " ".join(row), "label": row[0][-1]}) for row in words]
    (tmp_path / "texts.jsonl").write_text("\n".join(lines))
    (tmp_path / "quick.toml").write_text(f"""
    [data]
    source = "{tmp_path / "texts.jsonl"}"
    auxiliary = 400
    victim = 240
    test = 50
    [model]
    depth = 3
    [pretrain]
    epochs = 1
    """)
    options = ("--preset", "gpt2", "--config", tmp_path / "quick.toml", "--out", tmp_path / "out", "--include-examples")
    done = call(*options)
    assert done.exit_code == 0, done.output
    rows = json.loads((tmp_path / "out" / "result.json").read_text())["measurements"]
    found = {row["metric"]: row.get("value") for row in rows if row.get("group") in (None, "planted")}
    assert found["captured_exact"] >= 3
    assert found["token_accuracy"] >= 0.9
    assert read_key(tmp_path / "out" / "key" / "traps-0.safetensors").heads == 8
    assert "word" in (tmp_path / "out" / "report.html").read_text()
