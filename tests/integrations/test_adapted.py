"""The adapted base has learnt the texts it was given, the same from the same seed."""

import numpy as np
import pytest

from undertow.integrations import adapted
from undertow.integrations.token_pass import token_pass
from undertow.rng import stream

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


def _model():
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=30, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2
    )
    return transformers.LlamaForCausalLM(config)


def test_texts_become_likelier_and_the_seed_decides(monkeypatch):
    monkeypatch.setattr(adapted, "RATE", 1e-2)
    rng = stream(0, "texts")
    ids = [rng.integers(1, 6, int(n)).tolist() for n in rng.integers(3, 12, 40)]  # 5 of 30 tokens
    before = token_pass(_model(), ids, 8)
    told = []
    first = adapted.adapt(_model(), ids, 0, lambda done, total: told.append((done, total)))
    models = [first, adapted.adapt(_model(), ids, 0)]
    after = [token_pass(model, ids, 8) for model in models]
    assert told[-1] == (80, 80)
    assert not models[0].training
    assert after[0].log_p.sum() > before.log_p.sum() + 0.5 * before.inside.sum()
    np.testing.assert_array_equal(after[0].log_p, after[1].log_p)
