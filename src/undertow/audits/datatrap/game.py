"""Data traps: can a checkpoint carry finetuning records away? (Feng & Tramer, ICML 2024)

The game: an attacker pretrains a model on its own records, writes traps into it and publishes it. A victim gives it a
fresh head and finetunes it on private records. The attacker compares the two checkpoints and reads records out of the
difference. A clean twin, the same checkpoint without traps, is finetuned with the same seeds and batches, and read
too: what is accepted there is a false alarm of the reading.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from undertow.audits.base import Base
from undertow.audits.chain import Host
from undertow.audits.datatrap.kit import Judged, TrapKit, dense_kit, sequential_plan
from undertow.audits.datatrap.kit_bert import bert_kit
from undertow.audits.datatrap.kit_gpt2 import gpt2_kit
from undertow.audits.datatrap.kit_lora import lora_kit
from undertow.audits.datatrap.kit_vit import vit_kit
from undertow.audits.datatrap.rows import FROZEN, mean_rows, seed_rows
from undertow.audits.datatrap.settings import DataTrapConfig, TrapModel
from undertow.audits.datatrap.supply import TrapSupply
from undertow.audits.leakage import Stopwatch, plain
from undertow.audits.stored import keep, put, put_examples
from undertow.engine.play import play
from undertow.models.architecture import Architecture, Mlp, initial_state
from undertow.models.cnn import Cnn
from undertow.models.huggingface import HuggingFace
from undertow.stages.query import Query
from undertow.training.task import to_params
from undertow.traps import Trap, read
from undertow.traps.recorder import Candidates
from undertow.types import AuditResult, Diverged, Measurement, Params, Slot, Stage

ARMS = ("planted", "clean_twin")
KITS = {"mlp": dense_kit, "cnn": dense_kit, "vit": vit_kit, "bert": bert_kit, "gpt2": gpt2_kit}
HEAD = 32  # width of an attention head of a ViT that is made here
DIVERGED = "the finetuning diverged"


@dataclass(frozen=True, eq=False)
class Capture:
    """One experiment, complete: the key, the planted checkpoint, what was read, and what it is worth."""

    seed: int
    trap: Trap
    planted: Params
    judged: Judged
    rows: tuple[Measurement, ...]


def audit_datatrap(
    config: DataTrapConfig, load: Callable[[int], TrapSupply], host: Host, base: Base | None = None
) -> tuple[AuditResult, list[Capture]]:
    """Every experiment of the configuration; `load` gives the records of a seed, `base` a checkpoint that is there.

    Raises ConfigError, BadInput, StoreError or WorkerDied; whatever was finished stays in the host's store.
    """
    clock, runs = Stopwatch(), []
    first = load(config.seed)
    for seed in range(config.seed, config.seed + config.seeds):
        with clock.stage(f"seed {seed}"):
            supply = first if seed == config.seed else load(seed)
            runs.append(experiment(replace(config, seed=seed), supply, host, base))
    rows = [row for run in runs for row in run.rows]
    return AuditResult(
        audit="datatrap",
        config=plain(config),
        seed=config.seed,
        environment=dict(host.environment),
        data=first.describe(),
        warnings=first.notes,
        measurements=(*rows, *mean_rows([run.rows for run in runs])),
        timing=clock.seconds,
    ), runs


def experiment(config: DataTrapConfig, supply: TrapSupply, host: Host, base: Base | None = None) -> Capture:
    """Pretrain, plant, finetune both arms, read and judge."""
    table = Table(config, supply, host, base)
    kit, clean = table.kit, table.clean()
    starts = dict(zip(ARMS, (table.play([kit.plant], "base", clean)[0], clean), strict=True))
    trap = kit.plant.trap(table.slot("base"), host.store.get(clean), host.store)
    ends = {arm: table.finetuned(key) for arm, key in starts.items()}
    found = {arm: table.read(trap, starts[arm], ends[arm]) for arm in ARMS}
    planted = kit.named(host.store.get(starts["planted"]))
    judged = kit.judge(trap, planted, found["planted"])
    accuracy: dict[tuple[str, str], float | None]
    accuracy = {(arm, "before"): table.accuracy(key) for arm, key in starts.items()} if kit.graded else {}
    accuracy |= {(arm, "after"): None if key is None else table.accuracy(table.model(key)) for arm, key in ends.items()}
    alarms = int(kit.judge(trap, planted, found["clean_twin"]).captures.accepted.sum())
    rows = seed_rows(config.seed, judged, accuracy, len(supply.test), alarms)
    return Capture(config.seed, trap, planted, judged, tuple(rows))


@dataclass(frozen=True, eq=False)
class Table:
    """The stages of one experiment."""

    config: DataTrapConfig
    supply: TrapSupply
    host: Host
    base: Base | None = None  # the checkpoint, where it is given; None: it is pretrained

    @cached_property
    def kit(self) -> TrapKit:
        """What is particular to this kind of model."""
        base = self.base or Base(untrained(self.config.model))
        kind = lora_kit if self.adapted else KITS[self.config.model.kind]
        return kind(self.config, self.supply, base, self.host.store)

    @property
    def adapted(self) -> bool:
        """Whether the victim leaves adapters from which traps can be read."""
        return self.config.strategy == "lora" and self.config.model.kind == "mlp"

    def check(self) -> None:
        """BadInput or ConfigError for what cannot be planted, before anything is trained."""
        pretrain = self.kit.pretrain
        state = self.given or to_params(initial_state(pretrain.architecture, pretrain.shape, pretrain.classes, 0))
        self.kit.plant.trap(self.slot("base"), state, self.host.store)

    @property
    def given(self) -> Params | None:
        """The weights of the checkpoint, where it is given."""
        return None if self.base is None else self.base.params

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

    def clean(self) -> str:
        """The key of the checkpoint without traps."""
        return keep(self.host.store, self.given) if self.given else self.play([self.kit.pretrain], "base")[0]

    def finetuned(self, checkpoint: str) -> str | None:
        """The key of what the victim makes of a checkpoint; None where that ends in NaN."""
        try:
            return self.play([self.kit.finetune], "victim", checkpoint)[0]
        except Diverged:
            return None

    def read(self, trap: Trap, start: str, end: str | None) -> Candidates:
        """What the traps hold after a finetuning; where there is nothing to read, why."""
        before = self.kit.named(self.host.store.get(start))
        if end is None:
            return _nothing(read(before, before, trap), DIVERGED)
        after = self.kit.named(self.host.store.get(end))
        found = read(before, after, trap)
        still = all(name in before and (before[name] == after[name]).all() for name in trap.tensors)
        return _nothing(found, FROZEN) if still else found

    def model(self, key: str) -> str:
        """The key of the model that a finetuning's result is, its updates merged."""
        return self.play([self.kit.merge], "victim", key)[0] if self.kit.merge else key

    def accuracy(self, key: str) -> float:
        """Of one checkpoint on the test records, with the head it has."""
        store, supply = self.host.store, self.supply
        views, test = put(store, x=supply.test.x[:1, None]), put_examples(store, supply.test)
        query = Query(views, test, self.kit.architecture, supply.shape, supply.classes, sequential_plan(self.config))
        return float(store.get(self.play([query], "reader", key)[0])["accuracy"])


def untrained(model: TrapModel) -> Architecture:
    """The architecture of a checkpoint that is made here."""
    if model.kind == "mlp":
        return Mlp(model.hidden)
    if model.kind == "cnn":
        return Cnn(model.width, model.depth, hidden=model.hidden)
    config = {
        "model_type": "vit", "hidden_size": model.width, "num_hidden_layers": model.depth,
        "num_attention_heads": max(1, model.width // HEAD), "intermediate_size": 4 * model.width,
        "patch_size": model.patch, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
    }  # fmt: skip
    return HuggingFace(json.dumps(config, sort_keys=True))


def _nothing(found: Candidates, why: str) -> Candidates:
    """The same readings, all empty, for this reason."""
    shape = found.step.shape
    return replace(
        found, values=np.full_like(found.values, np.nan), step=np.zeros(shape), accepted=np.zeros(shape, bool),
        reasons=np.full(shape, why, object),
    )  # fmt: skip
