"""A finetuning by Opacus's own PrivacyEngine, as people write it, in the shape that audits call.

That is train(checkpoint, data, seed) -> checkpoint; a pipeline of your own needs nothing but that signature.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from undertow.training.task import load_state, to_params
from undertow.types import Array, Examples, MissingExtra, Params


@dataclass(frozen=True, eq=False)
class OpacusPipeline:
    """Train what `build()` returns: its parameters that ask for gradients, adapters of peft too.

    The loader draws records / batch batches per epoch, whose rate is 1 / (their number): let `batch` divide the
    records. Checkpoints are its state dict. Raises MissingExtra without Opacus.
    """

    build: Callable[[], nn.Module]
    optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
    noise_multiplier: float
    clip: float
    batch: int
    epochs: int
    poisson: bool = True
    ghost: bool = False
    clipping: str = "flat"  # "per_layer": every tensor to its equal share of `clip`

    def __call__(self, checkpoint: Params, data: Examples, seed: int) -> Params:
        with _quiet(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self._train(checkpoint, data)

    def batches(self, data: Examples, seed: int) -> Iterator[Array]:
        """Row numbers of every step that a training with `seed` would draw, for `metrics.participation`."""
        rows = TensorDataset(torch.arange(len(data)))
        with _quiet(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module = nn.Linear(1, 1)
            *_, loader = self._private(module, self.optimizer(module.parameters()), DataLoader(rows, self.batch))
            for _ in range(self.epochs):
                for (drawn,) in loader:
                    yield drawn.numpy().astype(int)

    def _train(self, checkpoint: Params, data: Examples) -> Params:
        module = self.build().train()
        load_state(module, checkpoint, torch.float32)
        x = torch.as_tensor(data.x)
        if x.is_floating_point():
            x = x.float()
        loader = DataLoader(TensorDataset(x, torch.as_tensor(data.y).long()), self.batch, shuffle=not self.poisson)
        optimizer = self.optimizer([p for p in module.parameters() if p.requires_grad])
        model, optimizer, *loss, loader = self._private(module, optimizer, loader)
        criterion: Any = loss[0] if loss else nn.CrossEntropyLoss()
        for _ in range(self.epochs):
            for inputs, labels in loader:
                optimizer.zero_grad()
                criterion(model(inputs), labels).backward()
                optimizer.step()
        return to_params(module.state_dict())

    def _private(self, module: nn.Module, optimizer: torch.optim.Optimizer, loader: Any) -> tuple[Any, ...]:
        try:
            from opacus import PrivacyEngine
        except ImportError as error:
            raise MissingExtra("opacus", "dp") from error
        tensors = sum(p.requires_grad for p in module.parameters())
        made: tuple[Any, ...] = PrivacyEngine().make_private(
            module=module,
            optimizer=optimizer,
            data_loader=loader,
            noise_multiplier=self.noise_multiplier,
            max_grad_norm=[self.clip / tensors**0.5] * tensors if self.clipping == "per_layer" else self.clip,
            poisson_sampling=self.poisson,
            clipping=self.clipping,
            **({"criterion": nn.CrossEntropyLoss(), "grad_sample_mode": "ghost"} if self.ghost else {}),
        )
        return made


@contextmanager
def _quiet() -> Iterator[None]:
    """Opacus warns of its random numbers (not meant for secrets here) and of hooks on inputs without gradient."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Secure RNG turned off")
        warnings.filterwarnings("ignore", message=".*backward hook.*")
        warnings.filterwarnings("ignore", message="Optimal order is the")
        yield
