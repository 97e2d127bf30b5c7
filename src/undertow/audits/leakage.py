"""The spine all membership audits share: attack the evidence, count honestly, write down what was done."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from undertow.attacks.attack import missing, run
from undertow.attacks.catalog import ATTACKS, resolved
from undertow.engine.key import canonical
from undertow.engine.membership import Fold
from undertow.metrics import measure
from undertow.rng import stream
from undertow.training.privacy import Noise
from undertow.types import BadInput, Evidence, Measurement, Progress, Scores


@dataclass
class Stopwatch:
    """Seconds spent per stage of an audit."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


def attack_all(
    evidence: Evidence,
    folds: Sequence[Fold],
    names: Sequence[str],
    seed: int,
    *,
    group: str | None = None,
    progress: Progress | None = None,
) -> tuple[Scores, ...]:
    """Every named attack on every fold's targets; targets in the order of the folds.

    Raises BadInput naming the attack and the key where an input is absent.
    """
    targets = np.concatenate([fold.targets for fold in folds])
    order = np.argsort(targets, kind="stable")
    results = []
    for done, name in enumerate(names):
        if progress:
            progress("attack", done, len(names))
        absent = missing(ATTACKS[name], evidence)
        if absent is not None:
            raise BadInput(f"attack {name!r} cannot run: {absent}")
        parts = [
            run(ATTACKS[name], evidence, fold.shadows, fold.targets, stream(seed, "attack", group or "", name, i))
            for i, fold in enumerate(folds)
        ]
        values = np.concatenate(parts)[order]
        results.append(Scores(name, values, evidence.member[targets[order]], group))
    if progress:
        progress("attack", len(names), len(names))
    return tuple(results)


def measure_all(scores: Sequence[Scores], seed: int) -> tuple[Measurement, ...]:
    """All measurements of all scores."""
    rows: list[Measurement] = []
    for s in scores:
        rows.extend(measure(s, stream(seed, "halves", s.group or "", s.attack)))
    return tuple(rows)


def choose_attacks(wanted: Sequence[str], offered: Sequence[str], evidence: Evidence) -> tuple[str, ...]:
    """The attacks to run: those asked for, or all offered ones whose input is there.

    An attack that was asked for and lacks its input is refused when it runs, naming the key.
    """
    if not wanted:
        return tuple(name for name in offered if missing(ATTACKS[name], evidence) is None)
    return resolved(wanted)


def held_out(shadows: int, victims: int) -> Fold:
    """Victims (numbered after the shadows) are attacked by the shadows, which never learn from one."""
    return Fold(shadows + np.arange(victims), np.arange(shadows))


def with_epsilon(rows: Sequence[Measurement], noise: Noise | None) -> tuple[Measurement, ...]:
    """The rows, each carrying the epsilon its models were finetuned to (none where finetuning is not private)."""
    return tuple(rows) if noise is None else tuple(replace(row, epsilon=noise.epsilon) for row in rows)


def promise(noise: Noise | None) -> dict[str, Any]:
    """What finetuning promised and the noise that keeps it, for the result's environment."""
    return {} if noise is None else {"privacy": {**vars(noise), "accountant": noise.accountant}}


def plain(config: object) -> dict[str, Any]:
    """A configuration as plain data, as `result.json` keeps it."""
    result: dict[str, Any] = _without_types(canonical(config))
    return result


def _without_types(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_types(v) for k, v in value.items() if k != "type"}
    return value
