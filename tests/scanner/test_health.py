"""Damage is told, and makes nothing unsafe."""

import numpy as np

from undertow.rng import stream
from undertow.scanner import inspect, of_arrays


def kinds(params, **options):
    found = inspect(of_arrays(params), **options).findings
    assert not any(one.severity == "critical" for one in found)
    return {one.kind: one for one in found}


def weight(seed=0, rows=32):
    return stream(seed, "test").normal(size=(rows, 48)).astype(np.float32)


def test_sound_weights_are_silent():
    assert kinds({"a.weight": weight(), "b.weight": weight(1)}) == {}


def test_not_finite_rows_are_named():
    value = weight()
    value[3, 1], value[8, 0] = np.nan, -np.inf
    assert kinds({"a.weight": value})["not-finite"].rows == (3, 8)


def test_dead_layers_subnormal_numbers_and_mixed_dtypes():
    assert "dead-layer" in kinds({"a.weight": np.zeros((32, 48), np.float32)})
    assert "subnormal" in kinds({"a.weight": weight() * np.float32(1e-41)})
    assert "mixed-dtypes" in kinds({"a.weight": weight(), "b.weight": weight(1).astype(np.float16)})


def test_a_head_that_should_be_tied():
    tied = {"model.embed_tokens.weight": weight(), "lm_head.weight": weight()}
    assert kinds(tied, config={"tie_word_embeddings": True}) == {}
    untied = tied | {"lm_head.weight": weight(1)}
    assert kinds(untied, config={"tie_word_embeddings": True})["untied"].tensor == "lm_head.weight"
    assert kinds(untied, config={"tie_word_embeddings": False}) == {}


def test_blocks_that_the_architecture_does_not_have():
    params = {f"model.layers.{i}.mlp.up_proj.weight": weight(i) for i in range(3)}
    assert kinds(params, config={"num_hidden_layers": 3}) == {}
    assert (
        kinds(params, config={"num_hidden_layers": 2})["unused-tensors"].tensor == "model.layers.2.mlp.up_proj.weight"
    )


def test_what_was_not_looked_at_is_told():
    seen = inspect(of_arrays({"a.weight": weight().astype(np.complex64)}))
    assert any("C64" in one for one in seen.not_tested)
