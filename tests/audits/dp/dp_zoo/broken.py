"""Planted bugs, each one that people have shipped or could: what is declared is always correct DP-SGD."""

from dataclasses import dataclass, replace
from functools import partial

import torch
from tests.audits.dp.dp_zoo.by_hand import ByHand
from tests.audits.dp.dp_zoo.correct import Shuffled, opacus
from tests.audits.dp.dp_zoo.models import Specimen, TinyTransformer, claim, digits, normed, perceptron, start
from torch.nn.functional import cross_entropy
from torch.optim import SGD

from undertow.training.opacus_pipeline import OpacusPipeline


class NoNoise(ByHand):
    def noise(self, name, shape, step, noise):
        return torch.zeros(shape)


class NoiseWithoutClip(ByHand):
    """Deviation sigma, not sigma * clip."""

    def noise(self, name, shape, step, noise):
        return super().noise(name, shape, step, noise) / self.claim.clip


class NoiseDividedTwice(ByHand):
    """Noise made for the mean gradient, then divided by the batch with it."""

    def noise(self, name, shape, step, noise):
        return super().noise(name, shape, step, noise) / self.claim.batch


class NoiseOnWeightsOnly(ByHand):
    """Biases are clipped with the rest but get no noise."""

    def noise(self, name, shape, step, noise):
        return super().noise(name, shape, step, noise) * (len(shape) > 1)


class NoiseOnce(ByHand):
    """Drawn once per training and used in every step."""

    def noise(self, name, shape, step, noise):
        if step == 0:
            self.__dict__.setdefault("kept", {})[name] = super().noise(name, shape, step, noise)
        return self.__dict__["kept"][name]


class SeededDraw(ByHand):
    """torch.manual_seed before each draw: the same noise in every step, tensor and training."""

    def noise(self, name, shape, step, noise):
        return super().noise(name, shape, step, torch.Generator().manual_seed(0))


class SeededTensor(ByHand):
    """The generator is reset for each tensor, to a seed that changes with step and training."""

    def noise(self, name, shape, step, noise):
        if name == "0.weight":
            self.__dict__["state"] = noise.get_state()
        noise.set_state(self.__dict__["state"])
        return super().noise(name, shape, step, noise)


class NoiseBroadcast(ByHand):
    """One draw per output, broadcast over the inputs."""

    def noise(self, name, shape, step, noise):
        row = super().noise(name, shape[:1], step, noise)
        return row.reshape(-1, *[1] * (len(shape) - 1)).expand(shape)


class NoiseByLoss(ByHand):
    """Step size (and noise with it) scaled by the loss of the batch at hand: a schedule that looks at the data."""

    def gradients(self, module, x, y):
        with torch.no_grad():
            self.__dict__["heat"] = float(cross_entropy(module(x), y)) if len(x) else 0.0
        return super().gradients(module, x, y)

    def divisor(self, size):
        return self.claim.batch / min(1.0, self.__dict__["heat"] + 1e-3)


class ClipBatch(ByHand):
    """clip_grad_norm_ on the mean gradient, as in ordinary training."""

    def clipped(self, grads):
        size = max(1, len(next(iter(grads.values()))))
        mean = {name: g.sum(0, keepdim=True) / size for name, g in grads.items()}
        return {name: g * self.claim.batch for name, g in super().clipped(mean).items()}


class ClipMicrobatch(ByHand):
    """Means of eight records are clipped, not records."""

    def clipped(self, grads):
        means = {name: torch.stack([part.mean(0) for part in g.split(8)]) if len(g) else g for name, g in grads.items()}
        return {name: 8 * g for name, g in super().clipped(means).items()}


class ClipTwice(ByHand):
    """The norm is compared to twice the declared one."""

    def factor(self, norm):
        return (2 * self.claim.clip / (norm + 1e-9)).clamp(max=1)


