"""Small models and records of the zoo: digits, a perceptron, a tiny transformer with positions, LoRA."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from undertow.audits.dp.claim import DpClaim
from undertow.training.lora import with_lora
from undertow.training.task import to_params
from undertow.types import Examples, Params

RECORDS = 128


@dataclass(frozen=True, eq=False)
class Specimen:
    """A pipeline and what it declares."""

    name: str
    train: Any
    checkpoint: Params
    data: Examples
    claim: DpClaim
    expected: tuple[str, ...] = ()  # tests of which one at least must find it; empty: correct
    hidden: str = ""  # broken, and not to be found: what the verdict must say instead ("size": of the checks)
    source: str = ""  # a public report of the fault
    head: str | None = None


def claim(**changes) -> DpClaim:
    base = {"noise_multiplier": 1.0, "clip": 1.0, "batch": 32, "records": RECORDS, "steps": 4, "lr": 0.2}
    return DpClaim(**(base | changes))


@cache
def digits(images: bool = False) -> Examples:
    x, y = load_digits(return_X_y=True)
    x = (x[:RECORDS] / 16).astype(np.float32)
    return Examples(x.reshape(-1, 8, 8) if images else x, y[:RECORDS].astype(np.int64), "digits")


def perceptron(width: int = 32) -> nn.Module:
    return nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))


def normed(running: bool) -> nn.Module:
    norm = nn.BatchNorm1d(32, track_running_stats=running)
    return nn.Sequential(nn.Linear(64, 32), norm, nn.ReLU(), nn.Linear(32, 10))


def unbiased() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 32, bias=False), nn.ReLU(), nn.Linear(32, 10, bias=False))


def two_classes() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 2))


class HeadFirst(nn.Module):
    """The head is registered before the body, which ends in a layer as large."""

    def __init__(self) -> None:
        super().__init__()
        self.classify, self.first, self.second = nn.Linear(32, 10), nn.Linear(64, 32), nn.Linear(32, 32)

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(torch.relu(self.second(torch.relu(self.first(x)))))


class TiedText(nn.Module):
    """The mean embedding of a text, one layer, and the embedding again as the head; `each`: a label for each token."""

    def __init__(self, bias: bool = True, each: bool = False) -> None:
        super().__init__()
        self.each = each
        self.embed, self.mid = nn.Embedding(20, 16), nn.Linear(16, 16)
        self.decoder = nn.Linear(16, 20, bias=bias)
        self.decoder.weight = self.embed.weight

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x)
        h = torch.cumsum(h, -2) / torch.arange(1, h.shape[-2] + 1)[:, None] if self.each else h.mean(-2)
        return self.decoder(torch.relu(self.mid(h)))


@cache
def texts(each: bool = False) -> Examples:
    rng = np.random.Generator(np.random.PCG64(3))
    x = rng.integers(3, 20, (RECORDS, 8))
    y = np.roll(x, -1, 1) if each else rng.integers(0, 20, RECORDS)
    return Examples(x, y, "made-up texts")


class TinyTransformer(nn.Module):
    """One block over the 8 rows of a digit; positions with a batch axis, or one row of them for the whole batch."""

    def __init__(self, explicit: bool = True) -> None:
        super().__init__()
        self.explicit = explicit
        self.embed, self.positions = nn.Linear(8, 16), nn.Embedding(8, 16)
        self.before, self.mix, self.out = nn.LayerNorm(16), nn.Linear(16, 48), nn.Linear(16, 16)
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        places = torch.arange(8)
        places = places.repeat(len(x), 1) if self.explicit else places[None]
        h = self.embed(x) + self.positions(places)
        q, k, v = self.mix(self.before(h)).chunk(3, dim=-1)
        weights = torch.softmax(q @ k.transpose(1, 2) / 4, dim=-1)
        return self.head((h + self.out(weights @ v)).mean(1))


def adapted() -> nn.Module:
    net = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 32), nn.ReLU(), nn.Linear(32, 10))
    return with_lora(net, "4", rank=4)


def start(build, seed: int = 0) -> Params:
    """A pretrained checkpoint would do; random weights of the usual size are enough here."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return to_params(build().state_dict())
