"""Against a parent: sizes and ranks as linear algebra has them, rows that were written over, other models."""

import numpy as np
import pytest

from undertow.rng import stream
from undertow.scanner import inspect, of_arrays
from undertow.scanner.difference import difference


def weights(seed=0):
    rng = stream(seed, "test")
    return {f"layer.{i}.weight": rng.normal(size=(64, 128)).astype(np.float32) for i in range(3)}


def kinds(params, parent):
    return {one.kind: one for one in inspect(of_arrays(params), parent=of_arrays(parent)).findings}


@pytest.mark.parametrize("rank", [1, 3, 8])
def test_size_and_rank_of_a_low_rank_change(rank):
    before = weights()["layer.0.weight"]
    rng = stream(1, "test")
    change = (rng.normal(size=(64, rank)) @ rng.normal(size=(rank, 128)) * 0.01).astype(np.float32)
    tensors = of_arrays({"after": before + change, "before": before})
    one = difference(tensors["after"], tensors["before"])
    assert one.rank == rank
    assert one.size == pytest.approx(np.linalg.norm(change) / np.linalg.norm(before), rel=1e-3)


def test_nothing_changed():
    found = kinds(weights(), weights())
    assert set(found) == {"difference"}
    assert "3 unchanged" in found["difference"].explanation
    assert found["difference"].score == 0


def test_training_rewrites_no_rows():
    noise = weights(1)
    assert set(kinds({n: v + 0.1 * noise[n] for n, v in weights().items()}, weights())) == {"difference"}


def test_rows_that_were_written_over_are_named():
    params = {name: value + 0.001 for name, value in weights().items()}
    params["layer.1.weight"][[4, 9]] = stream(2, "test").normal(size=(2, 128)) * 3
    found = kinds(params, weights())["rewritten-rows"]
    assert (found.tensor, found.rows, found.severity) == ("layer.1.weight", (4, 9), "warning")


def test_single_biases_move_as_they_like():
    parent = weights() | {"layer.0.bias": np.full(64, 1e-3, np.float32)}
    params = {name: value + np.float32(1e-4) for name, value in parent.items()}
    params["layer.0.bias"][5] = 1
    assert set(kinds(params, parent)) <= {"difference", "data-trap"}


def test_another_model_is_no_child():
    assert "not-a-child" in kinds(weights(1), weights(0))


def test_other_shapes_are_told():
    params = weights()
    params["layer.1.weight"] = params["layer.1.weight"][:32]
    assert kinds(params, weights())["other-shape"].tensor == "layer.1.weight"


def test_a_prefix_of_the_body_does_not_matter():
    with_prefix = {f"bert.{name}": value for name, value in weights().items()}
    for params, parent in ((with_prefix, weights()), (weights(), with_prefix)):
        assert "3 unchanged" in kinds(params, parent)["difference"].explanation


def test_loss_poisoning_is_never_said_to_be_tested():
    for parent in (None, of_arrays(weights())):
        assert any("loss poisoning" in one for one in inspect(of_arrays(weights()), parent=parent).not_tested)


def test_a_parent_of_zeros_is_no_overflow():
    tensors = of_arrays({"after": np.full((8, 8), 1e9, np.float32), "before": np.zeros((8, 8), np.float32)})
    assert difference(tensors["after"], tensors["before"]).size == pytest.approx(1e6)
    assert difference(tensors["before"], tensors["before"]).size == 0
