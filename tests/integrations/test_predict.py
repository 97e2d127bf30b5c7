"""`predict` of other libraries' models: the numbers are the model's own, and the model is as it was."""

import numpy as np
import pytest

import undertow as ut
from undertow.integrations import (
    from_keras,
    from_lightgbm,
    from_pipeline,
    from_sklearn,
    from_torch,
    from_trainer,
    from_transformers,
    from_xgboost,
)
from undertow.types import BadInput

RNG = ut.stream(0, "test")
X = RNG.normal(size=(60, 5))
Y = (X[:, 0] + X[:, 1] > 0).astype(int)
Y3 = Y + (X[:, 2] > 0.7)


def audited(predict, x=X, y=Y):
    half = len(x) // 2
    return ut.audit_model(predict, (x[:half], y[:half]), (x[half:], y[half:]))


def test_sklearn_forests_margins_pipelines_and_words():
    pytest.importorskip("sklearn")
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import LinearSVC

    forest = RandomForestClassifier(10, random_state=0).fit(X[:30], Y3[:30])
    np.testing.assert_array_equal(from_sklearn(forest)(X), forest.predict_proba(X))
    assert audited(from_sklearn(forest), y=Y3).find("loss", "auc").value > 0.6
    margin = LinearSVC().fit(X[:30], Y[:30])
    z = from_sklearn(margin)(X)
    np.testing.assert_allclose(z[:, 1] - z[:, 0], margin.decision_function(X))
    words = np.array(["no", "yes"])[Y]
    piped = make_pipeline(StandardScaler(), LogisticRegression()).fit(X[:30], words[:30])
    found = audited(from_sklearn(piped), y=words)
    assert found.utility["accuracy on nonmembers"] == piped.score(X[30:], words[30:])


def test_a_regressor_has_no_classes():
    sklearn = pytest.importorskip("sklearn.linear_model")
    with pytest.raises(BadInput, match=r"neither predict_proba nor decision_function.*score="):
        from_sklearn(sklearn.Ridge().fit(X, X[:, 0]))


def test_sklearn_labels_that_skip_numbers():
    sklearn = pytest.importorskip("sklearn.linear_model")
    odd = np.array([3, 66, 10])[Y3]
    model = sklearn.LogisticRegression().fit(X[:30], odd[:30])
    assert audited(from_sklearn(model), y=odd).utility["accuracy on members"] == model.score(X[:30], odd[:30])


class TestTorch:
    torch = pytest.importorskip("torch")

    def net(self):
        nn = self.torch.nn
        self.torch.manual_seed(0)
        return nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 2))

    def test_asked_in_eval_and_left_as_it_was(self):
        net = self.net().train()
        net[1].eval()  # somebody froze the statistics
        before = {k: v.clone() for k, v in net.state_dict().items()}
        first, second = (from_torch(net, batch=7)(X) for _ in range(2))
        np.testing.assert_array_equal(first, second)
        assert [part.training for part in net] == [True, False, True, True]
        assert net.training
        assert all((before[k] == v).all() for k, v in net.state_dict().items())
        assert all(p.grad is None and p.requires_grad for p in net.parameters())
        with self.torch.no_grad():
            own = net.eval()(self.torch.tensor(X, dtype=self.torch.float32)).numpy()
        np.testing.assert_allclose(first, own, atol=1e-6)

    def test_left_as_it_was_when_it_fails(self):
        net = self.net().train()
        with pytest.raises(RuntimeError):
            from_torch(net)(X[:, :3])
        assert all(part.training for part in net)

    @pytest.mark.parametrize("form", ["dict", "tuple", "output"])
    def test_outputs_in_other_forms_are_unwrapped(self, form):
        torch = self.torch

        class Wrapped(torch.nn.Module):
            def __init__(self, inner):
                super().__init__()
                self.inner = inner

            def forward(self, x):
                z = self.inner(x)
                if form == "dict":
                    return {"hidden": x, "logits": z}
                return (z, x) if form == "tuple" else type("Output", (), {"logits": z, "loss": None})()

        net = self.net().eval()
        np.testing.assert_array_equal(from_torch(Wrapped(net))(X), from_torch(net)(X))

    def test_prepare_makes_what_the_module_takes(self):
        net = self.torch.nn.Sequential(self.torch.nn.Flatten(), self.torch.nn.Linear(3 * 4 * 4, 2))
        pixels = ut.stream(1, "pixels").integers(256, size=(20, 4, 4, 3)).astype(np.uint8)
        with pytest.raises(BadInput, match=r"uint8.*prepare="):
            from_torch(net)(pixels)
        ready = from_torch(net, prepare=lambda x: self.torch.from_numpy(x).permute(0, 3, 1, 2) / 255)
        assert audited(ready, pixels, np.arange(20) % 2).data["sizes"] == {"members": 10, "nonmembers": 10}

    def test_something_else_is_refused(self):
        with pytest.raises(BadInput, match=r"needs a torch\.nn\.Module, not dict"):
            from_torch({})


