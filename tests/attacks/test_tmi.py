import numpy as np
import pytest
from tests.oracles import tmi as oracle

from undertow.attacks import tmi
from undertow.attacks.lira import PER_EXAMPLE
from undertow.attacks.metaclassifier import Recipe
from undertow.attacks.moments import resolution
from undertow.rng import stream
from undertow.signals import scaled_logits
from undertow.types import ConfigError, Signals


def game(models=8, points=3, views=2, classes=4, targets=2, seed=0):
    rng = stream(seed, "game", models, points, views, classes)
    member = np.argsort(np.argsort(rng.random((models, points)), 0), 0) < models // 2
    record = rng.normal(0, 2, (points, 1, classes))
    values, target = (record + rng.normal(size=(m, points, views, classes)) for m in (models, targets))
    return Signals(values, member), target


@pytest.fixture
def float64(monkeypatch):
    """Metaclassifiers in the oracle's precision."""
    monkeypatch.setattr(tmi, "_float32", np.ascontiguousarray)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("classes", [2, 4])
def test_released_recipe(classes):
    shadow, target = game(classes=classes)
    by_hand = oracle.tmi_by_hand(shadow, target, Recipe(), stream(1, "fit"))
    np.testing.assert_allclose(tmi.tmi(shadow, target, stream(1, "fit")), by_hand, atol=1e-8)


@pytest.mark.usefixtures("float64")
def test_averaged():
    shadow, target = game()
    by_hand = oracle.tmi_averaged_by_hand(shadow, target, Recipe(epochs=80), stream(1, "fit"))
    np.testing.assert_allclose(tmi.tmi_averaged(shadow, target, stream(1, "fit")), by_hand, atol=1e-8)


@pytest.mark.usefixtures("float64")
def test_global():
    shadow, target = game(points=40)
    recipe = Recipe(hidden=64, dropout=0.0, lr=2e-3, weight_decay=0.0, epochs=10, batch=256, gamma=1.0)
    by_hand = oracle.tmi_global_by_hand(shadow, target, recipe, stream(1, "fit"))
    np.testing.assert_allclose(tmi.tmi_global(shadow, target, stream(1, "fit")), by_hand, atol=1e-8)


@pytest.mark.usefixtures("float64")
def test_label_only():
    shadow, target = game()
    by_hand = oracle.tmi_by_hand(shadow, target, Recipe(), stream(1, "fit"), oracle.one_hot)
    np.testing.assert_allclose(tmi.tmi_label_only(shadow, target, stream(1, "fit")), by_hand, atol=1e-8)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("k", [1, 2])
def test_top_k(k):
    shadow, target = game()
    by_hand = oracle.tmi_by_hand(shadow, target, Recipe(), stream(1, "fit"), lambda logits: oracle.top_k_phi(logits, k))
    np.testing.assert_allclose(tmi.tmi_top_k(shadow, target, stream(1, "fit"), k), by_hand, atol=1e-8)


@pytest.mark.parametrize("classes", [2, 4, 12])  # 12: more classes than models of a side
def test_lda(classes):
    shadow, target = game(models=12, points=5, classes=classes)
    by_hand = oracle.tmi_lda_by_hand(shadow, target, 0.1)
    np.testing.assert_allclose(tmi.tmi_lda(shadow, target), by_hand, rtol=1e-8, atol=1e-8)


def test_lda_with_different_counts():
    shadow, target = game(models=12, points=5)
    member = np.argsort(np.argsort(stream(2, "test").random((12, 5)), 0), 0) < np.array([3, 4, 6, 7, 9])
    shadow = Signals(shadow.values, member)
    by_hand = oracle.tmi_lda_by_hand(shadow, target, 0.1)
    np.testing.assert_allclose(tmi.tmi_lda(shadow, target), by_hand, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(("models", "k"), [(20, 15), (8, 8)])  # 16 rows: k shrinks to 8
def test_knn(models, k):
    shadow, target = game(models=models, points=4)
    by_hand = oracle.tmi_knn_by_hand(shadow, target, k)
    np.testing.assert_allclose(tmi.tmi_knn(shadow, target), by_hand, atol=1e-8)


def test_knn_shares_the_last_places_among_ties():
    """Saturated outputs are all the same vector: the vote is then the share of IN, whatever the order."""
    shadow, target = game(models=8, points=2, views=1)
    same = Signals(np.zeros_like(shadow.values), shadow.member)
    np.testing.assert_allclose(tmi.tmi_knn(same, np.zeros_like(target)), 0.5)
    rows, labels = np.array([[0.0], [1.0], [1.0], [1.0]]), np.array([1.0, 1.0, 0.0, 0.0])
    np.testing.assert_allclose(tmi._knn(rows, labels, np.zeros((1, 1)), 2), (1 + 1 / 3) / 2)


@pytest.mark.parametrize(("models", "views"), [(20, 3), (8, 6), (8, 1)])  # 8 models, 6 views: #IN <= A
def test_adapted_lira(models, views):
    shadow, target = game(models=models, points=4, views=views)
    by_hand = oracle.adapted_lira_by_hand(shadow, target, 1e-3)
    np.testing.assert_allclose(tmi.adapted_lira(shadow, target), by_hand, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("models", [8, 2 * PER_EXAMPLE])
def test_adapted_lira_averaged(models):
    shadow, target = game(models=models, points=4)
    by_hand = oracle.adapted_lira_averaged_by_hand(shadow, target, models >= 2 * PER_EXAMPLE)
    np.testing.assert_allclose(tmi.adapted_lira_averaged(shadow, target), by_hand, rtol=1e-8, atol=1e-8)


def test_top_k_is_a_distribution_with_the_largest_kept():
    logits = stream(3, "test").normal(0, 3, (5, 4, 6))
    for k in (1, 3, 5, 6, 9):
        p, kept = np.exp(scaled_to_log_p(logits)), np.exp(tmi.top_k(logits, k))
        np.testing.assert_allclose(kept.sum(-1), 1)
        np.testing.assert_allclose(np.sort(kept, -1)[..., ::-1][..., :k], np.sort(p, -1)[..., ::-1][..., :k])
    with pytest.raises(ConfigError, match="k = 0"):
        tmi.top_k(logits, 0)


def scaled_to_log_p(logits):
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def test_top_1_does_not_saturate():
    """The kept probability is 1 in float64, but its scaled logit is not lost."""
    logits = np.array([[60.0, 0.0, 0.0], [80.0, 0.0, 0.0]])
    top = scaled_logits(tmi.top_k(logits, 1))[:, 0]
    np.testing.assert_allclose(top, [60 - np.log(2), 80 - np.log(2)])


def test_unit_clips_long_vectors_and_keeps_short_ones():
    np.testing.assert_allclose(tmi.unit(np.array([[3.0, 4.0], [0.3, 0.4]])), [[0.6, 0.8], [0.3, 0.4]])


def test_floor_is_the_rounding_of_a_float32():
    np.testing.assert_allclose(resolution(np.array([0.0, 1.0, -100.0])), np.array([1, 1, 100]) * 2.0**-23)
