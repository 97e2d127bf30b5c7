"""What the commands do, below the screen: read, run, write, render. Nothing here prints."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from undertow.engine.executor import choose_executor
from undertow.types import AuditResult, ConfigError, MissingExtra, Progress, StoreError

if TYPE_CHECKING:
    from undertow.audits.chain import Host
    from undertow.audits.membership.estimate import Estimate
    from undertow.audits.settings import LeakageConfig
    from undertow.audits.supply import Supply
    from undertow.report.curve import Point

AUDITS = ("mia", "tmi")
BOTH = "mia+tmi"  # the run folder of `undertow audit`


@dataclass(frozen=True)
class Request:
    """Where an audit runs and what it leaves behind."""

    out: Path
    store: Path | None = None  # default: OUT/store
    workers: int = 1
    include_examples: bool = False  # show the audited records in the report
    progress: Progress | None = None

    def inside(self, name: str) -> "Request":
        """The same, one folder deeper, with the store kept where it is."""
        return replace(self, out=self.out / name, store=self.store or self.out / "store")


def configure(
    audit: str, preset_name: str | None, changes: Mapping[str, Any], overrides: Mapping[str, Any]
) -> "LeakageConfig":
    """The configuration of an audit: a preset, changed by a file, changed by options; all checked.

    Without a preset, `folder` or `texts` where the data is the user's own, else the embedded `digits`.
    """
    from undertow.audits.membership.presets import preset
    from undertow.config import override
    from undertow.workflows.own_data import EMBEDDED, default_preset, refuse_demonstration, source_of

    source = source_of(changes, overrides)
    base = preset(audit, preset_name or ("digits" if source == EMBEDDED else default_preset(Path(source))))
    config = override(override(base, changes), overrides)
    refuse_demonstration(audit, config, preset_name, changes, overrides)
    return config


def run_audit(audit: str, config: "LeakageConfig", request: Request) -> AuditResult:
    """Run one audit into its folder: result.json, scores.npz, records.csv, report.html. Rerunning resumes."""
    supply = check(audit, config)
    from undertow.audits.membership.mia import audit_mia
    from undertow.audits.membership.tmi import audit_tmi
    from undertow.storage.results import save_result
    from undertow.storage.run import open_run

    open_run(request.out, audit)
    _refuse_other(config, supply, request.out)
    result = {"mia": audit_mia, "tmi": audit_tmi}[audit](config, supply, host_of(request))
    save_result(result, request.out)
    write_report(result, request.out, supply if supply.embedded or request.include_examples else None)
    return result


def _refuse_other(config: "LeakageConfig", supply: "Supply", out: Path) -> None:
    """StoreError where `out` holds the finished result of another configuration, or of other records."""
    from undertow.audits.leakage import plain
    from undertow.storage.finished import refuse_other_run

    refuse_other_run(out, plain(config), supply.describe())


def host_of(request: Request) -> "Host":
    """The store, the workers and the environment of a request; the store's folder is made."""
    from undertow.audits.chain import Host
    from undertow.storage.run import environment, open_store

    store = open_store(request.store or request.out / "store")
    executor = choose_executor(request.workers)
    return Host(store, executor, {**environment(), "workers": request.workers}, request.progress)


def check(audit: str, config: "LeakageConfig") -> "Supply":
    """The records of an audit that can be played; whatever can be refused is refused before a file is written."""
    need_torch()
    from undertow.audits.chain import check_model, ready
    from undertow.sources.records.datasets import load_supply

    supply = ready(config, load_supply(audit, config.data, config.seed, config.model))
    check_model(config, supply)
    return supply


def run_both(configs: Mapping[str, "LeakageConfig"], request: Request) -> dict[str, AuditResult]:
    """Run `mia` and `tmi` into OUT/mia and OUT/tmi, and OUT/report.html over both."""
    for audit, config in configs.items():
        _refuse_other(config, check(audit, config), request.inside(audit).out)  # both, before the first one trains
    from undertow.storage.run import open_run

    open_run(request.out, BOTH)
    results = {audit: run_audit(audit, config, request.inside(audit)) for audit, config in configs.items()}
    write_index(results, request.out)
    return results


def plan_audit(audit: str, config: "LeakageConfig", workers: int) -> "Estimate":
    """Models, seconds and bytes the audit will take; nothing is written."""
    supply = check(audit, config)
    from undertow.audits.chain import Host
    from undertow.audits.membership.estimate import estimate
    from undertow.storage.store import MemoryStore

    return estimate(audit, config, supply, Host(MemoryStore(), choose_executor(1)), workers)


