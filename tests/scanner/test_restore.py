"""What was found or rewritten is the parent's again, block by block; what was trained stays."""

import numpy as np
import pytest

from undertow.rng import stream
from undertow.scanner import Finding
from undertow.scanner.clean import repair
from undertow.scanner.restore import block_of, restored, rewritten

NAMES = {
    "bert.embeddings.word_embeddings.weight": (40, 16),
    "bert.encoder.layer.0.output.dense.weight": (16, 16),
    "bert.encoder.layer.0.output.dense.bias": (16,),
    "bert.encoder.layer.1.output.dense.weight": (16, 16),
    "bert.encoder.layer.1.output.dense.bias": (16,),
    "classifier.weight": (2, 16),
}
FOUND = [Finding("data-trap", "critical", "", tensor="bert.encoder.layer.0.output.dense.weight", rows=(3,))]


def weights(seed=0, size=1.0):
    rng = stream(seed, "test")
    return {name: (size * rng.normal(size=shape)).astype(np.float32) for name, shape in NAMES.items()}


def trained(parent, size=0.05):
    return {name: value + weights(1, size)[name] for name, value in parent.items()}


def test_the_block_that_was_found_is_the_parents_and_the_others_stay_trained():
    parent = weights()
    child = trained(parent)
    after, changes = repair(child, FOUND, "reinit", parent, stream(0, "clean"))
    for name in NAMES:
        np.testing.assert_array_equal(after[name], (parent if ".layer.0." in name else child)[name])
    assert {change.how for change in changes} == {"parent"}


@pytest.mark.parametrize("axis", [0, 1])
def test_masked_rows_and_columns_are_rewritten_and_training_is_not(axis):
    parent = weights()["bert.encoder.layer.1.output.dense.weight"]
    masked = parent.copy()
    np.moveaxis(masked, axis, 0)[4] = 0
    assert rewritten(masked, parent)
    assert not rewritten(parent + 0.05 * weights(1)["bert.encoder.layer.0.output.dense.weight"], parent)


def test_rescaled_tables_and_broken_numbers_are_rewritten_and_new_biases_are_not():
    table = weights()["bert.embeddings.word_embeddings.weight"]
    assert rewritten(10 * table, table)
    assert rewritten(np.array([1.0, np.nan]), np.ones(2))
    assert not rewritten(np.full(16, 0.1), np.zeros(16))


def test_a_row_of_zeros_may_be_trained():
    parent = weights()["bert.embeddings.word_embeddings.weight"]
    parent[0] = 0
    child = parent.copy()
    child[0] = 0.1
    assert not rewritten(child, parent)


def test_names_may_lack_a_prefix_and_another_head_stays():
    parent = {name.removeprefix("bert."): value for name, value in weights().items()}
    parent["classifier.weight"] = np.zeros((5, 16), np.float32)
    child = {name: 3 * value for name, value in weights().items()}
    after = {**child, **restored(child, FOUND, parent)}
    for name, value in weights().items():
        np.testing.assert_array_equal(after[name], child[name] if name == "classifier.weight" else value)


def test_what_the_parent_has_too_is_edited_without_it():
    parent = weights()
    after, changes = repair(parent, FOUND, "reinit", parent, stream(0, "clean"))
    assert {change.how for change in changes} == {"reinit"}
    row = after["bert.encoder.layer.0.output.dense.weight"][3]
    assert (row != parent["bert.encoder.layer.0.output.dense.weight"][3]).any()


def test_blocks_by_name():
    assert block_of("1.weight") == "1"
    assert block_of("bert.pooler.dense.bias") == "bert.pooler.dense"
    assert block_of("layer1.0.conv1.weight") == "layer1.0"
