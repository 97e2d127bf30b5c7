"""An audit: does a published mean of records say whose records were in it?

The inner-product attack of Dwork et al. 2015, "Robust Traceability from Trace Amounts", FOCS.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from undertow.audits.chain import Host
from undertow.audits.leakage import plain
from undertow.config import override
from undertow.engine.key import digest, fingerprint
from undertow.metrics import measure
from undertow.registry import check_named
from undertow.rng import stream
from undertow.types import Array, AuditResult, ConfigError, Scores, setting
from undertow.workflows.audit import Audit, Given, Option, Played, Table


@dataclass(frozen=True)
class MeansConfig:
    """What is published, and how often the game is played."""

    seed: int = setting(0, "everything random descends from it")
    releases: int = setting(100, "published means, each of a random half of the records")
    records: int = setting(40, "records; half of them are in each mean")
    coordinates: int = setting(100, "numbers in each record")
    noise: float = setting(0.0, "deviation of Gaussian noise on every published number")

    def __post_init__(self) -> None:
        if self.records < 4 or self.records % 2:
            raise ConfigError(f"records = {self.records}; it must be even and at least 4")
        if self.releases < 2 or self.coordinates < 1 or self.noise < 0:
            raise ConfigError("releases is at least 2, coordinates at least 1, and noise not negative")


PRESETS = {"plain": MeansConfig(), "noisy": MeansConfig(noise=0.5)}
LIMIT = 10**8  # numbers that the records and releases may take together


def configure(given: Given) -> MeansConfig:
    """A preset, changed by a file, changed by options."""
    name = given.preset or "plain"
    check_named("preset", [name], PRESETS, "--list-presets")
    return override(override(PRESETS[name], given.file), given.options)


def load(config: MeansConfig) -> Table:
    """The records, which are made up; refused where they would not fit into memory."""
    if (config.records + config.releases) * config.coordinates > LIMIT:
        raise ConfigError(f"more than {LIMIT:,} numbers; lower records, releases or coordinates")
    records = stream(config.seed, "records").normal(size=(config.records, config.coordinates))
    described = {"name": "made-up records", "sizes": {"records": len(records)}, "embedded": True}
    return Table(config, {**described, "sha256": {"records": fingerprint(records)}}, records)


def play(table: Table, host: Host) -> Played:
    """Publish the means, and score every record by how far it leans towards each of them."""
    config, records = table.config, table.held
    member = np.stack([half(config, m) for m in range(config.releases)])
    key = digest(["released means", 1, plain(config), table.records["sha256"]])
    if not host.store.has(key):
        noise = stream(config.seed, "noise").normal(0, config.noise, (config.releases, config.coordinates))
        host.store.put(key, {"means": member @ records / (config.records / 2) + noise})
    scores = Scores("inner-product", host.store.get(key)["means"] @ records.T, member)
    result = AuditResult(
        audit=RELEASED_MEANS.name,
        config=plain(config),
        seed=config.seed,
        environment=host.environment,
        data=table.records,
        measurements=measure(scores, stream(config.seed, "halves")),
        scores=(scores,),
        ids=tuple(map(str, range(config.records))),
    )
    return Played(result)


def half(config: MeansConfig, release: int) -> Array:
    """Which records are in one mean, (N,) bool: half of them."""
    order = stream(config.seed, "half", release).permutation(config.records)
    result: Array = order < config.records // 2
    return result


def cost(table: Table, workers: int) -> Sequence[str]:
    """What will be computed."""
    del workers
    return (f"{table.config.releases} means of {table.config.records // 2} records; seconds",)


RELEASED_MEANS = Audit(
    "released-means",
    "Does a published mean say whose records were in it?",
    configure,
    load,
    play,
    cost,
    lambda: [f"released-means  {name}" for name in PRESETS],
    (
        Option("releases", "Published means; default 100.", int, least=2),
        Option("noise", "Deviation of Gaussian noise on every published number; default 0.", float),
    ),
    "auc>0.6",
)
