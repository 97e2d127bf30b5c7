"""Faults from public reports, rebuilt from what the reports say in code of our own."""

from dataclasses import replace

import torch
from tests.audits.dp.dp_zoo.broken import ClipMicrobatch, bug
from tests.audits.dp.dp_zoo.by_hand import ByHand
from tests.audits.dp.dp_zoo.correct import Shuffled, in_numpy
from tests.audits.dp.dp_zoo.models import Specimen
from tests.audits.dp.dp_zoo.rows import LastTwice


class DefaultNorm(ByHand):
    """Fast clipping ignores the norm it is given and takes 1."""

    def factor(self, norm):
        return (1.0 / (norm + 1e-9)).clamp(max=1)


class RanksWholeBatch(Shuffled):
    """Two ranks, each with a whole batch of all records, where half a batch each was meant."""

    def batches(self, records, draw):
        one, two = super().batches(records, draw), super().batches(records, draw)
        return [torch.cat(both) for both in zip(one, two)]


class Ordinary(ByHand):
    """The private optimiser was made, and the old one is used."""

    def step(self, module, optimizer, sums, step, size, noise):
        for name, p in module.named_parameters():
            p.grad = sums[name].detach() / max(1, size)
        optimizer.step()

    def clipped(self, grads):
        return {name: g.sum(0) for name, g in grads.items()}


class InOrder(ByHand):
    """Batches of fixed size, in the order of the file."""

    def batches(self, records, draw):
        return list(torch.arange(records).split(int(self.claim.batch)))[: self.claim.steps]


class FloorBatch(ByHand):
    """The divisor is the rounded-down expected batch of the records at hand: another data set, another divisor."""

    def divisor(self, size):
        return int(self.claim.records * self.claim.rate)


class NotZeroed(ByHand):
    """Gradients of earlier steps stay in the sum; noise is new in each step."""

    def clipped(self, grads):
        new = super().clipped(grads)
        kept = self.__dict__.get("kept") or dict.fromkeys(new, 0)
        self.__dict__["kept"] = {name: kept[name] + g for name, g in new.items()}
        return self.__dict__["kept"]

    def __call__(self, checkpoint, data, seed):
        self.__dict__["kept"] = None
        return super().__call__(checkpoint, data, seed)


class TooMuchNoise(ByHand):
    """Noise made for the sum is added to the mean."""

    def noise(self, name, shape, step, noise):
        return super().noise(name, shape, step, noise) * self.claim.batch


class KeyReused(ByHand):
    """One random key for all parameters of a step: those of one shape get the same noise, others share a beginning."""

    def noise(self, name, shape, step, noise):
        if name.startswith("0.") and name.endswith("weight"):
            self.__dict__["state"] = noise.get_state()
        noise.set_state(self.__dict__["state"])
        return super().noise(name, shape, step, noise)


class MeanLeftInside(ByHand):
    """backward() puts the mean gradient beside the clipped sum."""

    def clipped(self, grads):
        size = max(1, len(next(iter(grads.values()))))
        return {name: g + grads[name].sum(0) / size for name, g in super().clipped(grads).items()}


class NotAllNoised(ByHand):
    """In each step a random half of the numbers goes out without noise."""

    def noise(self, name, shape, step, noise):
        return super().noise(name, shape, step, noise) * (torch.rand(shape, generator=noise) < 0.5)


def undercounted(name: str, share: float, source: str) -> Specimen:
    """Claims the epsilon of a smaller sampling rate."""
    s = in_numpy()
    low = replace(s.claim, sample_rate=s.claim.rate / share).proved_epsilon()
    return replace(s, name=name, claim=replace(s.claim, epsilon=low), expected=("accounting",), source=source)


def calibrated(name: str, source: str) -> Specimen:
    """A search for the noise stops above the epsilon that was asked for."""
    s = in_numpy()
    low = 0.97 * s.claim.proved_epsilon()
    return replace(s, name=name, claim=replace(s.claim, epsilon=low), expected=("accounting",), source=source)


def reports() -> list[Specimen]:
    def told(s: Specimen, source: str, hidden: str = "") -> Specimen:
        return replace(s, source=source, hidden=hidden)

    shuffle = {"sampling": "shuffle"}
    return [
        told(bug("fast clipping ignores the norm", DefaultNorm, "sensitivity", clip=0.5), "opacus pull 664"),
        told(bug("ghost clipping, memory manager", LastTwice, "rates", "spread"), "opacus pull 707"),
        told(bug("ranks with whole batches", RanksWholeBatch, "sensitivity", "rates", **shuffle), "opacus 444"),
        told(bug("the private optimiser is not used", Ordinary, "noise"), "opacus 313"),
        told(bug("constant batches", Shuffled, "sampling"), "opacus 80, pull 128"),
        told(bug("divisor from the records at hand", FloorBatch), "opacus 571, 819", "another number of records"),
        told(bug("gradients not zeroed", NotZeroed, "sensitivity", "spread"), "opacus pull 203"),
        calibrated("noise search stops short", "opacus 346"),
        told(bug("means of microbatches clipped", ClipMicrobatch, "sensitivity", "crowding"), "tensorflow/privacy 81"),
        told(bug("noise of the sum on the mean", TooMuchNoise), "jax_privacy 383", "differs"),
        told(bug("batches in the order of the file", InOrder, "sampling"), "jax_privacy 84"),
        undercounted("rate without accumulation", 4, "jax_privacy pull 271"),
        told(bug("one key for all parameters", KeyReused, "independence"), "jax pull 3646"),
        told(bug("mean gradient left inside", MeanLeftInside, "sensitivity", "sampling"), "dayu11 7"),
        told(bug("a random half without noise", NotAllNoised, "noise"), "NVFlare 343"),
    ]
