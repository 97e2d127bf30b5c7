"""Faults that a check of mean movements and whole tensors does not see, and faults below the size that it sees."""

from dataclasses import replace
from functools import partial

import torch
from tests.audits.dp.dp_zoo.broken import ClipNothing, bug
from tests.audits.dp.dp_zoo.by_hand import ByHand, norms
from tests.audits.dp.dp_zoo.models import (
    HeadFirst,
    Specimen,
    TiedText,
    claim,
    digits,
    start,
    texts,
    two_classes,
    unbiased,
)
from torch.func import functional_call, grad, vmap
from torch.nn.functional import cross_entropy

from undertow.types import Examples


class Scaled(ByHand):
    """Noise of `share` times the declared deviation."""

    share = 0.5

    def noise(self, name, shape, step, noise):
        return super().noise(name, shape, step, noise) * self.share


class Noise97(Scaled):
    share = 0.97


class Quarter(Scaled):
    share = 0.25


class OneUnitBare(ByHand):
    """The weights of one hidden unit get no noise."""

    def noise(self, name, shape, step, noise):
        drawn = super().noise(name, shape, step, noise)
        if name == "0.weight":
            drawn[3] = 0
        return drawn


class FirstPartBare(ByHand):
    """The first 3 % of each matrix get no noise."""

    def noise(self, name, shape, step, noise):
        drawn = super().noise(name, shape, step, noise)
        if len(shape) > 1:
            drawn.view(-1)[: round(0.03 * drawn.numel())] = 0
        return drawn


class HeadRowBare(ByHand):
    """One of ten rows of the head gets no noise."""

    def noise(self, name, shape, step, noise):
        drawn = super().noise(name, shape, step, noise)
        if name.startswith("2."):
            drawn[7] = 0
        return drawn


class HeadRowHalf(ByHand):
    """One of ten rows of the head gets half of the noise."""

    def noise(self, name, shape, step, noise):
        drawn = super().noise(name, shape, step, noise)
        if name == "2.weight":
            drawn[7] *= 0.5
        return drawn


