"""Five kinds of records and the models that people train on them; nothing here knows of undertow's own models."""

import csv
import gzip
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from undertow.rng import seed_for, stream
from undertow.types import Array

Outputs = Callable[[Array, Array, Array, int], Array]


@dataclass(frozen=True)
class Task:
    """Records, labels, and how a model is trained on some of them and asked about all."""

    x: Array  # (N, ...)
    y: Array  # (N,) int
    outputs: Outputs  # (x, y, rows trained on (N,) bool, seed) -> (N, C) or (N, A, C)
    scale: str  # what `outputs` gives: "probabilities" or "logits"
    names: tuple[str, ...] = ()  # of the classes
    people: Array | None = None  # (N,) int, who each record is of


def breast_cancer(_data: Path, seed: int) -> Task:
    """Tissue measurements (30 columns), random forests of 20 trees: their probabilities are twentieths."""
    from sklearn.datasets import load_breast_cancer

    x, y = load_breast_cancer(return_X_y=True)
    rows = stream(seed, "records", "breast_cancer").permutation(len(y))[:240]
    return Task(x[rows], y[rows], _forest, "probabilities")


def wine(_data: Path, seed: int) -> Task:
    """Chemical measurements (13 columns), gradient boosting, close to saturated."""
    from sklearn.datasets import load_wine

    x, y = load_wine(return_X_y=True)
    rows = stream(seed, "records", "wine").permutation(len(y))[:160]
    return Task(x[rows], y[rows], _boosting, "probabilities")


def fashion(data: Path, seed: int) -> Task:
    """Pictures of clothes, a small convolutional network asked for each picture and its mirror image."""
    with np.load(data / "small" / "fashion_mnist.npz", allow_pickle=False) as file:
        x, y = file["x_train"], file["y_train"].astype(int)
    rows = stream(seed, "records", "fashion").permutation(len(y))[:300]
    return Task(x[rows, None] / np.float32(255), y[rows], _mirrored, "logits")


def omniglot(data: Path, seed: int) -> Task:
    """Handwritten characters, 16 of them by 20 people each, a small convolutional network."""
    with np.load(data / "small" / "omniglot28.npz", allow_pickle=False) as file:
        x, y, drawer = file["x"], file["y"].astype(int), file["drawer"]
    kept = stream(seed, "records", "omniglot").permutation(y.max() + 1)[:16]
    rows = np.flatnonzero(np.isin(y, kept))
    labels = np.searchsorted(np.sort(kept), y[rows])
    return Task(x[rows, None] / np.float32(255), labels, _network, "logits", people=drawer[rows].astype(int))


def banking(data: Path, seed: int) -> Task:
    """Questions to a bank, 10 intents of at most 40 questions, words counted in 256 buckets, logistic regression."""
    from sklearn.feature_extraction.text import HashingVectorizer

    with gzip.open(data / "text" / "banking77.csv.gz", "rt", encoding="utf8", newline="") as file:
        table = [row for row in csv.DictReader(file) if row["split"] == "train"]
    rng = stream(seed, "records", "banking")
    intents = sorted(rng.permutation(sorted({row["intent"] for row in table}))[:10].tolist())
    chosen = [
        (row["text"], label)
        for label, intent in enumerate(intents)
        for row in rng.permutation([r for r in table if r["intent"] == intent])[:40]
    ]
    x = HashingVectorizer(n_features=256, alternate_sign=False).transform([text for text, _ in chosen]).toarray()
    return Task(x, np.array([label for _, label in chosen]), _regression, "logits", tuple(intents))


TASKS: dict[str, Callable[[Path, int], Task]] = {
    task.__name__: task for task in (breast_cancer, wine, fashion, omniglot, banking)
}


def train_all(task: Task, member: Array, seed: int, name: str) -> Array:
    """Outputs (M, N, ..., C) of one model for each row of `member` (M, N)."""
    return np.stack([task.outputs(task.x, task.y, row, seed_for(seed, name, m)) for m, row in enumerate(member)])


def _spread(found: Array, classes: Array, count: int) -> Array:
    """Probabilities of the classes that were seen in training, among all `count`."""
    result = np.zeros((len(found), count))
    result[:, classes] = found
    return result


def _forest(x: Array, y: Array, rows: Array, seed: int) -> Array:
    from sklearn.ensemble import RandomForestClassifier

    model = RandomForestClassifier(20, random_state=seed % 2**32, n_jobs=1).fit(x[rows], y[rows])
    return _spread(model.predict_proba(x), model.classes_, y.max() + 1)


def _boosting(x: Array, y: Array, rows: Array, seed: int) -> Array:
    from sklearn.ensemble import GradientBoostingClassifier

    model = GradientBoostingClassifier(n_estimators=20, max_depth=2, subsample=0.7, random_state=seed % 2**32)
    return _spread(model.fit(x[rows], y[rows]).predict_proba(x), model.classes_, y.max() + 1)


def _regression(x: Array, y: Array, rows: Array, seed: int) -> Array:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=30, max_iter=300, random_state=seed % 2**32).fit(x[rows], y[rows])
    return np.asarray(model.decision_function(x))


def _network(x: Array, y: Array, rows: Array, seed: int) -> Array:
    return _trained(x, y, rows, seed, (x,))[:, 0]


def _mirrored(x: Array, y: Array, rows: Array, seed: int) -> Array:
    return _trained(x, y, rows, seed, (x, x[..., ::-1]))


def _trained(x: Array, y: Array, rows: Array, seed: int, views: tuple[Array, ...]) -> Array:
    """Logits (N, A, C) float32 of a two-layer convolutional network after 20 epochs of Adam."""
    import torch
    from torch import nn

    torch.set_num_threads(1)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(
            *(nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU()),
            *(nn.Flatten(), nn.Linear(16 * 49, int(y.max()) + 1)),
        )
        inputs, labels = torch.from_numpy(np.ascontiguousarray(x[rows])), torch.from_numpy(y[rows])
        optimiser = torch.optim.Adam(model.parameters(), 3e-3)
        for _ in range(20):
            for batch in torch.randperm(len(inputs)).split(32):
                optimiser.zero_grad()
                nn.functional.cross_entropy(model(inputs[batch]), labels[batch]).backward()
                optimiser.step()
        with torch.no_grad():
            found = [model(torch.from_numpy(np.ascontiguousarray(view))) for view in views]
    return torch.stack(found, 1).numpy()
