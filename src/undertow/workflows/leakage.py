"""The membership audits as values: mia and tmi, and `undertow audit`, which runs both. Nothing here prints."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from undertow.types import AuditResult, ConfigError, StoreError
from undertow.workflows.audit import (
    Audit,
    Given,
    Option,
    Played,
    Request,
    Table,
    duration,
    need_torch,
    nowhere,
    refuse_other,
    run_audit,
    write_index,
)

if TYPE_CHECKING:
    from undertow.audits.chain import Host
    from undertow.audits.settings import LeakageConfig
    from undertow.audits.supply import Supply
    from undertow.report.reading import Pictures

AUDITS = ("mia", "tmi")
BOTH = "mia+tmi"  # the run folder of `undertow audit`
OPTIONS = (
    Option("data", "Folder of your records or of a pair's datasets; 'hub' downloads them.", Path,
           lambda path: {"data": {"source": str(path)}}),
    Option("shadows", "Number of models that the attacker trains, even; default: the preset's.", int),
    Option("drop-duplicates", "Remove records that occur twice, on both sides.", bool, "data.drop_duplicates"),
)  # fmt: skip


def _configure(audit: str, given: Given) -> "LeakageConfig":
    """A preset, changed by a file, changed by options; all checked.

    Without a preset, `folder` or `texts` where the data is the user's own, else the embedded `digits`.
    """
    from undertow.audits.membership.presets import preset
    from undertow.config import override
    from undertow.workflows.own_data import EMBEDDED, default_preset, refuse_demonstration, source_of

    source = source_of(given.file, given.options)
    base = preset(audit, given.preset or ("digits" if source == EMBEDDED else default_preset(Path(source))))
    config = override(override(base, given.file), given.options)
    refuse_demonstration(audit, config, given.preset, given.file, given.options)
    return config


def _load(audit: str, config: "LeakageConfig") -> Table:
    need_torch()
    from undertow.audits.chain import check_model, ready
    from undertow.sources.records.datasets import load_supply

    supply = ready(config, load_supply(audit, config.data, config.seed, config.model))
    check_model(config, supply)
    return Table(config, supply.describe(), supply)


def _play_mia(table: Table, host: "Host") -> Played:
    from undertow.audits.membership.mia import audit_mia

    return Played(audit_mia(table.config, table.held, host))


def _play_tmi(table: Table, host: "Host") -> Played:
    from undertow.audits.membership.tmi import audit_tmi

    return Played(audit_tmi(table.config, table.held, host))


def _cost(audit: str, table: Table, workers: int) -> Sequence[str]:
    from undertow.audits.membership.estimate import estimate

    found = estimate(audit, table.config, table.held, nowhere(), workers)
    engines, disk = ", ".join(found.engines), f"{found.disk / 1e6:.0f} MB on disk"
    return (f"{found.models} models ({engines}), about {duration(found.seconds)}, {disk}", *found.notes)


def _presets(audit: str) -> Sequence[str]:
    from undertow.audits.membership.presets import listing

    return listing(audit)


def _pictures(result: AuditResult, _: Path, include_examples: bool) -> "Pictures":
    """The records, where they are public or asked for, and can be had again."""
    from undertow.report.datatrap.pictures import Picture, picture
    from undertow.report.reading import Pictures

    supply = _supply_of(result, include_examples)
    if supply is None or supply.pictures is None:
        return Pictures()
    wanted, labels = set(result.ids), supply.secret.y
    return Pictures(
        {
            name: Picture(f"{name}, label {labels[i]}", picture(supply.pictures[i]))
            for i, name in enumerate(supply.ids)
            if name in wanted
        }
    )


def _supply_of(result: AuditResult, include_examples: bool) -> "Supply | None":
    """The records behind a result, where they may be shown."""
    if not (result.data.get("embedded") or include_examples) or result.design.get("trained") == "own":
        return None  # of an own training the records are the user's, and only their function has them
    from undertow.audits.membership.presets import preset
    from undertow.audits.settings import LeakageConfig
    from undertow.audits.supply import without_duplicates
    from undertow.config import override
    from undertow.sources.records.datasets import load_supply

    config: LeakageConfig = override(preset(result.audit, "digits"), result.config)
    supply = without_duplicates(load_supply(result.audit, config.data, config.seed, config.model), True)
    if supply.describe()["sha256"] != result.data["sha256"]:
        raise StoreError("the audited data has changed since the run: the report cannot show its records")
    return supply


MIA = Audit(
    "mia",
    "Who was in the finetuning data? Membership inference; --train: your own training, --model: one model as it is.",
    lambda given: _configure("mia", given), lambda config: _load("mia", config), _play_mia,
    lambda table, workers: _cost("mia", table, workers), lambda: _presets("mia"), OPTIONS, pictures=_pictures,
)  # fmt: skip
TMI = Audit(
    "tmi",
    "Who was in the pretraining data? Membership inference through the finetuned model alone.",
    lambda given: _configure("tmi", given), lambda config: _load("tmi", config), _play_tmi,
    lambda table, workers: _cost("tmi", table, workers), lambda: _presets("tmi"), OPTIONS, pictures=_pictures,
)  # fmt: skip


def run_both(configs: Mapping[Audit, Any], request: Request) -> dict[str, AuditResult]:
    """Run several audits into OUT/NAME, and OUT/report.html over all of them."""
    for audit, config in configs.items():
        refuse_other(audit.load(config), request.inside(audit.name).out)  # all of them, before the first one trains
    from undertow.storage.run import open_run

    open_run(request.out, BOTH)
    results = {audit.name: run_audit(audit, config, request.inside(audit.name)) for audit, config in configs.items()}
    write_index(results, request.out)
    return results


def split_tables(changes: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """A configuration file for both audits holds their tables, [mia] and [tmi]; nothing else."""
    odd = [key for key in changes if key not in AUDITS]
    if odd:
        raise ConfigError(
            f"unknown key {odd[0]!r}: a file for `undertow audit` holds tables [mia] and [tmi]; "
            "a file for one audit goes to `undertow audit mia` or `undertow audit tmi`"
        )
    loose = [audit for audit, table in changes.items() if not isinstance(table, Mapping)]
    if loose:
        raise ConfigError(f"{loose[0]} is a table: write [{loose[0]}] and its keys below it")
    return {audit: changes.get(audit, {}) for audit in AUDITS}
