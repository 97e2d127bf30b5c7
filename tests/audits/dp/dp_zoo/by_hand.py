"""DP-SGD by hand (torch.func), one method per promise: a planted bug is a subclass that breaks one of them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.special import softmax
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.functional import cross_entropy

from undertow.audits.dp.claim import DpClaim
from undertow.rng import stream
from undertow.training.task import to_params
from undertow.types import Examples, Params


@dataclass(frozen=True, eq=False)
class ByHand:
    """Poisson batches, records clipped over all parameters, noise on the sum, divided by the expected batch."""

    build: Any
    claim: DpClaim

    def __call__(self, checkpoint: Params, data: Examples, seed: int) -> Params:
        module = self.build().train()
        module.load_state_dict({name: torch.as_tensor(value) for name, value in checkpoint.items()})
        x, y = torch.as_tensor(data.x), torch.as_tensor(data.y).long()
        draw = torch.Generator().manual_seed(seed)
        noise = torch.Generator().manual_seed(seed + 2**32)
        optimizer = self.optimizer(module)
        for step, rows in enumerate(self.batches(len(x), draw)):
            sums = self.clipped(self.gradients(module, x[rows], y[rows]))
            self.step(module, optimizer, sums, step, len(rows), noise)
        return to_params(module.state_dict())

    def optimizer(self, module: nn.Module) -> torch.optim.Optimizer:
        c, p = self.claim, module.parameters()
        if c.optimizer == "adam":
            return torch.optim.Adam(p, 0.1)
        if c.optimizer == "adamw":
            return torch.optim.AdamW(p, 0.1, weight_decay=c.weight_decay)
        if c.optimizer == "rmsprop":
            return torch.optim.RMSprop(p, 0.1, alpha=c.alpha)
        return torch.optim.SGD(
            p, 0.1, momentum=c.momentum, nesterov=c.nesterov, dampening=c.dampening, weight_decay=c.weight_decay
        )

    def batches(self, records: int, draw: torch.Generator):
        rate = self.claim.rate
        return [(torch.rand(records, generator=draw) < rate).nonzero()[:, 0] for _ in range(self.claim.steps)]

    def gradients(self, module: nn.Module, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Per record, (B, ...)."""
        if not len(x):
            return {name: p.new_zeros(0, *p.shape) for name, p in module.named_parameters()}

        def loss(parameters, one, label):
            logits = functional_call(module, parameters, (one[None],))
            return cross_entropy(logits.flatten(0, -2), label.reshape(-1))

        return vmap(grad(loss), (None, 0, 0))(dict(module.named_parameters()), x, y)

    def clipped(self, grads: dict[str, Tensor]) -> dict[str, Tensor]:
        """Their sum, each at most `clip`."""
        factor = self.factor(norms(grads))
        return {name: torch.einsum("i,i...", factor, g) for name, g in grads.items()}

    def factor(self, norm: Tensor) -> Tensor:
        return (self.claim.clip / (norm + 1e-9)).clamp(max=1)

    def step(self, module, optimizer, sums, step: int, size: int, noise: torch.Generator) -> None:
        for group in optimizer.param_groups:
            group["lr"] = self.claim.rates[step]
        for name, p in module.named_parameters():
            total = sums[name] + self.noise(name, p.shape, step, noise)
            p.grad = total.detach() / self.divisor(size)
        optimizer.step()

    def noise(self, name: str, shape, step: int, noise: torch.Generator) -> Tensor:
        return torch.randn(shape, generator=noise) * self.claim.noise_multiplier * self.claim.clip

    def divisor(self, size: int) -> float:
        return self.claim.divisor or self.claim.batch


def norms(grads: dict[str, Tensor]) -> Tensor:
    """(B,) over all parameters."""
    return torch.stack([g.flatten(1).norm(dim=1) for g in grads.values()]).norm(dim=0)


@dataclass(frozen=True, eq=False)
class InNumpy:
    """A linear head by DP-SGD in NumPy alone: quick."""

    claim: DpClaim
    decay: float = 0.0
    noisy: float = 1.0

    def __call__(self, checkpoint: Params, data: Examples, seed: int) -> Params:
        c, rng = self.claim, stream(seed, "in numpy")
        w = np.column_stack([checkpoint["weight"], checkpoint["bias"]]).astype(float)
        x = np.column_stack([data.x, np.ones(len(data))])
        for lr in c.rates:
            rows = np.flatnonzero(rng.random(len(x)) < c.rate)
            error = softmax(x[rows] @ w.T, axis=1) - np.eye(len(w))[data.y[rows]]
            norm = np.linalg.norm(error, axis=1) * np.linalg.norm(x[rows], axis=1)
            factor = np.minimum(1, c.clip / np.maximum(norm, 1e-12))
            total = (error * factor[:, None]).T @ x[rows]
            total += self.noisy * c.noise_multiplier * c.clip * rng.standard_normal(w.shape)
            w -= lr * (total / c.batch + self.decay * w)
        return {"weight": w[:, :-1].copy(), "bias": w[:, -1].copy()}
