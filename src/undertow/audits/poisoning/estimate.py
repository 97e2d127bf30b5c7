"""How long a staged poisoning audit takes, by a few steps of each of its trainings; nothing is trained to its end."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from undertow.audits.poisoning.game import Game, finetunable, given, measured
from undertow.audits.poisoning.kit import Answers, finetune_stage
from undertow.audits.poisoning.recipes import Recipe, chosen
from undertow.audits.poisoning.settings import ARMS
from undertow.audits.stored import keep
from undertow.models.architecture import initial_state
from undertow.rng import stream
from undertow.stages.common import in_place, in_precision, load_examples
from undertow.stages.contrastive import PretrainClip
from undertow.stages.finetune import Finetune
from undertow.stages.pretrain import Pretrain
from undertow.training.choose import ENGINES, ONE_BY_ONE
from undertow.training.contrastive import contrastive
from undertow.training.private import private_engine
from undertow.training.sequential import sequential
from undertow.training.task import Engine, Task, to_params, torch_threads
from undertow.types import Params, Stage

STEPS = 4  # that are timed, after those that warm up
POINTS = 40  # candidates, about, whose attacks are timed


def estimate(game: Game, workers: int = 1) -> dict[str, float]:
    """Seconds of each part of `staged`, by the name it has in the result's `timing`.

    The game's own store is written to: give it one that is thrown away. Finetuning is shared by `workers`.
    """
    config, store = game.config, game.host.store
    start = given(game) if game.given is not None else keep(store, _untrained(game))
    state = store.get(finetunable(game, start))
    ask = _asking(game, state)
    found = {"checkpoints": _pretraining(game) + sum(_poisoning(game, start).values()) + len(ARMS) * ask}
    for recipe in chosen(config.recipes):
        models = _finetuning(game, recipe, state) + len(game.slots) * ask
        found[f"finetune, {recipe.name}"] = len(ARMS) * (models / workers + _warming(game, recipe, start))
    found["attack and measure"] = len(config.recipes) * _measuring(game, state)
    return found


def scaled(run: Callable[[int], object], total: int) -> float:
    """Seconds of `run(total)`, which takes so many steps, from a run of one step and one of STEPS more."""
    if not total:
        return 0.0
    run(1)  # warm-up: caches, kernels, imports
    one, more = _seconds(lambda: run(1)), _seconds(lambda: run(1 + STEPS))
    return one + max(more - one, 0.0) / STEPS * (total - 1)


def _untrained(game: Game) -> Params:
    stage, supply = game.kit.pretrain, game.supply
    if not isinstance(stage, Pretrain | PretrainClip):
        raise TypeError(f"cannot tell what {stage.name} trains")
    return to_params(initial_state(stage.architecture, supply.shape, supply.classes, 0))


def _pretraining(game: Game) -> float:
    stage, examples = game.kit.pretrain, game.supply.pretrain
    if game.given is not None or examples is None or not isinstance(stage, Pretrain | PretrainClip):
        return 0.0
    engine = contrastive if isinstance(stage, PretrainClip) else sequential
    return _training(lambda: stage.task([game.base], [{}], examples), engine, stage.plan.threads)


def _training(task_of: Callable[[], Task], engine: Engine, threads: int) -> float:
    """Seconds of the whole task, what it takes to lay it out included."""

    def run(steps: int) -> None:
        task = task_of()
        engine(replace(task, schedule=task.schedule.first(steps)))

    with torch_threads(threads):
        return scaled(run, task_of().schedule.steps)


def _poisoning(game: Game, start: str) -> dict[str, float]:
    """Seconds by direction: the attack's, and that of the benign control."""
    stage, store = game.kit.poison, game.host.store

    def run(direction: Any, steps: int) -> list[Params]:
        some = replace(stage, objective=replace(stage.objective, direction=direction, steps=steps))
        return some([game.base], [store.get(start)], store)

    total = stage.objective.steps
    return {d: scaled(lambda steps, d=d: run(d, steps), total) for d in ("none", stage.objective.direction)}  # type: ignore[misc]


def _warming(game: Game, recipe: Recipe, start: str) -> float:
    """Of the steps on public data before the private records, per arm."""
    return recipe.warm_up / game.kit.poison.objective.steps * _poisoning(game, start)["none"] if recipe.warm_up else 0.0


def _finetuning(game: Game, recipe: Recipe, state: Params) -> float:
    """Of all models of one arm."""
    stage = finetune_stage(game.kit, recipe, game.slots, game.host, game.config)
    examples, plan = load_examples(game.host.store, stage.data), stage.plan
    single = plan.engine in ONE_BY_ONE
    some = game.slots[: 1 if single else plan.chunk]
    slots, before = (some, [state]) if single else in_place(some, [state] * len(some), plan.chunk)
    task = lambda: in_precision(stage.task(slots, before, examples), plan)  # noqa: E731
    return _training(task, _engine(stage), plan.threads) * -(-len(game.slots) // len(some))


def _engine(stage: Finetune) -> Engine:
    return ENGINES[stage.plan.engine][0] if stage.noise is None else next(iter(private_engine(stage.noise).values()))


def _asking(game: Game, state: Params) -> float:
    """Of the questions to one model."""
    stage = _question(game)
    stage([game.base], [state], game.host.store)  # warm-up
    return _seconds(lambda: stage([game.base], [state], game.host.store))


def _question(game: Game) -> Stage:
    return game.kit.ask(game.config.views, game.kit.finetune.architecture)


def _measuring(game: Game, state: Params) -> float:
    """Of the attacks and their intervals, of one recipe: timed on noise for a few candidates, as cost is per point."""
    answers = _question(game)([game.base], [state], game.host.store)[0]
    base = {name: np.asarray(value)[None] for name, value in answers.items()}
    arms = {arm: _noisy(base, len(game.slots), arm) for arm in ARMS}
    rows = np.arange(0, len(game.supply), max(1, len(game.supply) // POINTS))
    few = _of_few(game, rows)
    recipe = chosen(game.config.recipes)[0]
    return _seconds(lambda: measured(few, recipe, arms, dict.fromkeys(ARMS, base))) * len(game.supply) / len(rows)


def _of_few(game: Game, rows: NDArray[Any]) -> Game:
    """The game on some candidates, as far as its measurements go."""
    supply, read = game.supply, game.kit.read

    def some(models: Answers, base: Answers, view: str) -> dict[str, np.ndarray]:
        return {name: values[:, rows] for name, values in read(models, base, view).items()}

    ids = tuple(supply.ids[row] for row in rows)
    small = replace(
        supply, candidates=supply.candidates.take(np.asarray(rows)), ids=ids, targets=int(supply.targeted[rows].sum())
    )
    return replace(game, supply=small, kit=replace(game.kit, read=some))


def _noisy(base: Mapping[str, np.ndarray], models: int, arm: str) -> Answers:
    """As if so many models had answered, a little differently."""
    rng = stream(0, "estimate", arm)
    found = {name: np.repeat(value, models, 0) for name, value in base.items()}
    return {n: v + 0.1 * rng.standard_normal(v.shape) if v.dtype.kind == "f" else v for n, v in found.items()}


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
