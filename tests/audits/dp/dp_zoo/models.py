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