class ClipPerTensor(ByHand):
    """Each tensor is clipped to the whole norm."""

    def clipped(self, grads):
        return {name: super(ClipPerTensor, self).clipped({name: g})[name] for name, g in grads.items()}


class ClipNothing(ByHand):
    def factor(self, norm):
        return torch.ones_like(norm)


class ClipByLargest(ByHand):
    """One factor for the batch, from its largest gradient: each contribution tells of the largest."""

    def factor(self, norm):
        if not len(norm):
            return norm
        return (self.claim.clip / (norm.max() + 1e-9)).clamp(max=1).expand(len(norm))


class ClipLastMicrobatch(ByHand):
    """Gradients are accumulated over microbatches; only the last is clipped."""

    def clipped(self, grads):
        cut = max(0, len(next(iter(grads.values()))) - 8)
        rest = super().clipped({name: g[cut:] for name, g in grads.items()})
        return {name: g + grads[name][:cut].sum(0) for name, g in rest.items()}


class ActualBatch(ByHand):
    """Sum and noise are divided by the size of the batch that was drawn."""

    def divisor(self, size):
        return max(1, size)


class WithReplacement(ByHand):
    """Batches of fixed size, records drawn with replacement."""

    def batches(self, records, draw):
        return list(torch.randint(records, (self.claim.steps, int(self.claim.batch)), generator=draw))


class PartialBatch(Shuffled):
    """The last batch of an epoch is small, and divided by its own size; the noise is not."""

    def noise(self, name, shape, step, noise):
        size = self.__dict__["sizes"][step]
        return super().noise(name, shape, step, noise) * size / self.claim.batch

    def batches(self, records, draw):
        found = super().batches(records, draw)
        self.__dict__["sizes"] = [len(rows) for rows in found]
        return found

    def divisor(self, size):
        return size


class MoreSteps(ByHand):
    """Trains for three times the steps that were accounted for."""

    def batches(self, records, draw):
        return [batch for _ in range(3) for batch in super(MoreSteps, self).batches(records, draw)]

    def step(self, module, optimizer, sums, step, size, noise):
        super().step(module, optimizer, sums, step % self.claim.steps, size, noise)


class Augmented(ByHand):
    """Four views of each record, each clipped for itself."""

    def gradients(self, module, x, y):
        views = torch.cat([x, x * 0.95, x * 1.05, x + 0.02])
        return super().gradients(module, views, y.repeat(4))


class HeadOutside(ByHand):
    """The head has an ordinary optimiser of its own."""

    def step(self, module, optimizer, sums, step, size, noise):
        rest = {name: s for name, s in sums.items() if not name.startswith("2.")}
        plain = {name: s for name, s in sums.items() if name.startswith("2.")}
        for name, p in module.named_parameters():
            total = plain[name] if name in plain else rest[name] + self.noise(name, p.shape, step, noise)
            p.grad = total.detach() / self.divisor(size)
        optimizer.step()


class SharedPositions(ByHand):
    """One row of positions for the batch: hooks see one gradient, and the trainer takes its plain sum instead."""

    def gradients(self, module, x, y):
        found = super().gradients(module, x, y)
        self.__dict__["plain"] = found.pop("positions.weight").sum(0)
        return found

    def clipped(self, grads):
        return super().clipped(grads) | {"positions.weight": self.__dict__["plain"]}


class Mixed(ByHand):
    """Batch norm in training mode; each record's loss is differentiated within its batch."""

    def gradients(self, module, x, y):
        if len(x) < 2:
            return super().gradients(module, x[:0], y[:0])
        losses = cross_entropy(module(x), y, reduction="none")
        names, values = zip(*module.named_parameters())
        each = [torch.autograd.grad(loss, values, retain_graph=True) for loss in losses]
        return {name: torch.stack([g[i] for g in each]) for i, name in enumerate(names)}


def bug(name, kind, *expected, build=perceptron, images=False, **changes) -> Specimen:
    c = claim(**changes)
    return Specimen(name, kind(build, c), start(build), digits(images), c, expected)


