"""Models in files: folders of transformers, ONNX, scripts; the command line over them, on data files of each kind."""

import csv
import json

import numpy as np
import pytest
from tests.integrations.tiny_onnx import linear
from typer.testing import CliRunner

import undertow as ut
from undertow.cli import app
from undertow.integrations.model_files import from_folder, from_onnx, from_script
from undertow.types import BadInput

RNG = ut.stream(0, "files")
X = RNG.normal(size=(80, 4)).round(3)
Y = RNG.integers(3, size=80)
W, B = RNG.normal(size=(4, 3)), RNG.normal(size=3)
TEXTS = [f"record {i} says {' '.join(RNG.choice(['yes', 'no', 'so', 'on'], 5))}" for i in range(80)]


def shell(*arguments, code=0):
    done = CliRunner().invoke(app, ["audit", "mia", *map(str, arguments)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == code, done.stderr
    return done.stdout


def tables(folder):
    """The same 40 members and 40 non-members in every kind of file."""
    for name, rows in (("in", slice(0, 40)), ("out", slice(40, 80))):
        x, y, texts = X[rows], Y[rows], TEXTS[rows]
        np.savez(folder / f"{name}.npz", x=x, y=y)
        np.save(folder / f"{name}.npy", x)
        with (folder / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([["a", "b", "c", "d", "label"], *([*row, label] for row, label in zip(x, y))])
        with (folder / f"{name}.semicolon.csv").open("w", newline="") as file:
            rows_ = [["label", "d", "c", "b", "a"], *([label, *row[::-1]] for row, label in zip(x, y))]
            csv.writer(file, delimiter=";").writerows(rows_)
        lines = [json.dumps({"x": row.tolist(), "label": int(label)}) for row, label in zip(x, y)]
        (folder / f"{name}.jsonl").write_text("\n".join(lines))
        lines = [json.dumps({"text": text, "label": int(label)}) for text, label in zip(texts, y)]
        (folder / f"{name}.texts.jsonl").write_text("\n".join(lines))
    (folder / "my.py").write_text(
        f"import numpy as np\nW = np.array({W.tolist()})\nB = np.array({B.tolist()})\n"
        "def predict(x):\n    return x @ W + B\n"
    )
    return folder


@pytest.mark.parametrize("kind", ["npz", "csv", "jsonl"])
def test_every_kind_of_file_gives_the_same_audit(tmp_path, kind):
    tables(tmp_path)
    shell("--model", tmp_path / "my.py:predict", "--members", tmp_path / f"in.{kind}",
          "--nonmembers", tmp_path / f"out.{kind}", "--out", tmp_path / "run", "-q")  # fmt: skip
    found = ut.load_result(tmp_path / "run")
    own = ut.audit_model(lambda x: x @ W + B, (X[:40], Y[:40]), (X[40:], Y[40:]))
    assert found.find("loss", "auc").value == own.find("loss", "auc").value
    assert found.data["sha256"]["members"] == own.data["sha256"]["members"]


def test_columns_in_another_order_are_put_in_order(tmp_path):
    tables(tmp_path)
    shell("--model", tmp_path / "my.py:predict", "--members", tmp_path / "in.csv", "--nonmembers",
          tmp_path / "out.semicolon.csv", "--out", tmp_path / "run", "-q")  # fmt: skip
    own = ut.audit_model(lambda x: x @ W + B, (X[:40], Y[:40]), (X[40:], Y[40:]))
    assert ut.load_result(tmp_path / "run").find("loss", "auc").value == own.find("loss", "auc").value


def test_arrays_alone_have_no_labels_and_the_text_says_what_that_costs(tmp_path):
    tables(tmp_path)
    said = shell("--model", tmp_path / "my.py:predict", "--members", tmp_path / "in.npy", "--nonmembers",
                 tmp_path / "out.npy", "--out", tmp_path / "run")  # fmt: skip
    assert "the records came without labels" in " ".join(said.split())


def test_an_onnx_file_answers_as_its_matrix(tmp_path):
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    tables(tmp_path)
    linear(tmp_path / "model.onnx", W, B)
    np.testing.assert_allclose(from_onnx(tmp_path / "model.onnx", batch=7)(X), X @ W + B, atol=1e-5)
    shell("--model", tmp_path / "model.onnx", "--members", tmp_path / "in.csv", "--nonmembers", tmp_path / "out.csv",
          "--base", tmp_path / "my.py:predict", "--out", tmp_path / "run", "-q")  # fmt: skip
    result = ut.load_result(tmp_path / "run")
    assert result.data["model"] == "model.onnx (ONNX)"
    assert result.find("calibrated", "auc") is not None


def test_an_onnx_file_of_one_record_at_a_time_and_of_images(tmp_path):
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    linear(tmp_path / "fixed.onnx", W, B, batch=3)
    np.testing.assert_allclose(from_onnx(tmp_path / "fixed.onnx")(X), X @ W + B, atol=1e-5)
    weight = RNG.normal(size=(3 * 2 * 2, 3))
    linear(tmp_path / "image.onnx", weight, B, (3, 2, 2))
    pixels = RNG.integers(256, size=(5, 2, 2, 3)).astype(np.uint8)
    by_hand = pixels.transpose(0, 3, 1, 2).reshape(5, -1) / 255 @ weight + B
    np.testing.assert_allclose(from_onnx(tmp_path / "image.onnx")(pixels), by_hand, atol=1e-4)
    with pytest.raises(BadInput, match=r"takes records of shape \(3, 2, 2\), these have \(4,\)"):
        from_onnx(tmp_path / "image.onnx")(X)


def test_without_onnxruntime_the_line_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(BadInput, match="pip install onnxruntime"):
        from_onnx(linear(tmp_path / "m.onnx", W, B))


class TestFolders:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")

    def text(self, folder, texts=TEXTS):
        from undertow.sources.records.tokens import own_tokens

        tokenizer = self.transformers.PreTrainedTokenizerFast(
            tokenizer_object=own_tokens(texts, 300).tokenizer, pad_token="<pad>"
        )
        config = self.transformers.BertConfig(
            hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, vocab_size=300,
            max_position_embeddings=64, num_labels=3, pad_token_id=0, hidden_dropout_prob=0.0,
        )  # fmt: skip
        self.torch.manual_seed(0)
        model = self.transformers.BertForSequenceClassification(config)
        given = tokenizer(texts[:40], padding=True, return_tensors="pt")
        optimizer = self.torch.optim.Adam(model.parameters(), 0.02)
        for _ in range(60):
            optimizer.zero_grad()
            model(**given, labels=self.torch.tensor(Y[:40])).loss.backward()
            optimizer.step()
        model.eval().save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return model, tokenizer

    def test_a_text_classifier_folder_from_the_shell(self, tmp_path):
        tables(tmp_path)
        model, tokenizer = self.text(tmp_path / "model")
        said = shell("--model", tmp_path / "model", "--members", tmp_path / "in.texts.jsonl", "--nonmembers",
                     tmp_path / "out.texts.jsonl", "--out", tmp_path / "run")  # fmt: skip
        assert "BertForSequenceClassification" in said
        result = ut.load_result(tmp_path / "run")
        with self.torch.no_grad():
            logits = model(**tokenizer(TEXTS, padding=True, return_tensors="pt")).logits
        losses = self.torch.nn.functional.cross_entropy(logits, self.torch.tensor(Y), reduction="none")
        found = next(s for s in result.scores if s.attack == "loss").values[0]
        np.testing.assert_allclose(found, -losses.numpy(), atol=1e-4)
        assert result.find("loss", "auc").low > 0.5  # it was trained on the members alone, for long
        assert len(result.data["sha256"]["model"]) == 64

    def test_a_folder_without_a_head_is_no_classifier(self, tmp_path):
        model, tokenizer = self.text(tmp_path / "model")
        model.bert.save_pretrained(tmp_path / "base")
        tokenizer.save_pretrained(tmp_path / "base")
        with pytest.raises(BadInput, match="holds no weights for classifier"):
            from_folder(tmp_path / "base")

    def test_an_image_classifier_and_folders_of_pictures(self, tmp_path):
        image = pytest.importorskip("PIL.Image")
        config = self.transformers.ViTConfig(
            hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=16,
            patch_size=8, id2label={0: "bee", 1: "ant"}, label2id={"bee": 0, "ant": 1},
        )  # fmt: skip
        self.torch.manual_seed(0)
        self.transformers.ViTForImageClassification(config).save_pretrained(tmp_path / "vit")
        for side in ("in", "out"):
            for name in ("ant", "bee"):
                (tmp_path / side / name).mkdir(parents=True)
                for i in range(6):
                    pixels = RNG.integers(256, size=(16, 16 + i % 2, 3)).astype(np.uint8)
                    image.fromarray(pixels).save(tmp_path / side / name / f"{i}.png")
        shell("--model", tmp_path / "vit", "--members", tmp_path / "in", "--nonmembers", tmp_path / "out",
              "--out", tmp_path / "run", "-q")  # fmt: skip
        result = ut.load_result(tmp_path / "run")
        assert result.data["sizes"] == {"members": 6 * 2, "nonmembers": 12}
        assert any("bee = 0, ant = 1" in text for text in result.warnings)

    def test_a_checkpoint_that_would_run_code_is_not_loaded(self, tmp_path):
        tables(tmp_path)
        self.text(tmp_path / "model")
        (tmp_path / "model" / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch /tmp/never'\ntR.")
        done = CliRunner().invoke(app, ["audit", "mia", "--model", str(tmp_path / "model"), "--members",
            str(tmp_path / "in.texts.jsonl"), "--nonmembers", str(tmp_path / "out.texts.jsonl"), "--out",
            str(tmp_path / "run")])  # fmt: skip
        assert done.exit_code == 2
        assert "is unsafe" in done.stderr
        assert not (tmp_path / "run").exists()


def test_a_script_says_its_classes_and_its_hash(tmp_path):
    (tmp_path / "s.py").write_text("def predict(x):\n    return x\npredict.classes = ('a', 'b')\n")
    found = from_script(f"{tmp_path / 's.py'}:predict")
    assert (found.about, found.classes) == ("s.py:predict", ("a", "b"))
    import hashlib

    assert found.sha256 == hashlib.sha256((tmp_path / "s.py").read_bytes()).hexdigest()


def test_a_plan_asks_nothing(tmp_path):
    tables(tmp_path)
    said = shell("--model", "http://127.0.0.1:1/x", "--members", tmp_path / "in.csv", "--nonmembers",
                 tmp_path / "out.csv", "--batch", 10, "--rate", 2, "--plan", "--out", tmp_path / "run")  # fmt: skip
    assert "80 records are asked about, 1 model; nothing is trained; 8 requests of 10 records, at least 4 s" in said
    assert not (tmp_path / "run").exists()
