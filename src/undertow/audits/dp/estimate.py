"""What a DP audit will cost, before it costs it."""

import time
from dataclasses import replace
from math import ceil

from undertow.audits.chain import Host
from undertow.audits.datatrap.supply import TrapSupply
from undertow.audits.dp.game import Game
from undertow.audits.dp.settings import DpConfig


def estimate(config: DpConfig, supply: TrapSupply, host: Host) -> tuple[int, float]:
    """Trainings, and their seconds on one core: the first block of them is trained on `host`, and timed."""
    game = Game(config, supply, host)
    blocks = ceil(config.runs / game.block)
    first = Game(replace(config, runs=min(config.runs, max(game.block, 1 if config.one_run else 2))), supply, host)
    first.stage  # noqa: B018  what every run shares is made once, and not counted
    start = time.perf_counter()
    first.play()
    return config.runs * (1 if config.one_run else 2), blocks * (time.perf_counter() - start)
