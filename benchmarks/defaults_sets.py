"""Sets of signals from really trained models, unlike each other, for choosing defaults and for reporting on others.

Every set is a pool of real records, a design of memberships (complementary pairs, attacked in turn, or held-out
victims) and the outputs of one model per membership. CHOSEN_ON are the sets that defaults may be chosen on; REPORTED
are other data, learners and seeds, which no choice may look at. Read by `defaults.py`.
"""

import csv
import gzip
import hashlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn import datasets
from sklearn.ensemble import ExtraTreesClassifier, GradientBoostingClassifier, RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import PolynomialFeatures, StandardScaler
from torch.nn import functional

from undertow.engine.design import Design
from undertow.rng import stream
from undertow.types import Array, Evidence

Pool = tuple[Any, Array]  # records (N, D), dense or sparse, and their classes (N,) int
Learner = Callable[[Any, Array, Array, np.random.Generator], Array]


@dataclass(frozen=True)
class Kind:
    """How to make one set: `read` the pool, `learn` from member rows (M, N) to logits (M, N, C)."""

    name: str
    about: str
    records: int  # N at most, even
    models: int  # trained as shadows, in complementary pairs
    victims: int  # held out; 0: the shadows are attacked in turn
    seed: int
    read: Callable[[Path | None], Pool | None]  # None where its data is absent
    learn: Learner


def evidence(kind: Kind, data: Path | None, cache: Path) -> Evidence | None:
    """The signals of a set, trained now or kept from before; None where its data is absent."""
    pool = kind.read(data)
    if pool is None:
        return None
    x, y = _drawn(kind, *pool)
    count = len(y)
    design = Design(kind.seed, count, kind.models, max(kind.victims, 1), count)
    roles = ("shadow", "victim") if kind.victims else ("shadow",)
    member = np.concatenate([design.member(role) for role in roles])
    kept = cache / f"{kind.name}-{_key(kind, x, y)}.npz"
    if not kept.exists():
        logits = kind.learn(x, y, member, stream(kind.seed, "models", kind.name)).astype(np.float32)
        cache.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(kept, logits=logits)
    logits = np.load(kept, allow_pickle=False)["logits"]
    return Evidence(member=member, logits=logits[:, :, None], labels=y)


def _drawn(kind: Kind, x: Any, y: Array) -> Pool:
    """An even number of records of the pool, drawn by the seed; classes numbered from 0."""
    count = min(kind.records, len(y))
    rows = stream(kind.seed, "records", kind.name).permutation(len(y))[: count - count % 2]
    return x[rows], np.unique(y[rows], return_inverse=True)[1]


def _key(kind: Kind, x: Any, y: Array) -> str:
    """A digest of what the outputs depend on: the records, the design and the source of the learners."""
    dense = x.toarray() if hasattr(x, "toarray") else x
    plain = (kind.name, kind.models, kind.victims, kind.seed, inspect.getsource(inspect.getmodule(_key)))  # type: ignore[arg-type]
    parts = [np.ascontiguousarray(dense).tobytes(), y.tobytes(), repr(plain).encode()]
    return hashlib.sha256(b"".join(parts)).hexdigest()[:16]


def mlp(hidden: int, steps: int, decay: float = 0.0, rate: float = 5e-3) -> Learner:
    """All models at once: one hidden layer (`hidden` = 0: none, a linear model), full batches, Adam."""

    def learn(x: Any, y: Array, member: Array, rng: np.random.Generator) -> Array:
        dense = x.toarray() if hasattr(x, "toarray") else x
        inputs, labels = torch.tensor(np.asarray(dense, np.float32)), torch.tensor(y)
        sizes = [inputs.shape[1], *([hidden] if hidden else []), int(y.max()) + 1]
        layers = [
            (
                torch.tensor(rng.normal(0, np.sqrt(2 / a), (len(member), a, b)).astype(np.float32), requires_grad=True),
                torch.zeros(len(member), 1, b, requires_grad=True),
            )
            for a, b in pairwise(sizes)
        ]
        rows = torch.tensor(np.stack([np.flatnonzero(row) for row in member]))
        optimizer = torch.optim.AdamW([p for layer in layers for p in layer], rate, weight_decay=decay)
        own, wanted = inputs[rows], labels[rows]
        for _ in range(steps):
            optimizer.zero_grad()
            loss = functional.cross_entropy(_forward(layers, own).transpose(1, 2), wanted, reduction="none")
            loss.mean(1).sum().backward()
            optimizer.step()
        with torch.no_grad():
            return np.asarray(_forward(layers, inputs.expand(len(member), -1, -1)).numpy())

    return learn


