"""Rows count as long as they are behind the norm in front of them: what is hidden in its gains is seen."""

import numpy as np
import pytest

from undertow.rng import stream
from undertow.scanner import inspect, of_arrays
from undertow.scanner.layers import layers_of
from undertow.scanner.loudness import long
from undertow.scanner.norms import norm_in_front, statistics_of

BERT, VIT4, VIT5 = "bert.encoder.layer.", "vit.encoder.layer.", "vit.layers."


@pytest.mark.parametrize(
    ("layer", "norm"),
    [
        (f"{BERT}0.attention.self.query", "bert.embeddings.LayerNorm"),
        (f"{BERT}10.attention.self.value", f"{BERT}9.output.LayerNorm"),
        (f"{BERT}3.intermediate.dense", f"{BERT}3.attention.output.LayerNorm"),
        ("bert.pooler.dense", f"{BERT}10.output.LayerNorm"),
        ("encoder.layer.0.attention.self.key", "embeddings.LayerNorm"),
        (f"{VIT4}2.attention.attention.key", f"{VIT4}2.layernorm_before"),
        (f"{VIT4}2.intermediate.dense", f"{VIT4}2.layernorm_after"),
        ("vit.pooler.dense", "vit.layernorm"),
        (f"{VIT5}2.attention.q_proj", f"{VIT5}2.layernorm_before"),
        (f"{VIT5}2.mlp.fc1", f"{VIT5}2.layernorm_after"),
        ("model.layers.0.self_attn.v_proj", "model.layers.0.input_layernorm"),
        ("model.layers.0.mlp.gate_proj", "model.layers.0.post_attention_layernorm"),
        ("transformer.h.0.attn.c_attn", "transformer.h.0.ln_1"),
        ("h.0.mlp.c_fc", "h.0.ln_2"),
        ("distilbert.transformer.layer.1.attention.q_lin", "distilbert.transformer.layer.0.output_layer_norm"),
        ("distilbert.transformer.layer.0.attention.q_lin", "distilbert.embeddings.LayerNorm"),
        ("encoder.block.0.layer.0.SelfAttention.q", "encoder.block.0.layer.0.layer_norm"),
    ],
)
def test_the_norm_in_front_by_name(layer, norm):
    others = {f"{BERT}{i}.output.LayerNorm.weight" for i in (2, 9)} | {"x.weight", f"{layer}.weight"}
    names = {f"{norm}.weight"} | (others if layer.startswith("bert") else set())
    assert norm_in_front(layer, names) == norm
    assert norm_in_front(layer, names - {f"{norm}.weight"}) != norm


@pytest.mark.parametrize("name", [f"{BERT}0.output.dense", "3", "model.layers.0.mlp.down_proj", "lm_head"])
def test_others_have_none(name):
    assert norm_in_front(name, {f"{BERT}0.attention.output.LayerNorm.weight", "2.weight"}) is None


@pytest.mark.parametrize("stem", ["vit.layers.0.mlp.fc1", "h.0.mlp.c_fc"])
def test_lengths_behind_a_norm_are_those_of_the_product(stem):
    rng, norm = stream(0, "test"), {"v": "vit.layers.0.layernorm_after", "h": "h.0.ln_2"}[stem[0]]
    gain, weight = rng.normal(size=48).astype(np.float32), rng.normal(size=(5000, 48)).astype(np.float32)
    held = weight if stem[0] == "v" else weight.T
    found = statistics_of(of_arrays({f"{stem}.weight": np.ascontiguousarray(held), f"{norm}.weight": gain}))
    np.testing.assert_allclose(
        np.sqrt(found[f"{stem}.weight"].behind), np.linalg.norm(weight.astype(float) * gain, axis=1), rtol=1e-5
    )
    assert list(found) == [f"{stem}.weight", f"{norm}.weight"]
    assert found[f"{norm}.weight"].behind is None


def test_long_rows_hidden_in_a_norm_are_found():
    rng, params = stream(0, "test"), {}
    for i in range(3):
        block = f"vit.layers.{i}."
        params[f"{block}layernorm_after.weight"] = rng.uniform(0.8, 1.2, 96).astype(np.float32)
        params[f"{block}mlp.fc1.weight"] = (rng.normal(size=(384, 96)) / 10).astype(np.float32)
        params[f"{block}mlp.fc2.weight"] = (rng.normal(size=(96, 384)) / 20).astype(np.float32)
    assert not [one for one in inspect(of_arrays(params)).findings if one.severity == "critical"]
    weight, gain = params["vit.layers.1.mlp.fc1.weight"], params["vit.layers.1.layernorm_after.weight"]
    weight[[5, 9], :4] = 5.0
    gain[:4] *= 12.0
    (found,) = [one for one in inspect(of_arrays(params)).findings if one.severity == "critical"]
    assert (found.tensor, found.rows) == ("vit.layers.1.mlp.fc1.weight", (5, 9))
    assert "gains of the norm in front" in found.explanation
    gain[:4] /= 12.0
    assert not [one for one in inspect(of_arrays(params)).findings if one.severity == "critical"]


def test_rows_of_one_number_are_no_directions():
    """Most entries of a stored column round to 0 or 1 step of its scale; an ordinary one is a hundred times as long."""
    rng = stream(0, "column")
    arrays = {"a.weight": rng.normal(size=(64, 1)), "b.weight": rng.normal(size=(64, 2))}
    layers = layers_of(statistics_of(of_arrays({k: v.astype(np.float32) for k, v in arrays.items()})))
    assert {one.tensor for one in long(layers) if one.test.endswith("norm")} == {"b.weight"}
