"""What `undertow audit poisoning` does, below the screen. Nothing here prints."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from undertow.types import AuditResult, ConfigError, Measurement
from undertow.workflows.audit import Request, host_of, need_torch, write_report

if TYPE_CHECKING:
    from undertow.audits.base import Base
    from undertow.audits.chain import Host
    from undertow.audits.poisoning.settings import PoisoningConfig
    from undertow.sources.checkpoints.judged import Suspect


def configure(
    preset_name: str | None, changes: Mapping[str, Any], overrides: Mapping[str, Any], suspect: "Suspect | None" = None
) -> "PoisoningConfig":
    """The configuration: a preset, changed by a file, changed by options; all checked.

    Of a user's own images no noise is added to the records, and where they are few, fewer are candidates.
    Without a preset: `clip-small` where the checkpoint to judge is a CLIP, `classifier` where it is one, `lm-small`
    where the records are texts of the user's own, else `digits`.
    """
    from undertow.audits.poisoning.presets import check_recipes, preset
    from undertow.config import override
    from undertow.sources.records.text_files import holds_texts
    from undertow.workflows.own_data import fewer_points, given_keys, refuse_demonstration, source_of

    tables = [c["data"] for c in (changes, overrides) if isinstance(c.get("data"), Mapping)]
    texts = any("source" in table and holds_texts(Path(table["source"])) for table in tables)
    base = preset(preset_name or _of_suspect(suspect) or ("lm-small" if texts else "digits"))
    config = override(override(base, changes), overrides)
    own = suspect is None and str(source_of(changes, overrides)).endswith(".npz")
    if own and preset_name is None and "noise" not in given_keys(changes, overrides):
        config = override(config, {"data": {"noise": 0.0}})  # the preset makes digits individual; records are as given
    if own and not {"points", "targets"} & given_keys(changes, overrides):
        config = override(config, {"data": fewer_points(config.data)})
    refuse_demonstration("poisoning", config, preset_name, changes, overrides)
    check_recipes(config)
    return config


def _of_suspect(suspect: "Suspect | None") -> str:
    """The preset that fits a checkpoint to judge; empty where the records say it."""
    if suspect is None:
        return ""
    from undertow.sources.checkpoints.classifier import kind_of
    from undertow.sources.checkpoints.clip import is_clip

    folder = Path(suspect.checkpoint)
    if is_clip(folder):
        return "clip-small"
    if not (folder / "config.json").is_file() or kind_of(folder) == "language":
        return ""
    return "classifier"


def where(data: Path) -> dict[str, str]:
    """The configuration's word for --data: a file is the records themselves, and so is a folder that holds texts only;
    any other folder is where named datasets lie."""
    if not data.exists():
        raise ConfigError(f"--data {data}: no such file or folder")
    from undertow.sources.records.records_text import KNOWN
    from undertow.sources.records.text_files import holds_texts

    known = data.is_dir() and any((data / one.file).is_file() for one in KNOWN.values())
    records = not data.is_dir() or (holds_texts(data) and not known)
    return {"source" if records else "folder": str(data)}


def run_poisoning(config: "PoisoningConfig", request: Request) -> AuditResult:
    """Poison, finetune and attack into the run folder: result, report and checkpoints. Rerunning resumes."""
    need_torch()
    from undertow.audits.leakage import plain
    from undertow.audits.poisoning.game import audit_poisoning, design_of
    from undertow.audits.poisoning.presets import check_kind
    from undertow.audits.poisoning.settings import ARMS
    from undertow.sources.checkpoints.harness import benchmarked, check_harness
    from undertow.sources.records.poison_source import load_poisoning
    from undertow.storage.finished import refuse_other_run
    from undertow.storage.run import open_run

    check_kind(config)
    check_harness(config.benchmarks, config.model.kind)
    steps(config)
    supply, base = load_poisoning(config)
    design_of(config, supply)  # whatever can be refused is refused before a file is written
    open_run(request.out, "poisoning")
    refuse_other_run(request.out, plain(config), supply.describe())
    host = host_of(request)
    result = audit_poisoning(replace(config, sweep="", sweep_values=()), supply, base, host)
    if config.sweep:
        result = _swept(config, result, host)
    folder = request.out / "checkpoints"
    _write_checkpoints(result, base, host, folder)
    rows = [row for arm in ARMS if config.benchmarks for row in benchmarked(folder / arm, arm, config.benchmarks)]
    result = replace(result, measurements=(*result.measurements, *rows))
    return _finish(result, request)


def steps(config: "PoisoningConfig") -> list["PoisoningConfig"]:
    """The configuration of every value of the sweep, none where nothing is swept; ConfigError for what is no number."""
    from undertow.config import override, to_dict

    if not config.sweep:
        return []
    table, _, key = config.sweep.rpartition(".")
    known = to_dict(config).get(table, {}) if table else to_dict(config)
    if not isinstance(known, dict) or not isinstance(known.get(key), int | float):
        raise ConfigError(f"sweep = {config.sweep!r}; name a number, such as 'poison.steps' or 'data.targets'")
    values = [type(known[key])(value) for value in config.sweep_values]
    bare = replace(config, sweep="", sweep_values=())
    return [override(bare, {table: {key: value}} if table else {key: value}) for value in values]


def _swept(config: "PoisoningConfig", result: AuditResult, host: "Host") -> AuditResult:
    """The audit, and behind its rows one more per value: what LiRA sees there, and what the models are worth."""
    from undertow.audits.leakage import plain
    from undertow.audits.poisoning.game import audit_poisoning
    from undertow.sources.records.poison_source import load_poisoning

    rows: list[Measurement] = []
    for value, one in zip(config.sweep_values, steps(config), strict=True):
        found = audit_poisoning(one, *load_poisoning(one), host).measurements
        rows += [replace(row, at=value) for row in found if row.attack in ("lira", "utility")]
    return replace(result, config=plain(config), measurements=(*result.measurements, *rows))


def _write_checkpoints(result: AuditResult, base: "Base", host: "Host", folder: Path) -> None:
    """Every arm as safetensors, the poisoned one marked as planted, with the files that make it a model."""
    from undertow.sources.checkpoints.files import PLANTED, write_checkpoint
    from undertow.storage.files import write_atomic

    if not (base.files or base.metadata):
        return
    for arm, key in result.environment["published"].items():
        params = {name.removeprefix(base.prefix): v for name, v in host.store.get(key).items()}
        said = {**base.metadata, "undertow.arm": arm, PLANTED: str(arm == "poisoned").lower()}
        write_checkpoint(folder / arm / "model.safetensors", params, said)
        for name, text in base.files.items():
            write_atomic(folder / arm / name, text.encode())


def run_checkpoint(config: "PoisoningConfig", suspect: "Suspect", request: Request) -> AuditResult:
    """Judge one checkpoint into the run folder; whatever can be refused is refused before a file is written."""
    need_torch()
    from undertow.audits.leakage import plain
    from undertow.audits.poisoning.game import lay_table
    from undertow.audits.poisoning.presets import check_kind
    from undertow.audits.poisoning.suspicion import REFERENCE, SUSPECT, audit_checkpoint
    from undertow.audits.stored import keep
    from undertow.sources.checkpoints.judged import load_judged
    from undertow.storage.finished import refuse_other_run
    from undertow.storage.run import open_run

    found = load_judged(config, suspect)
    check_kind(found.config)
    open_run(request.out, "poisoning")
    refuse_other_run(request.out, plain(found.config), found.supply.describe())
    game = lay_table(found.config, found.supply, found.base, host_of(request))
    reference = None if found.reference is None else keep(game.host.store, found.reference)
    key = keep(game.host.store, found.base.params or {})
    files = {SUSPECT: key} if reference is None else {REFERENCE: reference, SUSPECT: key}
    refuse_other_run(request.out, plain(found.config), found.supply.describe(), files)
    result = audit_checkpoint(game, key, reference)
    if found.planted:
        note = "the checkpoint's own metadata says that Undertow poisoned it on purpose"
        result = replace(result, warnings=(note, *result.warnings))
    return _finish(result, request)


def plan_poisoning(config: "PoisoningConfig", workers: int = 1) -> str:
    """What will be trained and about how long that takes, in one line; a few steps are timed, nothing is written."""
    need_torch()
    from undertow.audits.poisoning.presets import check_kind
    from undertow.audits.poisoning.settings import ARMS

    check_kind(config)
    runs = dict.fromkeys([replace(config, sweep="", sweep_values=()), *steps(config)])
    arms, recipes = len(ARMS), len(config.recipes)
    made = "loaded, then poisoned" if config.model.checkpoint else "pretrained here, then poisoned"
    parts = [f"{arms} arms x {config.models} models", f"{recipes} recipe{'s' * (recipes > 1)}"]
    parts += [f"{len(runs)} values of {config.sweep}"] * bool(config.sweep)
    return (
        f"{sum(arms * run.models * recipes for run in runs)} finetuned models ({' x '.join(parts)}) of one checkpoint, "
        f"{made}; each is asked about {config.data.points} records in {len(config.views)} "
        f"view{'s' * (len(config.views) > 1)}; about {_minutes(sum(_seconds(run, workers) for run in runs))}"
        + "".join(f"\n  {note}" for note in _notes(config))
    )


def _notes(config: "PoisoningConfig") -> tuple[str, ...]:
    """What is done to the user's own records, as the result will say it."""
    from undertow.sources.records.poison_source import load_poisoning

    return load_poisoning(config)[0].notes if Path(config.data.source).exists() else ()


def _seconds(config: "PoisoningConfig", workers: int) -> float:
    """Of one audit, without a sweep."""
    from undertow.audits.chain import Host
    from undertow.audits.poisoning.estimate import estimate
    from undertow.audits.poisoning.game import lay_table
    from undertow.engine.executor import Serial
    from undertow.sources.records.poison_source import load_poisoning
    from undertow.storage.store import MemoryStore

    game = lay_table(config, *load_poisoning(config), Host(MemoryStore(), Serial()))
    return sum(estimate(game, workers).values())


def _minutes(seconds: float) -> str:
    """At least one.

    >>> _minutes(10), _minutes(1234), _minutes(9000)
    ('1 minute', '21 minutes', '2.5 hours')
    """
    minutes = max(1, round(seconds / 60))
    return f"{seconds / 3600:.1f} hours" if minutes >= 90 else f"{minutes} minute{'s' * (minutes > 1)}"


def _finish(result: AuditResult, request: Request) -> AuditResult:
    from undertow.storage.results import save_result

    save_result(result, request.out)
    write_report(result, request.out, None)
    return result