def _forward(layers: list[tuple[Any, Any]], x: Any) -> Any:
    for i, (weight, bias) in enumerate(layers):
        x = torch.baddbmm(bias, torch.relu(x) if i else x, weight)
    return x


def cnn(channels: int, steps: int) -> Learner:
    """One small convolutional network per model, full batches, Adam; for square images of one channel."""

    def learn(x: Any, y: Array, member: Array, rng: np.random.Generator) -> Array:
        side = int(np.sqrt(x.shape[1]))
        images, labels = torch.tensor(np.asarray(x, np.float32)).reshape(-1, 1, side, side), torch.tensor(y)
        result = []
        for row in member:
            torch.manual_seed(int(rng.integers(2**31)))
            net = torch.nn.Sequential(
                torch.nn.Conv2d(1, channels, 3, 2, 1),
                torch.nn.ReLU(),
                torch.nn.Conv2d(channels, 2 * channels, 3, 2, 1),
                torch.nn.ReLU(),
                torch.nn.Flatten(),
                torch.nn.LazyLinear(int(y.max()) + 1),
            )
            net(images[:1])
            optimizer = torch.optim.Adam(net.parameters(), 3e-3)
            own, wanted = images[torch.tensor(row)], labels[torch.tensor(row)]
            for _ in range(steps):
                optimizer.zero_grad()
                functional.cross_entropy(net(own), wanted).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            with torch.no_grad():
                result.append(net(images).numpy())
        return np.stack(result)

    return learn


def sklearn(make: Callable[[int], Any], floor: float = 0.0) -> Learner:
    """One scikit-learn classifier per model; shares of votes are kept from 0 by `floor`."""

    def learn(x: Any, y: Array, member: Array, rng: np.random.Generator) -> Array:
        return np.stack([_outputs(make(int(rng.integers(2**31))).fit(x[row], y[row]), x, y, floor) for row in member])

    return learn


def _outputs(model: Any, x: Any, y: Array, floor: float) -> Array:
    """Logits (N, C) of all classes; a class that the model never saw has the lowest of its row less one."""
    if floor:
        seen = np.log(np.maximum(model.predict_proba(x), floor))
    else:
        seen = model.decision_function(x)
        seen = np.stack([np.zeros(len(seen)), seen], 1) if seen.ndim == 1 else seen
    result = np.repeat(seen.min(1, keepdims=True) - 1, int(y.max()) + 1, 1)
    result[:, model.classes_] = seen
    return np.asarray(result)


def bundled(name: str, degree: int = 1) -> Callable[[Path | None], Pool]:
    """A set that scikit-learn brings along, standardised; targets of a regression are cut at their median."""

    def read(_data: Path | None) -> Pool:
        raw = getattr(datasets, f"load_{name}")()
        y = (raw.target > np.median(raw.target)) if name == "diabetes" else raw.target
        x = StandardScaler().fit_transform(raw.data) if degree > 1 else raw.data
        x = PolynomialFeatures(degree, include_bias=False).fit_transform(x)
        return StandardScaler().fit_transform(x), y.astype(int)

    return read


def mislabelled(read: Callable[[Path | None], Pool], share: float, seed: int) -> Callable[[Path | None], Pool]:
    """A pool a `share` of whose labels is replaced at random, once for all models and for the attacker."""

    def noisy(data: Path | None) -> Pool:
        x, y = read(data)
        rng = stream(seed, "labels")
        return x, np.where(rng.random(len(y)) < share, rng.integers(0, y.max() + 1, len(y)), y)

    return noisy


