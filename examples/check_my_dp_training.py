"""Is your DP finetuning what it says it is? Test it as a black box: it is only asked to train.

    python examples/check_my_dp_training.py

Two Opacus pipelines on digits: one as the manual says, one whose loader shuffles although Poisson sampling is claimed.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from functools import partial

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

from undertow import Examples
from undertow.audits.dp.claim import DpClaim
from undertow.audits.dp.conformance import check_pipeline
from undertow.training.opacus_pipeline import OpacusPipeline

RECORDS, BATCH, LR = 256, 64, 0.2  # a short training of a few steps shows most: 256 / 64 = 4


def build() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


def main() -> None:
    torch.manual_seed(0)
    checkpoint = {name: value.numpy().copy() for name, value in build().state_dict().items()}
    x, y = load_digits(return_X_y=True)
    data = Examples((x[:RECORDS] / 16).astype(np.float32), y[:RECORDS].astype(np.int64), "digits")
    claim = DpClaim(
        noise_multiplier=1.0, clip=1.0, batch=BATCH, records=RECORDS, steps=RECORDS // BATCH, lr=LR, epsilon=4.22
    )
    # Any train(checkpoint, data, seed) -> checkpoint will do: wrap your own script in a function.
    right = OpacusPipeline(
        build, partial(torch.optim.SGD, lr=LR), noise_multiplier=1.0, clip=1.0, batch=BATCH, epochs=1
    )
    wrong = OpacusPipeline(
        build, partial(torch.optim.SGD, lr=LR), noise_multiplier=1.0, clip=1.0, batch=BATCH, epochs=1, poisson=False
    )
    for name, train in (("Poisson batches", right), ("shuffled batches, Poisson claimed", wrong)):
        print(f"--- {name} ---\n{check_pipeline(train, checkpoint, data, claim).table()}\n")


if __name__ == "__main__":
    main()
