"""Pipelines that keep their word; none may be accused."""

from functools import partial

import numpy as np
import torch
from tests.audits.dp.dp_zoo.by_hand import ByHand, InNumpy
from tests.audits.dp.dp_zoo.models import (
    RECORDS,
    Specimen,
    TinyTransformer,
    adapted,
    claim,
    digits,
    perceptron,
    start,
)
from torch import nn
from torch.optim import SGD, Adam

from undertow.rng import stream
from undertow.training.opacus_engine import opacus_sgd
from undertow.training.opacus_pipeline import OpacusPipeline
from undertow.training.privacy import Noise
from undertow.training.private import poisson_order, private_dense
from undertow.training.schedule import Fit
from undertow.training.task import Task
from undertow.types import Slot


def opacus(
    name, build=perceptron, optimizer=None, images=False, ghost=False, clipping="flat", claimed="sgd", **changes
) -> Specimen:
    c = claim(optimizer=claimed, **changes)
    epochs = max(1, round(c.steps * c.rate))
    optimizer = optimizer or partial(SGD, lr=c.rates[0], momentum=c.momentum)
    train = OpacusPipeline(
        build,
        optimizer,
        c.noise_multiplier,
        c.clip,
        int(c.batch),
        epochs,
        poisson=c.sampling == "poisson",
        ghost=ghost,
        clipping=clipping,
    )
    return Specimen(name, train, start(build), digits(images), c)


def by_hand(name, build=perceptron, **changes) -> Specimen:
    c = claim(**changes)
    return Specimen(name, ByHand(build, c), start(build), digits(), c)


class Shuffled(ByHand):
    """Fixed batches of shuffled epochs."""

    def batches(self, records, draw):
        found = []
        while len(found) < self.claim.steps:
            found += list(torch.randperm(records, generator=draw).split(int(self.claim.batch)))
        return found[: self.claim.steps]


def engine(name, run, fit, build, **changes) -> Specimen:
    """Undertow's own engines, on their own Poisson schedules."""
    c = claim(**changes)
    noise = Noise(c.noise_multiplier, 0.0, c.delta, c.clip, c.rate, c.steps)

    def train(checkpoint, data, seed):
        slots, rows = [Slot("victim", 0, seed, None)], [np.arange(len(data))]
        order = poisson_order(fit, "zoo", slots, rows)
        x, y = torch.as_tensor(data.x), torch.as_tensor(data.y)
        draws = [lambda: stream(seed, "zoo noise")]
        task = Task(build(), [checkpoint], x, y, order, fit, draws, [seed], records=len(data))
        return run(task, noise)[0]

    return Specimen(name, train, start(build), digits(), c)


def in_numpy(**changes) -> Specimen:
    c = claim(**changes)
    start64 = {name: value.astype(float) for name, value in start(partial(nn.Linear, 64, 10)).items()}
    return Specimen("in NumPy", InNumpy(c), start64, digits(), c)


def correct() -> list[Specimen]:
    fit = Fit(epochs=1, batch=32, lr=0.2, momentum=0.0, weight_decay=0.0, decay="constant")
    head = partial(nn.Linear, 64, 10)
    shuffled = by_hand("shuffled batches, declared so", sampling="shuffle", momentum=0.5)
    return [
        in_numpy(),
        by_hand("DP-SGD by hand"),
        by_hand("by hand, momentum, two epochs, a schedule", steps=8, momentum=0.9, lr=(0.1,) * 4 + (0.05,) * 4),
        by_hand("by hand, full batch", batch=RECORDS, sampling="full"),
        Specimen(shuffled.name, Shuffled(perceptron, shuffled.claim), *_rest(shuffled)),
        opacus("Opacus SGD"),
        opacus("Opacus SGD, momentum", momentum=0.9, lr=0.05),
        opacus("Opacus Adam", optimizer=partial(Adam, lr=0.01), lr=0.01, claimed="adam"),
        opacus("Opacus, LoRA by peft", adapted),
        opacus("Opacus, ghost clipping", ghost=True),
        opacus("Opacus, other clip, noise and batch", noise_multiplier=2.0, clip=0.3, batch=64, steps=6, lr=0.5),
        opacus("Opacus, per-layer clipping", clipping="per_layer"),
        opacus("Opacus, large clip", clip=8.0, noise_multiplier=0.6, lr=0.02),
        opacus("Opacus, transformer with explicit positions", TinyTransformer, images=True),
        engine("Undertow, closed-form head", private_dense, fit, head),
        engine("Undertow, closed-form perceptron", private_dense, fit, perceptron),
        engine("Undertow, Opacus engine", opacus_sgd, fit, perceptron),
    ]


def _rest(s: Specimen):
    return s.checkpoint, s.data, s.claim
