"""What an extraction audit will cost, before it costs it."""

import time
from dataclasses import replace
from math import ceil

from undertow.audits.chain import Host
from undertow.audits.extraction.game import Game, Parts
from undertow.audits.extraction.settings import ExtractionConfig
from undertow.training.schedule import Fit
from undertow.training.sequential import sequential
from undertow.types import Slot

STEPS = 8  # that are timed, after as many that are not
ASKING = 1.25  # with sampling and what is measured, in times the training


def seconds(config: ExtractionConfig, parts: Parts, host: Host) -> float:
    """Of all arms on one core: a few steps of the pretraining are timed."""
    game = Game(config, parts, host)
    stage = game._pretrain()
    small = replace(stage, fit=replace(config.pretrain, epochs=1))
    from undertow.stages.common import load_examples

    task = small.task([Slot("base", 0, config.seed, None)], [], load_examples(host.store, stage.data))
    first = replace(task, schedule=task.schedule.first(STEPS))
    sequential(first)
    start = time.perf_counter()
    sequential(first)
    pace = (time.perf_counter() - start) / (STEPS * config.pretrain.batch)
    sizes = config.chats
    attacker = (2 * sizes.first, config.first), (2 * sizes.second, config.second)
    records = _records(sizes.public, config.pretrain) + 2 * sum(_records(n, fit) for n, fit in attacker)
    return ASKING * pace * (records + 3 * _records(sizes.victim, config.finetune))


def _records(count: int, fit: Fit) -> int:
    return fit.epochs * ceil(count / fit.batch) * fit.batch