class TestTransformers:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    TEXTS = tuple(f"text {word} number {i}" for i, word in enumerate(["one", "two", "three", "four"] * 5))

    @pytest.fixture
    def text(self):
        from undertow.sources.records.tokens import own_tokens

        inner = own_tokens(self.TEXTS, 300).tokenizer
        tokenizer = self.transformers.PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>")
        config = self.transformers.BertConfig(
            hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, vocab_size=300,
            max_position_embeddings=32, num_labels=3, pad_token_id=0,
        )  # fmt: skip
        self.torch.manual_seed(0)
        return self.transformers.BertForSequenceClassification(config).eval(), tokenizer

    def test_texts_are_tokenized_and_padding_changes_nothing(self, text):
        model, tokenizer = text
        together = from_transformers(model, tokenizer, batch=20)(list(self.TEXTS))
        alone = from_transformers(model, tokenizer, batch=1)(list(self.TEXTS))
        np.testing.assert_allclose(together, alone, atol=1e-5)
        result = audited(from_transformers(model, tokenizer), list(self.TEXTS), np.arange(20) % 3)
        assert result.find("blind", "auc").value is not None

    def test_a_pipeline_gives_its_logits(self, text):
        model, tokenizer = text
        pipe = self.transformers.pipeline("text-classification", model=model, tokenizer=tokenizer, device="cpu")
        np.testing.assert_allclose(
            from_pipeline(pipe)(list(self.TEXTS)), from_transformers(model, tokenizer)(list(self.TEXTS)), atol=1e-6
        )

    def test_a_trainer_and_the_rows_of_its_dataset(self, text, tmp_path):
        pytest.importorskip("accelerate")
        model, tokenizer = text
        settings = self.transformers.TrainingArguments(tmp_path, report_to=[], use_cpu=True)
        trainer = self.transformers.Trainer(model, settings, processing_class=tokenizer)
        rows = [{**tokenizer(t), "labels": i % 3} for i, t in enumerate(self.TEXTS)]

        class Rows:
            def __init__(self, rows):
                self.rows = rows

            def __len__(self):
                return len(self.rows)

            def __getitem__(self, i):
                return self.rows[i]

        result = ut.audit_model(from_trainer(trainer), Rows(rows[:10]), Rows(rows[10:]))
        own = audited(from_transformers(model, tokenizer), list(self.TEXTS), np.arange(20) % 3)
        assert result.find("loss", "auc").value == own.find("loss", "auc").value


def test_a_language_model_scores_texts_by_their_likelihood(tmp_path):
    """The mean of its own log-probabilities, alone or in a batch; with its base the difference of the two."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from undertow.integrations import from_causal_lm
    from undertow.integrations.model_files import from_folder
    from undertow.sources.records.tokens import own_tokens

    texts = [f"a text {i} " + "of words " * (i % 4) for i in range(20)]
    inner = own_tokens(texts, 300).tokenizer
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=inner)  # without a pad
    config = transformers.GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=300, n_positions=64)
    torch.manual_seed(0)
    model, base = transformers.GPT2LMHeadModel(config), transformers.GPT2LMHeadModel(config)
    model.eval()
    slow = []
    for text in texts:
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        with torch.no_grad():
            slow.append(-float(model(input_ids=ids, labels=ids).loss))
    np.testing.assert_allclose(from_causal_lm(model, tokenizer, batch=7)(texts), slow, atol=1e-5)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    np.testing.assert_allclose(from_folder(tmp_path)(texts), slow, atol=1e-5)
    reference = from_causal_lm(base, tokenizer)
    result = ut.audit_model(from_causal_lm(model, tokenizer), texts[:10], texts[10:], base=reference)
    found = next(s for s in result.scores if s.attack == "calibrated").values[0]
    np.testing.assert_allclose(found, slow - reference(texts), atol=1e-4)
    with pytest.raises(BadInput, match="fewer than 2 tokens"):
        from_causal_lm(model, tokenizer)(["a"])


def test_xgboost_classifiers_and_boosters():
    xgboost = pytest.importorskip("xgboost", reason="xgboost is not installed")
    model = xgboost.XGBClassifier(n_estimators=5, n_jobs=1).fit(X[:30], Y[:30])
    np.testing.assert_allclose(from_xgboost(model)(X), model.predict_proba(X))
    np.testing.assert_allclose(from_xgboost(model.get_booster())(X), model.predict_proba(X), atol=1e-6)
    several = xgboost.train(
        {"objective": "multi:softprob", "num_class": 3, "nthread": 1}, xgboost.DMatrix(X[:30], Y3[:30]), 5
    )
    assert audited(from_xgboost(several), y=Y3).find("loss", "auc").value > 0.5
    numbers = xgboost.train({"nthread": 1}, xgboost.DMatrix(X, 100 * X[:, 0]), 2)
    with pytest.raises(BadInput, match="no probability"):
        from_xgboost(numbers)(X)


def test_lightgbm_classifiers_and_boosters():
    lightgbm = pytest.importorskip("lightgbm", reason="lightgbm is not installed")
    model = lightgbm.LGBMClassifier(n_estimators=5, n_jobs=1, verbose=-1, min_child_samples=2).fit(X[:30], Y[:30])
    booster = from_lightgbm(model.booster_)(X)
    np.testing.assert_allclose(booster[:, 1], model.booster_.predict(X))
    assert audited(from_lightgbm(model.booster_)).find("loss", "auc").value > 0.5


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of keras itself
def test_keras_one_sigmoid_is_two_classes(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras", reason="keras is not installed")
    softmax = keras.Sequential([keras.layers.Dense(3, activation="softmax")])
    softmax.build((None, 5))
    np.testing.assert_allclose(from_keras(softmax)(X), softmax.predict(X, verbose=0), atol=1e-6)
    sigmoid = keras.Sequential([keras.layers.Dense(1, activation="sigmoid")])
    sigmoid.build((None, 5))
    found = from_keras(sigmoid)(X)
    assert found.shape == (60, 2)
    np.testing.assert_allclose(found[:, 1], sigmoid.predict(X, verbose=0)[:, 0], atol=1e-6)


def test_a_lightning_module_is_a_module():
    lightning = pytest.importorskip("lightning", reason="lightning is not installed")
    torch = pytest.importorskip("torch")

    class Net(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(5, 2)

        def forward(self, x):
            return self.layer(x)

    assert from_torch(Net())(X).shape == (60, 2)