def run_score(
    signals: Path,
    attacks: Sequence[str],
    seed: int,
    out: Path | None,
    drop_duplicates: bool,
    progress: Progress | None,
    design: Path | None = None,
) -> AuditResult:
    """Apply the rules to a signals file; with `out`, write the same result and report as an audit.

    `design`: the file of `undertow design` that the models were trained by; BadInput where the signals do not fit it.
    """
    from undertow.audits.membership.score import audit_score
    from undertow.storage.finished import refuse_other_run
    from undertow.storage.results import save_result
    from undertow.storage.run import environment, open_run
    from undertow.storage.signals_file import read_signals

    signal_set = read_signals(signals)
    if design is not None:
        from undertow.storage.design_file import fitted, read_design

        signal_set = fitted(signal_set, read_design(design))
    if out is not None:
        given = {"seed": seed, "drop_duplicates": drop_duplicates, **({"attacks": list(attacks)} if attacks else {})}
        refuse_other_run(out, given, {"sha256": {"file": signal_set.sha256}})
        open_run(out, "score")
    result = audit_score(
        signal_set, attacks, seed, drop_duplicates=drop_duplicates, environment=environment(), progress=progress
    )
    if out is not None:
        save_result(result, out)
        write_report(result, out, None)
    return result


def run_theory(
    dimension: int, pretraining: int, finetuning: int, tau: float, noise: float, trials: int, seed: int, out: Path
) -> "list[Point]":
    """Closed form and simulation at eleven alphas, drawn into `out`."""
    import numpy as np

    from undertow.report.curve import draw, points
    from undertow.storage.files import write_atomic
    from undertow.theory import Gaussian

    model = Gaussian(dimension, pretraining, finetuning, 1.0, tau=tau, nu=noise)
    found = points(model, np.linspace(0, 1, 11), trials, seed)
    write_atomic(out, draw(model, found).encode())
    return found


def render_reports(run: Path, include_examples: bool) -> list[Path]:
    """Draw the report(s) of a finished run again; returns their paths."""
    from undertow.storage.results import load_result

    parts = [run / audit for audit in AUDITS if (run / audit / "result.json").is_file()]
    if not (run / "result.json").is_file() and not parts:
        raise StoreError(f"{run}: no finished run of undertow there (no result.json)")
    folders = parts if not (run / "result.json").is_file() else [run]
    results = {folder: load_result(folder) for folder in folders}
    for folder, result in results.items():
        if result.audit == "epsilon":
            raise StoreError(f"{folder}: `undertow epsilon` draws no page; its result is {folder / 'result.json'}")
        if result.audit == "datatrap":
            write_trap_report(result, folder, include_examples)
        else:
            write_report(result, folder, _supply_of(result, include_examples))
    if parts and folders is parts:
        write_index({folder.name: result for folder, result in results.items()}, run)
        folders = [*folders, run]
    return [folder / "report.html" for folder in folders]


def write_report(result: AuditResult, out: Path, supply: "Supply | None") -> None:
    """`report.html` beside the result; records are shown only where a supply is given."""
    from undertow.report.html import page
    from undertow.storage.files import write_atomic

    write_atomic(out / "report.html", page(result, _records(result, supply)).encode())


def write_trap_report(result: AuditResult, out: Path, include_examples: bool) -> None:
    """`report.html`; what the traps hold is shown where the records are public, or where that is asked for."""
    from undertow.report.datatrap.gallery import image_gallery, text_gallery
    from undertow.report.html import page
    from undertow.storage.captures_file import load_captures
    from undertow.storage.files import write_atomic

    held = load_captures(out) if result.data.get("embedded") or include_examples else None
    gallery = None
    if held is not None and held.shape:
        gallery = image_gallery(held.seed, held.candidates, held.captures, held.truth, held.ids, held.shape)
    elif held is not None and held.read:
        gallery = text_gallery(held.seed, held.candidates, held.captures, held.read, held.true, held.ids)
    write_atomic(out / "report.html", page(result, gallery=gallery).encode())


def write_index(results: Mapping[str, AuditResult], out: Path) -> None:
    """One page over several audits, linking to theirs."""
    from undertow.report.html import index_page
    from undertow.storage.files import write_atomic

    pages = {f"{name}/report.html": result for name, result in results.items()}
    write_atomic(out / "report.html", index_page(pages).encode())


def _records(result: AuditResult, supply: "Supply | None") -> dict[str, Any] | None:
    """id -> picture, for the records the report may show."""
    if supply is None or supply.pictures is None:
        return None
    from undertow.report.datatrap.pictures import Picture, picture

    wanted = set(result.ids)
    labels = supply.secret.y
    return {
        name: Picture(f"{name}, label {labels[i]}", picture(supply.pictures[i]))
        for i, name in enumerate(supply.ids)
        if name in wanted
    }


def _supply_of(result: AuditResult, include_examples: bool) -> "Supply | None":
    """The records behind a finished result, where they may be shown and can be had again."""
    if result.audit not in AUDITS or not (result.data.get("embedded") or include_examples):
        return None
    if result.design.get("trained") == "own":  # the records are the user's, and only their function has them
        return None
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


def need_torch() -> None:
    """Refuse early, with the pip command, where the training extra is absent."""
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise MissingExtra("torch", "train") from error


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