class LastTwice(ByHand):
    """Of two microbatches the last is added twice, the first is lost. Rows come in order, as a Poisson sampler's do."""

    def clipped(self, grads):
        size = len(next(iter(grads.values())))
        last = super().clipped({name: g[size // 2 :] for name, g in grads.items()})
        return {name: 2 * g for name, g in last.items()}


class LastTwiceShuffled(LastTwice):
    """The same, with the rows of a batch in random order."""

    def batches(self, records, draw):
        return [rows[torch.randperm(len(rows), generator=draw)] for rows in super().batches(records, draw)]


class SameShard(ByHand):
    """Two ranks draw from the same half of the records, each its own half of a batch."""

    def shard(self, records):
        return torch.arange(records // 2)

    def batches(self, records, draw):
        shard = self.shard(records)

        def rank():
            return shard[torch.rand(len(shard), generator=draw) < self.claim.rate]

        return [torch.cat([rank(), rank()]) for _ in range(self.claim.steps)]


class SameStridedShard(SameShard):
    """The shard is every second record."""

    def shard(self, records):
        return torch.arange(0, records, 2)


class Uneven(ByHand):
    """The first half of the records at twice the rate of the rest; the mean rate is the declared."""

    def rates(self, records):
        return torch.where(torch.arange(records) < records // 2, 4 / 3, 2 / 3)

    def batches(self, records, draw):
        rates = self.claim.rate * self.rates(records)
        return [(torch.rand(records, generator=draw) < rates).nonzero()[:, 0] for _ in range(self.claim.steps)]


class HalfTwice(Uneven):
    """Half of the records (drawn once) at twice the declared rate, the others never."""

    def rates(self, records):
        some = torch.randperm(records, generator=torch.Generator().manual_seed(5)) < records // 2
        return torch.where(some, 2.0, 0.0)


class MoreOften(Uneven):
    """Half of the records at twice the declared rate, the others at it."""

    def rates(self, records):
        return torch.where(torch.arange(records) < records // 2, 2.0, 1.0)


def clip_by(share):
    class Clip(ByHand):
        def factor(self, norm):
            return (share * self.claim.clip / (norm + 1e-9)).clamp(max=1)

    return Clip


class Shuffles(ByHand):
    def batches(self, records, draw):
        epoch = torch.randperm(records, generator=draw).split(int(self.claim.batch))
        return list(epoch)[: self.claim.steps]


class TiedNorms(ByHand):
    """Per-record norms of tied weights, by use: `uses` of them enter the norm, all enter the sum."""

    def uses(self, module, x, y):
        """Per-record gradients of (embedding, head, rest)."""
        values = dict(module.named_parameters())
        apart = values | {"decoder.weight": values["embed.weight"]}

        def loss(parameters, one, label):
            logits = functional_call(module, parameters, (one[None],), tie_weights=False)
            return cross_entropy(logits.flatten(0, -2), label.reshape(-1))

        return vmap(grad(loss), (None, 0, 0))(apart, x, y)

    def gradients(self, module, x, y):
        if not len(x):
            return super().gradients(module, x, y)
        return self.uses(module, x, y)

    def clipped(self, grads):
        head = grads.pop("decoder.weight", None)
        if head is None:
            return super().clipped(grads)
        factor = self.factor(norms(grads | {"embed.weight": head}))
        whole = grads | {"embed.weight": grads["embed.weight"] + head}
        return {name: torch.einsum("i,i...", factor, g) for name, g in whole.items()}


class TiedEachUse(TiedNorms):
    """Each use of the tied weights is clipped for itself: a record counts twice."""

    def clipped(self, grads):
        head = grads.pop("decoder.weight", None)
        if head is None:
            return super().clipped(grads)
        one = ByHand.clipped(self, grads)
        two = ByHand.clipped(self, {"embed.weight": head})
        return one | {"embed.weight": one["embed.weight"] + two["embed.weight"]}


def on(name, kind, build, data: Examples, *expected, hidden="", source="", **changes) -> Specimen:
    """A pipeline by hand on other records than digits."""
    c = claim(**changes)
    return Specimen(name, kind(build, c), start(build), data, c, expected, hidden, source)


def pairs() -> Examples:
    """Digits, even or odd."""
    return replace(digits(), y=digits().y % 2)


def rows() -> list[Specimen]:
    adamw = {"optimizer": "adamw", "weight_decay": 0.01, "lr": 0.01}
    mixed = ("sensitivity", "noise", "noise in parts", "still")
    found = [
        bug("noise missing on one hidden unit", OneUnitBare, "still"),
        bug("noise missing on the first 3 % of matrices", FirstPartBare, "still"),
        bug("noise missing on one head row", HeadRowBare, "still"),
        bug("noise halved on one head row", HeadRowHalf, "noise in parts"),
        bug("last microbatch twice, first lost", LastTwice, "rates", "spread"),
        replace(
            bug("last microbatch twice, shuffled", LastTwiceShuffled, "spread"),
            hidden="records that count twice",
        ),
        bug("ranks draw the same shard", SameShard, "rates", "spread"),
        bug("ranks draw the same strided shard", SameStridedShard, "rates", "spread"),
        bug("half the records at twice the rest's rate", Uneven, "rates"),
        bug("half the records at twice the declared rate", MoreOften, "rates", "sensitivity"),
        bug("AdamW with decay, no clipping", ClipNothing, "sensitivity", **adamw),
        bug("AdamW with decay, noise at half", Scaled, "sensitivity", **adamw),
        bug("AdamW with decay, noise at a quarter", Quarter, "sensitivity", **adamw),
        on("tied, each use clipped by itself", TiedEachUse, TiedText, texts(), "sensitivity"),
        bug("no bias in the head, noise at half", Scaled, *mixed, build=unbiased),
        bug("no bias in the head, no clipping", ClipNothing, "sensitivity", build=unbiased),
        bug("head first, no clipping", ClipNothing, "sensitivity", build=HeadFirst),
        on("two classes, clip norm twice as large", clip_by(2.0), two_classes, pairs(), "sensitivity"),
        on("causal texts, noise at half", Scaled, partial(TiedText, False, True), texts(True), *mixed),
        on("causal texts, no clipping", ClipNothing, partial(TiedText, False, True), texts(True), "sensitivity"),
    ]
    chance = bug("a random half at twice the rate, others never", HalfTwice, "spread", "rates")
    once = on("tied, head's use alone in the norm", TiedNorms, TiedText, texts(), "sensitivity")
    small = [replace(bug(f"clip norm {s} times", clip_by(s)), hidden="size") for s in (1.05, 1.1, 1.2)]
    return [
        *found,
        replace(chance, hidden="random subset"),
        once,
        *small,
        replace(bug("noise at 0.97", Noise97), hidden="size"),
        replace(bug("AdamW with decay, shuffled", Shuffles, **adamw), hidden="sampling"),
    ]
