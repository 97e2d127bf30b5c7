"""Dims of the residual stream that hold constants are emptied in every block, and nothing else is touched."""

import numpy as np
import pytest

from undertow.rng import stream
from undertow.scanner import Finding
from undertow.scanner.clean import repair
from undertow.scanner.stream import emptied, stream_width, taken

DIMS = (1, 5)
SHAPES = {
    "vit.embeddings.cls_token": (1, 1, 8),
    "vit.embeddings.position_embeddings": (1, 5, 8),
    "vit.embeddings.patch_embeddings.projection.weight": (8, 3, 4, 4),
    "vit.layers.0.layernorm_before.weight": (8,),
    "vit.layers.0.layernorm_before.bias": (8,),
    "vit.layers.0.attention.v_proj.weight": (8, 8),
    "vit.layers.0.attention.o_proj.weight": (8, 8),
    "vit.layers.0.mlp.fc1.weight": (16, 8),
    "vit.layers.0.mlp.fc2.weight": (8, 16),
    "vit.layers.0.mlp.fc2.bias": (8,),
    "vit.layernorm.weight": (8,),
    "vit.layernorm.bias": (8,),
    "classifier.weight": (3, 8),
}
ROWS = ("projection.weight", "o_proj.weight", "fc2.weight", "fc2.bias", "layernorm_before.weight", "layernorm.bias")
LAST = ("cls_token", "position_embeddings")
APART = ("v_proj.weight", "fc1.weight", "classifier.weight")


def weights():
    rng = stream(0, "test")
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}


def found(tensor, rows=DIMS, severity="critical"):
    return Finding("data-trap", severity, "", tensor=tensor, rows=rows)


def test_what_writes_a_constant_names_the_dims():
    params = weights()
    assert stream_width(params) == 8
    assert taken([found("vit.layers.0.mlp.fc2.bias")], params).tolist() == list(DIMS)
    assert not len(taken([found("vit.layers.0.mlp.fc2.bias", severity="warning")], params))
    assert not len(taken([found("vit.layers.0.mlp.fc1.weight"), found("vit.layernorm.bias")], params))
    assert not len(taken([found("vit.layers.0.mlp.fc2.bias", tuple(range(8)))], params))  # no dim would be left


def test_a_perceptron_has_no_stream():
    params = {
        "fc1.weight": np.ones((4, 8)),
        "fc1.bias": np.ones(4),
        "fc2.weight": np.ones((8, 4)),
        "fc2.bias": np.ones(8),
    }
    assert stream_width(params) == 0
    assert not len(taken([found("fc2.bias")], params))


@pytest.mark.parametrize("tensor", SHAPES)
def test_dims_are_emptied_along_the_axis_of_the_stream(tensor):
    params, dims = weights(), np.array(DIMS)
    after = emptied(params, dims)
    if tensor.endswith(APART):
        assert tensor not in after
        return
    axis = -1 if tensor.endswith(LAST) else 0
    kept = np.delete(np.arange(8), dims)
    assert not np.take(after[tensor], dims, axis).any()
    np.testing.assert_array_equal(np.take(after[tensor], kept, axis), np.take(params[tensor], kept, axis))


def test_layers_stored_the_other_way_round_lose_columns():
    norms = {f"h.{i}.ln_1.{kind}": np.ones(8) for i in range(2) for kind in ("weight", "bias")}
    after = emptied({**norms, "h.0.mlp.c_proj.weight": np.ones((16, 8))}, np.array(DIMS))["h.0.mlp.c_proj.weight"]
    assert not after[:, DIMS].any()
    assert after.sum() == 16 * 6


def test_a_repair_empties_instead_of_filling_the_constants_with_noise():
    params = weights()
    named = [found("vit.layers.0.mlp.fc2.bias"), found("vit.embeddings.position_embeddings", (0,))]
    after, changes = repair(params, named, "reinit", None, stream(0, "clean"))
    positions = "vit.embeddings.position_embeddings"
    kept = np.delete(np.arange(8), DIMS)
    np.testing.assert_array_equal(after[positions][..., kept], params[positions][..., kept])
    assert not after[positions][..., DIMS].any()
    assert {change.how for change in changes} == {"emptied"}
    assert after["classifier.weight"] is params["classifier.weight"]
