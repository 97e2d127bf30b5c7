"""Models asked as they are served: few bits are those of `quantise`, utility that of the first view's weights."""

import numpy as np
import pytest

pytest.importorskip("torch")

from undertow.models.architecture import Mlp, initial_state
from undertow.quantise import quantise
from undertow.rng import stream
from undertow.stages.query import Query
from undertow.stages.serve import Serve
from undertow.stages.soften import Soften
from undertow.storage.store import MemoryStore
from undertow.training.choose import Plan
from undertow.training.task import to_params
from undertow.types import ConfigError, Slot

SLOT = Slot("base", 0, 0, None)
MODEL = Mlp((7,))
QUERY = Query("views", "test", MODEL, (5,), 3, Plan("sequential", 1))


@pytest.fixture
def store():
    store, rng = MemoryStore(), stream(0, "x")
    store.put("views", {"x": rng.normal(size=(6, 1, 5))})
    store.put("test", {"x": rng.normal(size=(9, 5)), "y": rng.integers(3, size=9)})
    return store


def state(seed=0):
    return to_params(initial_state(MODEL, (5,), 3, seed))


def test_each_view_answers_with_its_weights(store):
    found = Serve(QUERY, ("exact", "int8", "int4"))([SLOT], [state()], store)[0]
    for view, bits in (("int8", 8), ("int4", 4)):
        served = QUERY([SLOT], [quantise(state(), bits)], store)[0]
        np.testing.assert_array_equal(found[f"{view}/logits"], served["logits"])
    exact = QUERY([SLOT], [state()], store)[0]
    np.testing.assert_array_equal(found["exact/logits"], exact["logits"])
    assert not np.array_equal(found["int4/logits"], found["int8/logits"])
    assert found["accuracy"] == exact["accuracy"]
    assert found["heldout_loss"] == exact["heldout_loss"]


def test_held_out_loss_is_the_mean_cross_entropy(store):
    found, test = QUERY([SLOT], [state()], store)[0], store.get("test")
    store.put("views", {"x": test["x"][:, None]})
    logits = QUERY([SLOT], [state()], store)[0]["logits"][:, 0].astype(float)
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    assert found["heldout_loss"] == pytest.approx(-np.log(p[np.arange(9), test["y"]]).mean(), rel=1e-5)
    assert found["accuracy"] == (logits.argmax(-1) == test["y"]).mean()


def test_an_unknown_view_is_refused():
    with pytest.raises(ConfigError, match="no view 'int3'"):
        Serve(QUERY, ("exact", "int3"))


def test_the_average_lies_between_checkpoint_and_parent(store):
    store.put("parent", state(1))
    mixed = Soften("average", 0.25, "parent")([SLOT], [state()], store)[0]
    for name, value in mixed.items():
        np.testing.assert_allclose(value, 0.75 * state()[name] + 0.25 * state(1)[name], rtol=1e-6)
    store.put("other", {"head.weight": np.ones((2, 2))})
    with pytest.raises(ConfigError, match="another model"):
        Soften("average", 0.25, "other")([SLOT], [state()], store)


def test_noise_is_of_each_matrix_own_size_and_of_the_seed(store):
    big = {"weight": stream(0, "w").normal(size=(200, 200)) * 3, "bias": np.ones(200)}
    big["tied"] = big["weight"]
    noisy = Soften("noise", 0.2)([SLOT], [big], store)[0]
    assert (noisy["weight"] - big["weight"]).std() == pytest.approx(0.6, rel=0.05)
    np.testing.assert_array_equal(noisy["bias"], big["bias"])
    np.testing.assert_array_equal(noisy["tied"], noisy["weight"])
    np.testing.assert_array_equal(Soften("noise", 0.2)([SLOT], [big], store)[0]["weight"], noisy["weight"])
    other = Soften("noise", 0.2)([Slot("base", 0, 1, None)], [big], store)[0]
    assert (other["weight"] != noisy["weight"]).all()


@pytest.mark.parametrize("wrong", [("noise", -1), ("average", 0.5), ("average", 1.5, "x"), ("noise", 0.1, "x")])
def test_what_cannot_soften_is_refused(wrong):
    with pytest.raises(ConfigError, match="soften"):
        Soften(*wrong)
