"""Who reads whom: transformers 4 and 5 names, plain modules, GPT-2's transposed matrices, batch norms."""

import numpy as np
import pytest

from undertow.rng import stream
from undertow.scanner import of_arrays
from undertow.scanner.chains import natural
from undertow.scanner.layers import hidden_of, layers_of
from undertow.scanner.statistics import statistics


def found(shapes):
    params = {name: stream(0, name).normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    return params, {name: statistics(one) for name, one in of_arrays(params).items()}


def pairs(shapes):
    hidden = hidden_of(layers_of(found(shapes)[1]))
    return {one.layer.name: one.reader.name for one in hidden}


def test_natural_order():
    assert sorted(["layers.10.w", "layers.9.w", "layers.9.a"], key=natural) == [
        "layers.9.a",
        "layers.9.w",
        "layers.10.w",
    ]


def test_a_plain_perceptron():
    shapes = {"0.weight": (32, 8), "0.bias": (32,), "2.weight": (16, 32), "10.weight": (4, 16)}
    assert pairs(shapes) == {"0": "2", "2": "10"}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("bert.encoder.layer.0.intermediate.dense", "bert.encoder.layer.0.output.dense"),
        ("vit.encoder.layer.0.intermediate.dense", "vit.encoder.layer.0.output.dense"),
        ("vit.layers.0.mlp.fc1", "vit.layers.0.mlp.fc2"),
        ("model.layers.0.mlp.up_proj", "model.layers.0.mlp.down_proj"),
        ("encoder.block.0.layer.1.DenseReluDense.wi", "encoder.block.0.layer.1.DenseReluDense.wo"),
        ("distilbert.transformer.layer.0.ffn.lin1", "distilbert.transformer.layer.0.ffn.lin2"),
    ],
)
def test_feed_forward_parts_of_transformers(first, second):
    assert pairs({f"{first}.weight": (32, 8), f"{second}.weight": (8, 32)}) == {first: second}


def test_attention_values_are_read_by_the_output_and_queries_by_nothing():
    stem = "layer.0.attention."
    shapes = {f"{stem}self.{name}.weight": (8, 8) for name in ("query", "key", "value")}
    assert pairs(shapes | {f"{stem}output.dense.weight": (8, 8)}) == {f"{stem}self.value": f"{stem}output.dense"}


def test_units_of_gpt2_are_columns():
    params, stats = found(
        {"h.0.mlp.c_fc.weight": (8, 32), "h.0.mlp.c_fc.bias": (32,), "h.0.mlp.c_proj.weight": (32, 8)}
    )
    (one,) = hidden_of(layers_of(stats))
    np.testing.assert_allclose(one.layer.norm, np.linalg.norm(params["h.0.mlp.c_fc.weight"], axis=0), rtol=1e-5)
    np.testing.assert_allclose(one.gain, np.linalg.norm(params["h.0.mlp.c_proj.weight"], axis=1), rtol=1e-5)
    np.testing.assert_array_equal(one.layer.bias, params["h.0.mlp.c_fc.bias"])


def test_a_flattened_map_of_a_convolution_adds_up():
    params, stats = found({"0.weight": (16, 3, 3, 3), "3.weight": (10, 16 * 4)})
    (one,) = hidden_of(layers_of(stats))
    by_channel = params["3.weight"].reshape(10, 16, 4)
    np.testing.assert_allclose(one.gain, np.sqrt((by_channel**2).sum((0, 2))), rtol=1e-5)


@pytest.mark.parametrize(("conv", "norm"), [("0", "1"), ("layer1.0.conv2", "layer1.0.bn2")])
def test_a_batch_norm_scales_the_layer_before_it(conv, norm):
    shapes = {f"{conv}.weight": (16, 3, 3, 3), f"{norm}.weight": (16,), f"{norm}.running_var": (16,)}
    params, stats = found(shapes)
    (layer,) = layers_of(stats)
    scale = np.abs(params[f"{norm}.weight"]) / np.sqrt(np.abs(params[f"{norm}.running_var"]) + 1e-5)
    length = np.linalg.norm(params[f"{conv}.weight"].reshape(16, -1), axis=1)
    np.testing.assert_allclose(layer.norm, scale * length, rtol=1e-4)


def test_embeddings_are_no_layers_but_a_patch_projection_is():
    shapes = {
        "embeddings.word_embeddings.weight": (50, 8),
        "embeddings.patch_embeddings.projection.weight": (8, 3, 4, 4),
    }
    assert [one.name for one in layers_of(found(shapes)[1])] == ["embeddings.patch_embeddings.projection"]
