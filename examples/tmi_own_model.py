"""Your own `nn.Module` and your own arrays: how much of its pretraining data does a finetuned model give away?

    python examples/tmi_own_model.py

The model is any importable function of (shape, classes); the records are two `Examples`. Here the embedded digits
stand in for both stages and a small convolutional network is the model, so that it runs in about a minute.
"""

import tempfile
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from torch import nn

import undertow as ut


def make_model(shape: tuple[int, ...], classes: int) -> nn.Module:
    """A convolutional network for (1, 8, 8) images; its last `nn.Linear` is the head that finetuning replaces."""
    return nn.Sequential(
        nn.Conv2d(shape[0], 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16 * 4 * 4, 64),
        nn.ReLU(),
        nn.Linear(64, classes),
    )


def main() -> None:
    raw = load_digits()
    x = (raw.images[:, None] / 8 - 1).astype(np.float32)
    rng = ut.stream(0, "example")
    order = rng.permutation(len(x))
    pretraining, finetuning, test = order[:200], order[200:1000], order[1000:]
    noisy = np.where(rng.random(200) < 0.3, rng.integers(10, size=200), raw.target[pretraining])  # makes it memorise
    supply = ut.Supply(
        name="digits, a convolutional network",
        secret=ut.Examples(x[pretraining], noisy, "pretraining"),
        other=ut.Examples(x[finetuning], raw.target[finetuning], "finetuning"),
        test=ut.Examples(x[test], raw.target[test], "test"),
        ids=tuple(f"digit-{i}" for i in pretraining),
    )
    config = ut.LeakageConfig(
        shadows=16,
        victims=8,
        views=4,
        attacks=("tmi", "tmi-lda", "confidence", "direct-lira"),
        data=ut.DataSettings(same_labels=True),
        model=ut.ModelSettings(factory=f"{make_model.__module__}:make_model"),
        pretrain=ut.Fit(epochs=100, batch=25, lr=0.05),
        finetune=ut.Fit(epochs=10, batch=100, lr=0.05, decay="constant"),
    )
    with tempfile.TemporaryDirectory() as scratch:  # use a folder of your own to resume and to grow
        host = ut.Host(ut.DiskStore(Path(scratch)), ut.Serial())
        result = ut.audit_tmi(config, supply, host)
    print(ut.summary(result))


if __name__ == "__main__":
    main()
