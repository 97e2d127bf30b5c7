"""Trainings in a few lines of NumPy, quick enough to run many of them."""

import numpy as np

from undertow.rng import stream

N, CLASSES = 60, 3


def records(n=N):
    rng = stream(5, "toy records")
    return rng.normal(size=(n, 4)).round(6), np.arange(n) % CLASSES


def leaky(gain=3.0):
    """A training that remembers its records: their own class gets `gain` more; else logits are noise."""

    def train(part, seed):
        seen = {row.tobytes(): label for row, label in zip(part.x, part.y, strict=True)}
        rng = stream(seed, "toy model")

        def predict(x):
            logits = rng.normal(size=(len(x), CLASSES))
            for i, row in enumerate(x):
                if row.tobytes() in seen:
                    logits[i, seen[row.tobytes()]] += gain
            return logits

        return predict

    return train
