"""Data traps: can a checkpoint carry finetuning records away? (Feng & Tramer, ICML 2024)

The game: an attacker pretrains a model on its own records, writes traps into it and publishes it. A victim gives it a
fresh head and finetunes all of it on private records. The attacker compares the two checkpoints and reads records out
of the difference. A clean twin, the same checkpoint without traps, is finetuned with the same seeds and batches.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from undertow.audits.chain import Host
from undertow.audits.datatrap_settings import DataTrapConfig
from undertow.audits.leakage import Stopwatch, plain
from undertow.audits.trap_rows import mean_rows, seed_rows
from undertow.audits.trap_supply import TrapSupply
from undertow.engine.key import fingerprint
from undertow.engine.play import play
from undertow.models.architecture import Architecture, Mlp, initial_state
from undertow.models.cnn import Cnn
from undertow.stages.finetune import Finetune
from undertow.stages.plant import Plant
from undertow.stages.pretrain import Pretrain
from undertow.stages.query import Query
from undertow.training.choose import Plan, pick_device
from undertow.training.task import to_params
from undertow.traps import Captures, MlpTrap, Whisper, best_expected, captures, read
from undertow.traps.recorder import Candidates
from undertow.types import Array, AuditResult, ConfigError, Diverged, Measurement, Params, Slot, Stage

ARMS = ("planted", "clean_twin")


@dataclass(frozen=True, eq=False)
class Capture:
    """One experiment, complete: the key, both checkpoints, what was read, and what it is worth."""

    seed: int
    trap: MlpTrap
    planted: Params
    candidates: Candidates
    captures: Captures
    truth: Array  # (N, d) what the traps read of the victim's records
    rows: tuple[Measurement, ...]


def audit_datatrap(
    config: DataTrapConfig, load: Callable[[int], TrapSupply], host: Host
) -> tuple[AuditResult, list[Capture]]:
    """Every experiment of the configuration; `load` gives the records of a seed.

    Raises ConfigError, BadInput, StoreError or WorkerDied; whatever was finished stays in the host's store.
    """
    clock, runs = Stopwatch(), []
    first = load(config.seed)
    for seed in range(config.seed, config.seed + config.seeds):
        with clock.stage(f"seed {seed}"):
            supply = first if seed == config.seed else load(seed)
            runs.append(experiment(replace(config, seed=seed), supply, host))
    rows = [row for run in runs for row in run.rows]
    return AuditResult(
        audit="datatrap",
        config=plain(config),
        seed=config.seed,
        environment=dict(host.environment),
        data=first.describe(),
        measurements=(*rows, *mean_rows([run.rows for run in runs])),
        timing=clock.seconds,
    ), runs


def experiment(config: DataTrapConfig, supply: TrapSupply, host: Host) -> Capture:
    """Pretrain, plant, finetune both arms, read and judge."""
    table = Table(config, supply, host)
    clean = table.play([table.pretrain], "base")[0]
    planted = table.play([table.plant], "base", clean)[0]
    trap = table.plant.trap(table.slot("base"), host.store.get(clean), host.store)
    before = host.store.get(planted)
    ends = {arm: table.finetuned(key) for arm, key in zip(ARMS, (planted, clean), strict=True)}
    candidates = nothing(trap) if ends["planted"] is None else read(before, host.store.get(ends["planted"]), trap)
    truth = table.plant.inputs(before, supply.victim.x)
    found = captures(candidates, truth, grid=trap.domain.grid)
    accuracy = {(arm, "before"): table.accuracy(key) for arm, key in zip(ARMS, (planted, clean), strict=True)}
    accuracy |= {(arm, "after"): None if key is None else table.accuracy(key) for arm, key in ends.items()}
    rows = seed_rows(config.seed, found, accuracy, len(supply.test))
    return Capture(config.seed, trap, before, candidates, found, truth, tuple(rows))


def nothing(trap: MlpTrap) -> Candidates:
    """What can be read where finetuning broke down altogether."""
    shape = (*trap.units.shape, 1)
    values = np.full((*shape, trap.directions.shape[1]), np.nan)
    return Candidates(values, np.zeros(shape), np.zeros(shape, bool), np.full(shape, "the finetuning diverged", object))


@dataclass(frozen=True, eq=False)
class Table:
    """The stages of one experiment."""

    config: DataTrapConfig
    supply: TrapSupply
    host: Host

    def check(self) -> None:
        """BadInput or ConfigError for what cannot be planted, before anything is trained."""
        state = to_params(initial_state(self.architecture, self.shape, self.supply.classes, 0))
        self.plant.trap(self.slot("base"), state, self.host.store)

    def slot(self, role: str) -> Slot:
        return Slot(role, 0, self.config.seed, None)

    def play(self, chain: Sequence[Stage], role: str, start: str | None = None) -> tuple[str, ...]:
        """engine.play of one model on this host."""
        host = self.host
        trace = play(
            chain, [self.slot(role)], host.store, host.executor, secret="", start=[start] if start else None,
            progress=host.progress,
        )  # fmt: skip
        return trace.keys[chain[-1].name]

    def finetuned(self, checkpoint: str) -> str | None:
        """The key of what the victim makes of a checkpoint; None where that ends in NaN."""
        try:
            return self.play([self.finetune], "victim", checkpoint)[0]
        except Diverged:
            return None

    @property
    def plan(self) -> Plan:
        engine = self.config.engine
        if engine.name not in ("auto", "sequential"):
            raise ConfigError(f"engine.name = {engine.name!r}: one model is trained at a time; use 'sequential'")
        return Plan("sequential", 1, engine.dtype, engine.threads, pick_device(engine.device))

    @property
    def architecture(self) -> Architecture:
        model = self.config.model
        return Mlp(model.hidden) if model.kind == "mlp" else Cnn(model.width, model.depth, hidden=model.hidden)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.supply.victim.x.shape[1:])

    @property
    def pretrain(self) -> Pretrain:
        key = self._put(self.supply.auxiliary.x, self.supply.auxiliary.y)
        return Pretrain(key, self.architecture, self.shape, self.supply.classes, self.config.pretrain, self.plan)

    @property
    def plant(self) -> Plant:
        traps, auxiliary, victim = self.config.traps, self.supply.auxiliary, self.supply.victim
        expected = traps.expected or best_expected(
            len(victim), self.config.finetune.batch, classes=self.supply.classes, auxiliary=len(auxiliary)
        )
        fit = self.config.finetune
        return Plant(
            self._put(auxiliary.x, auxiliary.y), self.architecture, self.shape, self.supply.classes, traps.count,
            expected / len(victim), traps.nested, traps.slope, traps.rows,
            0.0 if traps.slope else fit.lr / fit.batch, self.plan,
            Whisper(fit.lr) if fit.optimizer == "adamw" else None,
        )  # fmt: skip

    @property
    def finetune(self) -> Finetune:
        key = self._put(self.supply.victim.x, self.supply.victim.y)
        return Finetune(
            key, self.architecture, self.shape, self.supply.classes, self.config.strategy, 0, self.config.finetune,
            self.plan, layers=len(self.config.model.hidden) + 1,
        )  # fmt: skip

    def accuracy(self, key: str) -> float:
        """Of one checkpoint on the test records, with the head it has."""
        test = self.supply.test
        query = Query(
            self._put(test.x[:1, None]), self._put(test.x, test.y), self.architecture, self.shape,
            self.supply.classes, self.plan,
        )  # fmt: skip
        return float(self.host.store.get(self.play([query], "reader", key)[0])["accuracy"])

    def _put(self, x: Array, y: Array | None = None) -> str:
        arrays = {"x": x} if y is None else {"x": x, "y": y}
        key = fingerprint(*arrays.values())
        if not self.host.store.has(key):
            self.host.store.put(key, arrays)
        return key
