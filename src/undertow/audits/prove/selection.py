"""Of many records, a few on which units that seldom fire do so once.

A trap keeps one record. Where several fire it in one step it keeps their sum, and where none does, nothing; which units
are traps is not known, so as many units as possible, in every dense layer, are to be fired by one record or few.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from undertow.types import Array

BLOCK = 64  # records that are looked at together
OFTEN = 0.1  # share of all records; units that fire on more do not count


@torch.no_grad()
def firing(module: nn.Module, layers: dict[str, nn.Module], x: Tensor) -> Array:
    """(N, U) bool: does record n fire unit u, at any of its tokens or patches? Of all `layers`' units, the rare ones.

    Those are fired by at least one record and by no more than `OFTEN` of them.
    """
    seen: dict[str, list[Array]] = {name: [] for name in layers}

    def watch(name: str, block: Tensor) -> Any:
        def hook(_: nn.Module, __: Any, out: Tensor) -> None:
            seen[name].append((out > 0).reshape(len(block), -1, out.shape[-1]).any(1).numpy())

        return hook

    for block in x.split(BLOCK):
        hooks = [layer.register_forward_hook(watch(name, block)) for name, layer in layers.items()]
        try:
            module(block)
        finally:
            for hook in hooks:
                hook.remove()
    rare = []
    for blocks in seen.values():
        fired = np.concatenate(blocks)
        count = fired.sum(0)
        rare.append(fired[:, (count > 0) & (count <= OFTEN * len(x))])
    return np.concatenate(rare, 1)


def selected(fired: Array, count: int) -> Array:
    """(count,) int: rows of `fired` (N, U) bool, one after another whichever adds most to the sum of units' worth.

    A unit that k of the chosen records fire is worth min(k, 4 / k): two are best, as one of them is to be kept and the
    other to be ignored. All rows, in their order, where there are no more than `count`.

    >>> selected(np.array([[1, 0], [1, 0], [1, 1], [0, 1]], bool), 2)
    array([2, 0])
    """
    if len(fired) <= count:
        return np.arange(len(fired))
    times = np.arange(1, count + 2)
    gain = np.diff(np.minimum(times, 4 / times), prepend=0).astype(np.float32)
    wide = fired.astype(np.float32)
    done, left = np.zeros(wide.shape[1], int), np.ones(len(wide), bool)
    rows = []
    for _ in range(count):
        best = int(np.where(left, wide @ gain[done], -np.inf).argmax())
        rows.append(best)
        left[best] = False
        done += fired[best]
    return np.array(rows)
