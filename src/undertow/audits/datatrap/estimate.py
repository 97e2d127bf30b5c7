"""How long a data-trap experiment takes, by a few steps of its trainings."""

import time
from dataclasses import replace

from undertow.audits.datatrap.game import Table
from undertow.models.architecture import initial_state
from undertow.training.sequential import sequential
from undertow.training.task import Task, to_params, torch_threads

STEPS = 4  # that are timed, after one that warms up


def seconds(table: Table) -> float:
    """Of one experiment's trainings: the pretraining, where there is one, and two finetunings."""
    kit, slot = table.kit, table.slot("base")
    state = table.given or to_params(initial_state(kit.architecture, kit.pretrain.shape, kit.pretrain.classes, 0))
    twice = 2 * _seconds(kit.finetune.task([slot], [state], table.supply.victim), table.config.engine.threads)
    if table.given:
        return twice
    first = kit.pretrain.task([slot], [{}], table.supply.auxiliary)
    return twice + _seconds(first, table.config.engine.threads)


def _seconds(task: Task, threads: int) -> float:
    """Of the whole task."""
    with torch_threads(threads):
        sequential(replace(task, schedule=task.schedule.first(1)))
        start = time.perf_counter()
        sequential(replace(task, schedule=task.schedule.first(STEPS)))
        return (time.perf_counter() - start) / STEPS * task.schedule.steps
