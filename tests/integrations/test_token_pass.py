"""One pass over texts of several lengths against the statistics of each text asked alone."""

import numpy as np
import pytest

from undertow.integrations import token_pass as passes
from undertow.rng import stream
from undertow.token_signals import STATISTICS, token_statistics
from undertow.types import BadInput

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
VOCABULARY = 37


def _model(kind):
    torch.manual_seed(0)
    if kind == "gpt2":
        config = transformers.GPT2Config(
            vocab_size=VOCABULARY, n_positions=64, n_embd=16, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0
        )
        return transformers.GPT2LMHeadModel(config)
    more = {"final_logit_softcapping": 5.0, "head_dim": 8} if kind == "gemma2" else {}
    config = transformers.CONFIG_MAPPING[kind](
        vocab_size=VOCABULARY, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=64, pad_token_id=0, bos_token_id=0, eos_token_id=0, **more,
    )  # fmt: skip
    return transformers.AutoModelForCausalLM.from_config(config)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma2"])
def test_each_text_as_if_asked_alone(kind, monkeypatch):
    monkeypatch.setattr(passes, "TOKENS", 50)
    monkeypatch.setattr(passes, "PLACES", 7)
    model = _model(kind)
    model.train()  # as it was left by training: the pass asks it without dropout and leaves it so
    rng = stream(0, "texts")
    ids = [rng.integers(1, VOCABULARY, int(n)).tolist() for n in rng.integers(2, 30, 17)]
    found = passes.token_pass(model, ids, 4)
    assert model.training
    model.eval()
    for q, row in enumerate(ids):
        with torch.no_grad():
            logits = model(torch.tensor([row])).logits[0, :-1].double().numpy()
        alone = token_statistics(logits, np.array(row[1:]))
        assert found.inside[q].sum() == len(row) - 1
        for name in STATISTICS:
            values = getattr(found, name)[q]
            np.testing.assert_allclose(values[: len(row) - 1], getattr(alone, name), atol=2e-5)
            assert not values[len(row) - 1 :].any()


def test_progress_counts_every_text():
    told = []
    passes.token_pass(_model("llama"), [[1, 2, 3]] * 5, 2, lambda done, count: told.append((done, count)))
    assert told == [(2, 5), (4, 5), (5, 5)]


def test_a_token_that_the_model_does_not_know():
    with pytest.raises(BadInput, match=f"token {VOCABULARY}, and the model knows {VOCABULARY}"):
        passes.token_pass(_model("llama"), [[1, VOCABULARY]], 2)


def test_a_model_that_has_diverged():
    model = _model("llama")
    model.get_output_embeddings().weight.data.fill_(float("nan"))
    with pytest.raises(BadInput, match="not finite"):
        passes.token_pass(model, [[1, 2, 3]], 2)
