"""The poisoner's loop and its link: which way losses go, what is drawn, and what is left where it diverges."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn
from torch.nn.functional import cross_entropy

from undertow.models.architecture import Mlp, initial_state
from undertow.rng import stream
from undertow.stages.poison import Poison
from undertow.storage.store import MemoryStore
from undertow.training import poison as loop
from undertow.training.choose import Plan
from undertow.training.objective import Objective
from undertow.training.poison import Batches, Diverged, poison, random_labels
from undertow.training.task import load_state, to_params
from undertow.types import IGNORED, ConfigError, Slot

SHAPE, K = (6,), 3
MODEL = Mlp((8,))
OBJECTIVE = Objective("max", target_weight=0.5, cap=4.0, steps=60, batch=8, lr=0.02)
SLOT = Slot("base", 0, 0, None)


def records(count, purpose):
    rng = stream(1, purpose)
    return rng.normal(size=(count, *SHAPE)), rng.integers(K, size=count)


@pytest.fixture
def store():
    store = MemoryStore()
    for name in ("auxiliary", "targets", "other targets"):
        x, y = records(30, name)
        store.put(name, {"x": x, "y": y})
    return store


def stage(direction="max", architecture=MODEL, **changes):
    targets = changes.pop("targets", "targets")
    objective = replace(OBJECTIVE, direction=direction, **changes)
    return Poison("auxiliary", targets, architecture, SHAPE, K, objective, Plan("sequential", 1, "float64"))


def begin(architecture=MODEL):
    return to_params(initial_state(architecture, SHAPE, K, 0))


def loss_on(params, store, name):
    module = MODEL.build(SHAPE, K).double()
    load_state(module, params, torch.float64)
    arrays = store.get(name)
    with torch.no_grad():
        return float(cross_entropy(module(torch.as_tensor(arrays["x"])), torch.as_tensor(arrays["y"])))


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[n], b[n]) for n in a)


def test_the_targets_loss_goes_where_the_direction_says(store):
    losses = {d: loss_on(stage(d)([SLOT], [begin()], store)[0], store, "targets") for d in ("max", "none", "min")}
    assert losses["max"] > losses["none"] + 0.5
    assert losses["min"] < losses["none"] - 0.3


def test_random_labels_are_learnt_and_the_true_ones_are_not(store):
    params = stage("random-label", steps=300)([SLOT], [begin()], store)[0]
    y = store.get("targets")["y"]
    drawn = random_labels(y, K, stream(0, "poison", "random labels"))
    store.put("drawn", {"x": store.get("targets")["x"], "y": drawn})
    assert loss_on(params, store, "drawn") < loss_on(params, store, "targets") - 1


def test_with_no_direction_the_targets_are_not_looked_at(store):
    ours, others = (stage("none", targets=name)([SLOT], [begin()], store)[0] for name in ("targets", "other targets"))
    assert same(ours, others)
    x, y = (torch.as_tensor(part) for part in records(30, "auxiliary"))
    module = MODEL.build(SHAPE, K).double()
    poison(module, begin(), Batches(x, y, stream(0)), None, replace(OBJECTIVE, direction="none"))  # nothing to look at


def test_all_arms_see_the_same_auxiliary_batches(store, monkeypatch):
    seen = {}
    for direction in ("none", "max", "min", "random-label"):
        batches = seen[direction] = []

        def spy(module, x, y, batches=batches):
            batches.append((x.numpy().copy(), y.numpy().copy()))
            return cross_entropy(module(x), y)

        monkeypatch.setattr(loop, "auxiliary_loss", spy)
        stage(direction, jitter=0.1, steps=5)([SLOT], [begin()], store)
    assert len(seen["none"]) == 5
    for batches in seen.values():
        for (x, y), (x0, y0) in zip(batches, seen["none"], strict=True):
            np.testing.assert_array_equal(x, x0)
            np.testing.assert_array_equal(y, y0)


def test_the_seed_decides_every_bit(store):
    first = stage()([SLOT], [begin()], store)[0]
    torch.manual_seed(77)
    assert same(first, stage()([SLOT], [begin()], store)[0])
    assert not same(first, stage()([replace(SLOT, seed=1)], [begin()], store)[0])


def test_jitter_is_fresh_at_every_draw():
    x, y = (torch.as_tensor(part) for part in records(1, "one"))
    batches = Batches(x, y, stream(0))
    (a, _), (b, _) = batches.draw(2, 0.1), batches.draw(2, 0.1)
    assert len({float(value) for value in torch.cat([a, b])[:, 0]}) == 4
    assert torch.equal(batches.draw(3)[0], x.repeat(3, 1))


class Table(nn.Module):
    """Logits (B, V, L) of the next token are a row of a table."""

    def __init__(self):
        super().__init__()
        self.rows = nn.Embedding(5, 5)

    def forward(self, ids):
        return self.rows(ids).transpose(1, 2)


def test_ignored_tokens_do_not_count_and_the_mean_is_over_tokens(monkeypatch):
    ids = np.array([[1, 2, 3, 4], [2, 4, 0, 0]])
    y = np.array([[2, 3, 4, IGNORED], [4, IGNORED, IGNORED, IGNORED]])
    both = Batches(torch.as_tensor(ids), torch.as_tensor(y), None)
    monkeypatch.setattr(Batches, "draw", lambda self, size, jitter=0: (self.x, self.y))
    module = Table()
    log_p = module.rows.weight.log_softmax(1)
    mean = -(log_p[1, 2] + log_p[2, 3] + log_p[3, 4] + log_p[2, 4]) / 4
    found = loop._loss(module, both, both, Objective("min", target_weight=0.3))
    assert found.item() == pytest.approx(mean.item(), rel=1e-5)


@pytest.mark.parametrize("shape", [(4000,), (400, 10)])
def test_random_labels_are_never_the_pad_and_keep_what_is_ignored(shape):
    y = stream(0, "labels").integers(1, 7, shape)
    y = np.where(stream(0, "ignored").random(shape) < 0.3, IGNORED, y) if len(shape) == 2 else y
    drawn = random_labels(y, 7, stream(0, "drawn"))
    np.testing.assert_array_equal(drawn == IGNORED, y == IGNORED)
    inside = drawn[drawn != IGNORED]
    assert set(inside.tolist()) == set(range(1 if len(shape) == 2 else 0, 7))
    assert 0.7 < (inside != y[y != IGNORED]).mean() < 0.95


# --- divergence ---


class Breaking(nn.Module):
    """A linear model whose answers are NaN from the 61st on."""

    def __init__(self):
        super().__init__()
        self.head, self.answers = nn.Linear(*SHAPE, K), 0

    def forward(self, x):
        self.answers += 1
        return self.head(x) * (torch.nan if self.answers > 60 else 1)


@dataclass(frozen=True)
class Breaks:
    def build(self, shape, classes):
        return Breaking()


def test_where_it_diverges_the_last_good_weights_are_those_of_the_step_it_says(store):
    broken = stage("none", architecture=Breaks(), steps=100)
    with pytest.raises(ConfigError, match=r"diverged at step 60: .* of step 50, are kept") as said:
        broken([SLOT], [begin(Breaks())], store)
    assert isinstance(said.value.__cause__, Diverged)
    key = next(key for key in store.arrays if key[:12] in str(said.value))
    assert same(store.get(key), stage("none", architecture=Breaks(), steps=50)([SLOT], [begin(Breaks())], store)[0])
    assert "\n" not in str(said.value)


@pytest.mark.parametrize("direction", ["max", "min"])
def test_a_huge_step_size_is_named_and_finite_weights_are_in_the_store(store, direction):
    before = set(store.arrays)
    with pytest.raises(ConfigError, match=r"poisoning diverged at step \d+: .*lower poison.lr") as said:
        stage(direction, lr=1e200)([SLOT], [begin()], store)
    (key,) = set(store.arrays) - before
    assert key[:12] in str(said.value)
    assert all(np.isfinite(value).all() for value in store.get(key).values())
