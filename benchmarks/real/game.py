"""Who attacks whom in a file of signals, found without undertow but for what is drawn at random."""

from collections.abc import Mapping

import numpy as np
from tests.oracles import score as slow

from undertow.engine import membership
from undertow.rng import stream
from undertow.types import Array


def play(arrays: Mapping[str, Array], seed: int) -> slow.Game:
    """Who attacks whom. Blocks are found anew; only what is drawn at random is taken over from the audit.

    ValueError unless the draw is what the design asks for: in balanced columns without blocks a model of the other
    side at every point, else nobody.
    """
    member = arrays["member"]
    models = len(member)
    block, out = blocks(member), membership.left_out(member, stream(seed, "left out"))
    alone = [m for m in range(models) if block.count(block[m]) == 1]
    sums = member[alone].sum(0)
    drawn = len(alone) > 2 and sums.min() == sums.max() and 0 < sums[0] < len(alone)
    if drawn != (out.beside is not None):
        raise ValueError("a model is left out at every point, or none, where the design asks for the other")
    if out.beside is not None and not (np.take_along_axis(member, out.beside, 0) != member)[alone].all():
        raise ValueError("a model of the target's own side is left out beside it")
    targets = sorted(arrays["target"].tolist()) if "target" in arrays else list(range(models))
    held = set(targets) if "target" in arrays and not drawn else set()
    given_away = {m for m in range(models) if block[m] in {block[t] for t in held}}

    def gone(t: int, q: int) -> set[int]:
        if held:
            return given_away
        own = {m for m in range(models) if block[m] == block[t]}
        return own if out.beside is None else own | {int(out.beside[t, q])}

    return slow.deal(member, targets, gone)


def blocks(member: Array) -> list[int]:
    """Models that are left out together: exact complements, and models whose folds part the records between them."""
    models = len(member)
    block = list(range(models))
    for m in range(models):
        other = next((k for k in range(m) if block[k] == k and (member[k] != member[m]).all()), None)
        if other is not None and block.count(other) == 1:
            block[m] = other
    for side in (False, True):
        for m in range(models):
            free = [k for k in range(models) if block.count(block[k]) == 1]
            if m not in free:
                continue
            apart = [k for k in free if k == m or not ((member[k] == side) & (member[m] == side)).any()]
            if len(apart) > 2 and ((member[apart] == side).sum(0) == 1).all():
                for k in apart:
                    block[k] = m
    return block