def images(name: str, classes: int, halve: bool = True) -> Callable[[Path | None], Pool | None]:
    """small/NAME.npz under the data folder: the first `classes`, 0..1, of half the side or whole."""

    def read(data: Path | None) -> Pool | None:
        path = data and data / "small" / f"{name}.npz"
        if not path or not path.exists():
            return None
        kept = np.load(path, allow_pickle=False)
        x, y = (kept[key if key in kept else f"{key}_train"] for key in ("x", "y"))
        x = x[y < classes].astype(np.float32) / 255
        if halve:
            x = x.reshape(len(x), 14, 2, 14, 2).mean((2, 4))
        return x.reshape(len(x), -1), y[y < classes].astype(int)

    return read


def texts(name: str, label: str, text: str, words: int) -> Callable[[Path | None], Pool | None]:
    """text/NAME.csv.gz under the data folder as tf-idf of the most frequent words; exact repeats are left out."""

    def read(data: Path | None) -> Pool | None:
        path = data and data / "text" / f"{name}.csv.gz"
        if not path or not path.exists():
            return None
        with gzip.open(path, "rt", encoding="utf8", newline="") as file:
            rows = list({row[text].lower(): row for row in csv.DictReader(file)}.values())
        x = TfidfVectorizer(max_features=words, dtype=np.float32).fit_transform([row[text] for row in rows])
        return x, np.unique([row[label] for row in rows], return_inverse=True)[1]

    return read


def logistic(c: float) -> Learner:
    return sklearn(lambda _seed: LogisticRegression(C=c, max_iter=300))


FOREST = sklearn(lambda seed: RandomForestClassifier(100, random_state=seed), floor=1 / 200)
EXTRA = sklearn(lambda seed: ExtraTreesClassifier(50, min_samples_leaf=2, random_state=seed), floor=1 / 100)
BOOSTED = sklearn(lambda seed: GradientBoostingClassifier(n_estimators=30, subsample=0.7, random_state=seed))

DIGITS, PRODUCTS = bundled("digits"), bundled("digits", 2)
WRONG = mislabelled(PRODUCTS, 0.3, 106)
FASHION, FASHION_HALF = images("fashion_mnist", 10, halve=False), images("fashion_mnist", 10)
TREC, AG = texts("trec", "coarse", "text", 2000), texts("ag_news_test", "label", "description", 2000)
BANKING = texts("banking77", "intent", "text", 500)

CHOSEN_ON = (
    Kind("digits-mlp", "MLP to zero loss", 600, 64, 0, 101, DIGITS, mlp(64, 800)),
    Kind("digits-mlp-few", "wide MLP to zero loss, few models", 1200, 8, 0, 102, DIGITS, mlp(256, 400)),
    Kind("digits-logistic", "logistic, strong penalty", 1000, 32, 0, 103, DIGITS, logistic(0.01)),
    Kind("cancer-forest", "random forest", 568, 32, 0, 104, bundled("breast_cancer"), FOREST),
    Kind("wine-boosting", "gradient boosting", 178, 64, 0, 105, bundled("wine"), BOOSTED),
    Kind("digits-wrong", "linear, 30 % of the labels wrong", 400, 48, 0, 106, WRONG, mlp(0, 200)),
    Kind("fashion-mlp", "lightly trained MLP, held-out victims", 2000, 16, 8, 107, FASHION_HALF, mlp(64, 40, 0.1)),
    Kind("trec-words", "logistic on words, weak penalty", 1600, 32, 0, 108, TREC, logistic(100.0)),
)
REPORTED = (
    Kind("omniglot-mlp", "MLP to zero loss, 50 classes", 1000, 16, 0, 201, images("omniglot28", 50), mlp(96, 300)),
    Kind("ag-words", "logistic on words", 2000, 32, 0, 202, AG, logistic(1.0)),
    Kind("fashion-cnn", "CNN to zero loss", 800, 12, 0, 203, FASHION, cnn(8, 150)),
    Kind("digits-trees", "extra trees, held-out victims", 1000, 16, 8, 204, DIGITS, EXTRA),
    Kind("banking-mlp", "MLP on words, few models", 2000, 8, 0, 205, BANKING, mlp(64, 60)),
    Kind("diabetes-logistic", "logistic on products", 442, 64, 0, 206, bundled("diabetes", 2), logistic(10.0)),
)