def misused(name, specimen: Specimen, *expected, **changes) -> Specimen:
    """An Opacus pipeline that trains otherwise than it declares."""
    train = replace(specimen.train, **changes)
    return replace(specimen, name=name, train=train, expected=expected)


@dataclass(frozen=True, eq=False)
class FixedGenerator(OpacusPipeline):
    """Opacus with its randomness seeded by a constant, "for reproducibility"."""

    def __call__(self, checkpoint, data, seed):
        return super().__call__(checkpoint, data, 1234)


def fixed_generator() -> Specimen:
    c = claim()
    train = FixedGenerator(perceptron, partial(SGD, lr=0.2), c.noise_multiplier, c.clip, 32, 1)
    return Specimen("Opacus seeded by a constant", train, start(perceptron), digits(), c, ("independence",))


def broken() -> list[Specimen]:
    adam = partial(torch.optim.Adam, lr=0.01)
    moved = partial(TinyTransformer, False)
    return [
        bug("no noise", NoNoise, "noise"),
        bug("noise without the clip norm", NoiseWithoutClip, "noise", clip=2.0),
        bug("noise divided by the batch twice", NoiseDividedTwice, "noise"),
        bug("no noise on biases", NoiseOnWeightsOnly, "noise"),
        bug("one noise draw for all steps", NoiseOnce, "excess noise"),
        bug("generator reset before every draw", SeededDraw, "independence"),
        bug("generator reset for every tensor", SeededTensor, "independence"),
        bug("noise broadcast over inputs", NoiseBroadcast, "independence"),
        bug("learning rate by the batch's loss", NoiseByLoss, "noise"),
        bug("clipping of the batch", ClipBatch, "sensitivity"),
        bug("clipping after averaging microbatches", ClipMicrobatch, "sensitivity"),
        bug("clip norm twice as large", ClipTwice, "sensitivity"),
        bug("full clip norm for every tensor", ClipPerTensor, "sensitivity"),
        bug("no clipping", ClipNothing, "sensitivity"),
        bug("clip factor from the batch's largest norm", ClipByLargest, "crowding"),
        bug("accumulated microbatches not clipped", ClipLastMicrobatch, "sensitivity"),
        bug("divided by the actual batch", ActualBatch, "sampling"),
        bug("fixed batches with replacement", WithReplacement, "sampling"),
        bug("shuffled, declared Poisson", Shuffled, "sampling"),
        bug(
            "small last batch divided by its size", PartialBatch, "sensitivity", sampling="shuffle", batch=30, steps=10
        ),
        bug("three times the steps", MoreSteps, "excess noise", "sensitivity"),
        bug("augmented views clipped one by one", Augmented, "sensitivity"),
        bug("head outside the private optimiser", HeadOutside, "noise"),
        bug("positions without per-record gradients", SharedPositions, "sensitivity", build=moved, images=True),
        bug("batch norm", Mixed, "noise", "excess noise", build=partial(normed, True)),
        bug("batch norm without running statistics", Mixed, "mixing", build=partial(normed, False)),
        misused("Opacus, poisson_sampling = False", opacus(""), "sampling", poisson=False),
        misused("Opacus, noise a third of the declared", opacus(""), "noise", noise_multiplier=1 / 3),
        misused(
            "Opacus with Adam, noise a quarter of the declared",
            opacus("", optimizer=adam, lr=0.01, claimed="adam"),
            "sensitivity",
            noise_multiplier=0.25,
        ),
        fixed_generator(),
        misclaimed("epsilon of one step for four", 4.0),
    ]


def misclaimed(name: str, share: float) -> Specimen:
    """Claims the epsilon of a `share`-th of the steps."""
    s = opacus("")
    low = replace(s.claim, steps=int(s.claim.steps / share)).proved_epsilon()
    return replace(s, name=name, claim=replace(s.claim, epsilon=low), expected=("accounting",))
