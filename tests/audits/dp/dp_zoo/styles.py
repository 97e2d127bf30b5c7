"""More pipelines that keep their word, in the styles that people write them; some say so only in part."""

from dataclasses import replace
from functools import partial

import numpy as np
import torch
from tests.audits.dp.dp_zoo.by_hand import ByHand, InNumpy
from tests.audits.dp.dp_zoo.correct import Shuffled, by_hand, in_numpy, opacus
from tests.audits.dp.dp_zoo.models import HeadFirst, Specimen, TiedText, adapted, texts, two_classes, unbiased
from tests.audits.dp.dp_zoo.rows import on, pairs
from torch import nn
from torch.optim import SGD, Adam, AdamW
from torch.utils.data import DataLoader, TensorDataset

from undertow.training.opacus_pipeline import OpacusPipeline
from undertow.training.task import load_state, to_params


class ClipAfter(ByHand):
    """clip_grad_norm_ on the noisy gradient, as a Trainer does by default."""

    norm = 0.5

    def optimizer(self, module):
        optimizer = super().optimizer(module)
        optimizer.register_step_pre_hook(lambda *_: nn.utils.clip_grad_norm_(module.parameters(), self.norm) and None)
        return optimizer


class Averaged(ByHand):
    """Returns the mean of the iterates."""

    def step(self, module, optimizer, sums, step, size, noise):
        super().step(module, optimizer, sums, step, size, noise)
        if step == 0:
            self.__dict__["mean"] = {name: torch.zeros_like(p) for name, p in module.named_parameters()}
        for name, p in module.named_parameters():
            self.__dict__["mean"][name] += p.detach() / self.claim.steps
            if step == self.claim.steps - 1:
                p.data = self.__dict__["mean"][name]


class Correlated(Shuffled):
    """DP-FTRL: the noise of a step takes back half of the last one's."""

    mix = 0.5

    def noise(self, name, shape, step, noise):
        new = super().noise(name, shape, step, noise)
        old = self.__dict__.setdefault("old", {})
        out = new - self.mix * old[name] if step else new
        old[name] = new
        return out


class Automatic(ByHand):
    """Automatic clipping: every gradient is scaled to the norm, up to a small constant."""

    def factor(self, norm):
        return self.claim.clip / (norm + 0.01)


class Accumulated(ByHand):
    """Microbatches of eight, each clipped by record and added."""

    def clipped(self, grads):
        pieces = zip(*(g.split(8) if len(g) else (g,) for g in grads.values()))
        total = None
        for piece in pieces:
            part = super().clipped(dict(zip(grads, piece)))
            total = part if total is None else {name: total[name] + g for name, g in part.items()}
        return total


class DropLast(Shuffled):
    """Shuffled epochs without their small last batch."""

    def batches(self, records, draw):
        found, size = [], int(self.claim.batch)
        while len(found) < self.claim.steps:
            found += [rows for rows in torch.randperm(records, generator=draw).split(size) if len(rows) == size]
        return found[: self.claim.steps]


class Frozen(ByHand):
    """Half of the body's weights are pruned: they get neither gradient nor noise."""

    def step(self, module, optimizer, sums, step, size, noise):
        before = module[0].weight.detach().clone()
        super().step(module, optimizer, sums, step, size, noise)
        module[0].weight.data[:16] = before[:16]


class Memory(OpacusPipeline):
    """Opacus with its BatchMemoryManager, eight records at a time."""

    def _train(self, checkpoint, data):
        from opacus.utils.batch_memory_manager import BatchMemoryManager

        module = self.build().train()
        load_state(module, checkpoint, torch.float32)
        rows = TensorDataset(torch.as_tensor(data.x).float(), torch.as_tensor(data.y).long())
        optimizer = self.optimizer(module.parameters())
        model, optimizer, *loss, loader = self._private(module, optimizer, DataLoader(rows, self.batch))
        criterion = loss[0] if loss else nn.CrossEntropyLoss()
        for _ in range(self.epochs):
            with BatchMemoryManager(data_loader=loader, max_physical_batch_size=8, optimizer=optimizer) as batches:
                for x, y in batches:
                    optimizer.zero_grad()
                    criterion(model(x), y).backward()
                    optimizer.step()
        return to_params(module.state_dict())


