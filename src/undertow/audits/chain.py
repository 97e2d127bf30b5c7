"""From a configuration to stages: data into the store, engines decided, links made."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from typing import Any, TypeVar

import numpy as np

from undertow.attacks.catalog import check_names
from undertow.audits.language import check_texts
from undertow.audits.settings import EngineSettings, LeakageConfig
from undertow.audits.stored import put, put_examples
from undertow.audits.supply import Supply, without_duplicates
from undertow.audits.views import check_views, make_views
from undertow.engine.design import Design
from undertow.engine.key import canonical, code_versions, digest, stage_digest
from undertow.engine.play import Trace, play
from undertow.models.architecture import Architecture, initial_state
from undertow.models.choose import ARCHITECTURES, architecture_of
from undertow.models.huggingface import HuggingFace, padding
from undertow.models.transformer import for_labels, transformer
from undertow.stages.common import in_precision
from undertow.stages.finetune import Finetune, Relation, Strategy
from undertow.stages.likelihood import Likelihood
from undertow.stages.pretrain import Pretrain
from undertow.stages.query import Query
from undertow.texts import is_text
from undertow.training.choose import (
    ENGINES,
    ONE_BY_ONE,
    PROBE_STEPS,
    Plan,
    candidates,
    choose,
    chunk_for,
    pick_device,
    probe,
)
from undertow.training.privacy import ACCOUNTANTS, Noise, calibrate
from undertow.training.private import private_engine
from undertow.training.schedule import Fit
from undertow.training.task import Engine, Task, to_params
from undertow.types import Array, BadInput, ConfigError, Examples, Executor, MissingExtra, Progress, Slot, Stage, Store

S = TypeVar("S", Pretrain, Finetune)


@dataclass(frozen=True)
class Decision:
    """The engine of one stage and what the probe saw."""

    plan: Plan
    seconds: dict[str, float]  # per model-step, of each engine that was tried; empty where none was
    steps: int  # of each model

    def note(self) -> dict[str, object]:
        return {"plan": vars(self.plan), "seconds_per_model_step": self.seconds, "steps": self.steps}


@dataclass(frozen=True, eq=False)
class Host:
    """Where an audit runs: what keeps its results, who does the work, who is told."""

    store: Store
    executor: Executor
    environment: Mapping[str, Any] = field(default_factory=dict)  # versions and machine, for the result
    progress: Progress | None = None


@dataclass(frozen=True, eq=False)
class Workshop:
    """Builds and plays the chains of one configuration on its records."""

    config: LeakageConfig
    supply: Supply
    host: Host

    @property
    def store(self) -> Store:
        return self.host.store

    def play(
        self, chain: Sequence[Stage], slots: Sequence[Slot], secret: str, start: Sequence[str] | None = None
    ) -> Trace:
        """engine.play on this host."""
        host = self.host
        return play(chain, slots, host.store, host.executor, secret=secret, start=start, progress=host.progress)

    @property
    def architecture(self) -> Architecture:
        return architecture_for(self.config, self.supply)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.supply.secret.x.shape[1:])

    def put_examples(self, examples: Examples) -> str:
        """Store the examples under their content; returns the key."""
        return put_examples(self.store, examples)

    def put_views(self, points: Array) -> str:
        """The views (Q, A, ...) of the challenge points: the same for every model, the first one clean."""
        return put(self.store, x=make_views(self.config, self.supply.secret.x[points]))

    def pretrain(self, examples: Examples, fit: Fit, slots: Sequence[Slot]) -> tuple[Pretrain, Decision]:
        """The pretraining stage on `examples`, its engine decided for models like `slots`."""
        key, classes = self.put_examples(examples), class_count(examples)
        architecture = for_labels(self.architecture, examples.of_tokens)
        bare = Pretrain(key, architecture, self.shape, classes, fit, UNDECIDED)
        decision = self._decide(bare, lambda s, some: s.task(some, [{}] * len(some), examples), slots)
        return replace(bare, plan=decision.plan), decision

    def finetune(
        self,
        examples: Examples,
        slots: Sequence[Slot],
        *,
        draw: int = 0,
        relation: Relation = "subset",
        strategy: Strategy | None = None,
        shared_base: bool = False,
    ) -> tuple[Finetune, Decision]:
        """The finetuning stage on `examples`, its engine decided for models like `slots`.

        `strategy` is the configured one unless given.
        """
        config = self.config
        bare = Finetune(
            data=self.put_examples(examples),
            architecture=self.architecture,
            shape=self.shape,
            classes=class_count(examples),
            strategy=strategy or config.strategy,
            draw=draw,
            fit=config.finetune,
            plan=UNDECIDED,
            shared_base=shared_base,
            layers=config.last_layers,
            rank=config.lora_rank,
            relation=relation,
        )
        bare = replace(bare, noise=self.noise(len(bare.rows(slots[0], len(examples)))))
        start = to_params(initial_state(self.architecture, self.shape, bare.classes, 0))  # a probe needs shapes only
        decision = self._decide(bare, lambda s, some: s.task(some, [start] * len(some), examples), slots)
        return replace(bare, plan=decision.plan), decision

    def noise(self, records: int) -> Noise | None:
        """What keeps the configured promise for models finetuned on so many records; calibrated once per store."""
        privacy, fit = self.config.privacy, self.config.finetune
        if not privacy.epsilon:
            return None
        key = digest(["noise", canonical(privacy), canonical(fit), records, code_versions(ACCOUNTANTS)])
        note = self.store.get_note(key)
        if note is None:
            note = dict(vars(calibrate(privacy, records, fit)))
            self.store.put_note(key, note)
        return Noise(**note)

    def query(self, stage: Pretrain | Finetune, views: str) -> Query:
        """Ask the models that come out of `stage`; their accuracy on the test records where there are any."""
        test = self.put_examples(self.supply.test) if self.supply.test is not None else ""
        return Query(views, test, stage.architecture, stage.shape, stage.classes, stage.plan)

    def ask_base(self, stage: Pretrain, views: str) -> Query | Likelihood:
        """Query the pretrained models: logits for labelled records, likelihoods for texts; there is no test set."""
        if self.supply.secret.of_tokens:
            return Likelihood(views, stage.architecture, stage.shape, stage.plan)
        return replace(self.query(stage, views), test="")  # test records carry downstream labels

    def _decide(self, bare: S, make: Callable[[S, Sequence[Slot]], Task], slots: Sequence[Slot]) -> Decision:
        return decided(bare, make, slots, self.config.engine, self.store)


def decided(
    bare: S, make: Callable[[S, Sequence[Slot]], Task], slots: Sequence[Slot], settings: EngineSettings, store: Store
) -> Decision:
    """The plan of a stage: read back if this store has decided before, else probed and written down."""
    key = digest(["plan", stage_digest(bare), settings.__dict__])
    note = store.get_note(key)
    if note is None:
        decision = decide(bare, make, slots, settings)
        store.put_note(key, decision.note())
        return decision
    return Decision(Plan(**note["plan"]), note["seconds_per_model_step"], note["steps"])


UNDECIDED = Plan("undecided", 1)


def decide(
    bare: S, make: Callable[[S, Sequence[Slot]], Task], slots: Sequence[Slot], settings: EngineSettings
) -> Decision:
    """Probe the engines that can train this stage and choose one (choose.py); a named one is timed, not judged."""
    device = pick_device(settings.device)
    look = Plan("undecided", 1, settings.dtype, settings.threads, device)

    def task_of(some: Sequence[Slot]) -> Task:
        return in_precision(make(replace(bare, plan=look), some), look)

    first = task_of(slots[:1])
    parameters = sum(int(v.size) for v in first.states[0].values())
    steps = first.schedule.steps
    engines = _engines(bare, lambda: task_of(slots[:2]), settings)
    chunks = {name: settings.chunk or chunk_for(name, parameters, device) for name in engines}

    def probe_task(count: int) -> Task:
        task = task_of([slots[i % len(slots)] for i in range(count)])
        return replace(task, schedule=task.schedule.first(PROBE_STEPS))

    seconds: dict[str, float] = {}
    for name, run in engines.items() if steps else ():
        count = min(chunks[name], 8) if name in ONE_BY_ONE else chunks[name]
        seconds[name] = probe(probe_task, run, count, settings.threads)
    name = choose(seconds) if seconds else next(iter(engines))
    return Decision(replace(look, engine=name, chunk=chunks[name]), seconds, steps)


def _engines(bare: Pretrain | Finetune, look: Callable[[], Task], settings: EngineSettings) -> dict[str, Engine]:
    """What may train this stage, in order of preference: private training has an engine of its own."""
    if isinstance(bare, Finetune) and bare.noise is not None:
        return private_engine(bare.noise)
    fitting = candidates(look())
    if settings.name not in ("auto", *fitting):
        allowed = " or ".join(repr(name) for name in ("auto", *fitting))
        raise ConfigError(
            f"engine.name = {settings.name!r} cannot do the {bare.name} stage of this model; use {allowed}"
        )
    return {name: ENGINES[name][0] for name in fitting if settings.name in ("auto", name)}


def class_count(examples: Examples) -> int:
    """K for labels 0..K-1; BadInput where only one class is there."""
    count = int(examples.y.max()) + 1
    if len(np.unique(examples.y)) < 2:
        raise BadInput(f"{examples.name}: only one class is there; a classifier needs at least two")
    return count


def ready(config: LeakageConfig, supply: Supply) -> Supply:
    """The records fit to be audited; refuses, before anything is written, what cannot be played.

    Raises ConfigError (unknown attack, impossible views, odd pool, too many challenge points or rows to draw),
    BadInput (duplicates) or MissingExtra.
    """
    check_names(config.attacks)
    check_texts(config, supply)
    if not is_text(supply.secret.x):
        check_views(config, supply.secret.x.shape[1:])
    supply = without_duplicates(supply, config.data.drop_duplicates)
    design_of(config, supply)
    _check_draw(config, supply)
    _check_extras(config)
    return supply


def architecture_for(config: LeakageConfig, supply: Supply) -> Architecture:
    """The model of a configuration, as it reads these records; ConfigError where there is none."""
    model = config.model
    if model.kind == "transformer" and not model.factory:
        return transformer(model.width, model.depth, config.data.vocabulary)
    found = architecture_of(model)
    if isinstance(found, HuggingFace) and is_text(supply.secret.x):
        return replace(found, exchange=max(padding(found), 0))
    return found


def check_model(config: LeakageConfig, supply: Supply) -> None:
    """ConfigError where the model is not there or cannot read the records; the user's own is built and run once."""
    architecture = architecture_for(config, supply)
    ours = {*ARCHITECTURES.built_in, "transformer"} - {"huggingface"}
    if (config.model.factory or config.model.kind not in ours) and not supply.secret.of_tokens:
        architecture.build(tuple(supply.secret.x.shape[1:]), class_count(supply.secret))


def _check_draw(config: LeakageConfig, supply: Supply) -> None:
    """ConfigError where tmi's models are to draw more finetuning rows than there are."""
    there = 0 if supply.other is None else len(supply.other)
    apart = config.data.relation == "disjoint"
    if there and config.data.draw > (there // 2 if apart else there):
        side = " on each side (data.relation = 'disjoint')" if apart else ""
        raise ConfigError(
            f"data.draw = {config.data.draw}; each model draws so many finetuning rows, but there are only "
            f"{there // 2 if apart else there}{side}"
        )


def _check_extras(config: LeakageConfig) -> None:
    """MissingExtra where the configured finetuning needs a package that is absent."""
    needed = {"peft": "llm"} if "lora" in (config.strategy, config.victim_strategy) else {}
    if config.privacy.epsilon:
        needed["opacus" if config.privacy.trainer == "opacus" else "dp_accounting"] = "dp"
    for package, extra in needed.items():
        if find_spec(package) is None:
            raise MissingExtra(package.replace("_", "-"), extra)


def design_of(config: LeakageConfig, supply: Supply) -> Design:
    """The coin flips of this configuration on these records."""
    population = len(supply.secret)
    return Design(config.seed, population, config.shadows, config.victims, config.challenge or population)
