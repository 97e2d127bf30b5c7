"""One training job as data: k models, one schedule. Every engine answers the same question, at its own speed."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from undertow.training.augment import Augmentation, check_images
from undertow.training.schedule import Fit, Schedule
from undertow.types import Params

State = dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class Task:
    """Train k models of one architecture; state m of `states` is where model m begins."""

    module: nn.Module  # the architecture; its own values are overwritten
    states: Sequence[Params]  # k state dicts
    x: Tensor  # (N, ...) seen by all, or (k, N, D) one table per model (cached features)
    y: Tensor  # (N,) int64
    schedule: Schedule
    fit: Fit
    noise: Sequence[Callable[[], np.random.Generator]]  # k; a fresh generator of each model's jitter and moves
    torch_seeds: Sequence[int]  # k; for layers with randomness of their own (dropout)
    own_x: bool = False  # x has a leading model axis
    records: int = 0  # each model is trained on; needed where a schedule may miss some (Poisson sampling)
    bfloat16: bool = False  # products and convolutions; parameters, optimiser and x stay as they are
    head_rate: float = 1.0  # the head's step size, in times that of everything else
    clip: float = 0.0  # longer gradients (of all parameters together) are shortened to this; 0: none is

    def __post_init__(self) -> None:
        check_images(self.fit, self.x.shape[2 if self.own_x else 1 :])

    def only(self, models: Sequence[int]) -> "Task":
        """The task of these models alone."""
        pick = list(models)
        schedule = self.schedule if self.schedule.shared else replace(self.schedule, rows=self.schedule.rows[:, pick])
        return replace(
            self,
            states=[self.states[m] for m in pick],
            x=self.x[pick] if self.own_x else self.x,
            schedule=replace(schedule, keep=self.schedule.keep[:, pick]),
            noise=[self.noise[m] for m in pick],
            torch_seeds=[self.torch_seeds[m] for m in pick],
        )

    def __len__(self) -> int:
        return len(self.states)

    @property
    def dtype(self) -> torch.dtype:
        return number_type(self.x)

    @property
    def device(self) -> torch.device:
        return self.x.device

    @cached_property
    def weights(self) -> Tensor:
        """(S, k, B), on the device."""
        return torch.as_tensor(self.schedule.weights(), dtype=self.dtype, device=self.device)

    @cached_property
    def rows(self) -> Tensor:
        """(S, G, B), on the device."""
        return torch.as_tensor(np.ascontiguousarray(self.schedule.rows), device=self.device)

    def products(self) -> torch.autocast:
        """Within it, products and convolutions are made in the task's precision."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16)

    def augmentation(self, m: int) -> Augmentation:
        """What changes the batches of model m, from its first step on."""
        return Augmentation(self.fit, self.noise[m](), self.schedule.rows.shape[-1])


Engine = Callable[[Task], list[Params]]


def number_type(x: Tensor) -> torch.dtype:
    """What a model computes in for records `x`: their own type, or float32 where they are token ids."""
    return x.dtype if x.is_floating_point() else torch.float32


def blocks(x: Tensor) -> tuple[Tensor, ...]:
    """Records in parts that stay in cache; images with their channels innermost, which convolutions read fastest."""
    if x.dim() == 4:
        return tuple(block.contiguous(memory_format=torch.channels_last) for block in x.split(256))
    return tuple(x.split(4096 if x.is_floating_point() else 256))


def to_params(state: State) -> Params:
    """A state dict as NumPy arrays that own their memory."""
    return {name: value.detach().cpu().numpy().copy() for name, value in state.items()}


def load_state(module: nn.Module, state: Params, dtype: torch.dtype) -> None:
    """Set `module` to `state`, floating values as `dtype`; strict, so nothing is silently left as it was."""
    tensors = {name: torch.as_tensor(value) for name, value in state.items()}
    module.load_state_dict({n: t.to(dtype) if t.is_floating_point() else t for n, t in tensors.items()}, strict=True)


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Run the body with `count` threads: sums are split by threads, so their number decides bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