def memory(name, **changes) -> Specimen:
    s = opacus(name)
    t = s.train
    train = Memory(t.build, t.optimizer, t.noise_multiplier, t.clip, t.batch, t.epochs, **changes)
    return replace(s, train=train)


class NumpyMomentum(InNumpy):
    """NumPy, heavy ball by hand."""

    def __call__(self, checkpoint, data, seed):
        c, kept = self.claim, {name: value.copy() for name, value in checkpoint.items()}
        plain = replace(c, steps=1, momentum=0.0, lr=1.0)
        velocity = {name: np.zeros_like(v) for name, v in kept.items()}
        for t, lr in enumerate(c.rates):
            after = InNumpy(plain)(kept, data, seed * 1000 + t)
            for name in kept:
                velocity[name] = c.momentum * velocity[name] + (kept[name] - after[name])
                kept[name] = kept[name] - lr * velocity[name]
        return kept


def styled(name, kind, true=None, **declared) -> Specimen:
    """By hand, with a claim that says `declared`; it trains by `true` beside it."""
    s = by_hand(name, **declared)
    c = replace(s.claim, **(true or {}))
    return replace(s, train=kind(s.train.build, c))


def styles() -> list[Specimen]:
    mix = (np.eye(4) - 0.5 * np.eye(4, k=-1)).tolist()
    adamw = {"optimizer": "adamw", "weight_decay": 0.01, "lr": 0.01}
    uneven = {"batch": 48, "sample_rate": 1 / 3, "divisor": 42, "steps": 3}
    s = in_numpy(momentum=0.9, lr=0.1)
    return [
        styled("clipped once more after the noise", ClipAfter, clip_after=0.5),
        styled("clipped once more, not declared", ClipAfter),
        styled("iterates averaged", Averaged, average=True),
        styled("iterates averaged, not declared", Averaged),
        styled("DP-FTRL", Correlated, sampling="shuffle", correlation=mix),
        styled("loss summed", ByHand, divisor=1.0, lr=0.2 / 32),
        styled("loss summed, not declared", ByHand, true={"divisor": 1.0, "lr": 0.02}, lr=0.02),
        styled("learning rate twice the declared", ByHand, true={"lr": 0.4}),
        styled("drop_last", DropLast, batch=30, sampling="shuffle", drop_last=True),
        styled("Nesterov", ByHand, momentum=0.9, nesterov=True, lr=0.05),
        styled("Nesterov, declared as momentum", ByHand, true={"nesterov": True}, momentum=0.9, lr=0.05),
        styled("RMSprop", ByHand, optimizer="rmsprop", lr=0.01),
        styled("warm-up from 0", ByHand, lr=(0.0, 0.1, 0.2, 0.2)),
        styled("warm-up from 0, not declared", ByHand, true={"lr": (0.0, 0.1, 0.2, 0.2)}),
        styled("AdamW with its default decay", ByHand, **adamw),
        styled("SGD with decay", ByHand, weight_decay=0.01),
        styled("automatic clipping", Automatic),
        styled("accumulated microbatches", Accumulated),
        styled("a pruned layer", Frozen),
        replace(s, name="in NumPy, momentum by hand", train=NumpyMomentum(s.claim)),
        opacus("Opacus, batch that does not divide", **uneven),
        opacus("Opacus, AdamW", optimizer=partial(AdamW, lr=0.01), claimed="adamw", weight_decay=0.01, lr=0.01),
        memory("Opacus, BatchMemoryManager"),
        memory("Opacus, ghost clipping and memory manager", ghost=True),
        opacus("Opacus, LoRA, Adam", adapted, optimizer=partial(Adam, lr=0.01), lr=0.01, claimed="adam"),
        opacus(
            "Opacus, ghost clipping, momentum",
            ghost=True,
            momentum=0.9,
            lr=0.05,
            optimizer=partial(SGD, lr=0.05, momentum=0.9),
        ),
        on("tied weights", ByHand, TiedText, texts()),
        by_hand("no bias in the head", unbiased),
        by_hand("head registered first", HeadFirst),
        on("two classes", ByHand, two_classes, pairs()),
        on("a label for each token, tied", ByHand, partial(TiedText, False, True), texts(True)),
        on("a label for each token, with bias", ByHand, partial(TiedText, True, True), texts(True)),
    ]
