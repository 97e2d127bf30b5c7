"""The poisoning audit as a value, and the judgement of one checkpoint. Nothing here prints."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from undertow.types import AuditResult, ConfigError, Measurement
from undertow.workflows.audit import (
    Audit,
    Given,
    Option,
    Played,
    Request,
    Table,
    duration,
    host_of,
    need_torch,
    nowhere,
    write_report,
)
from undertow.workflows.own_data import RECORDS

if TYPE_CHECKING:
    from undertow.audits.base import Base
    from undertow.audits.chain import Host
    from undertow.audits.poisoning.settings import PoisoningConfig
    from undertow.sources.checkpoints.judged import Suspect


def configure(given: Given, suspect: "Suspect | None" = None) -> "PoisoningConfig":
    """The configuration: a preset, changed by a file, changed by options; all checked.

    Of a user's own images no noise is added to the records, and where they are few, fewer are candidates.
    Without a preset: `clip-small` where the checkpoint to judge is a CLIP, `classifier` where it is one, `lm-small`
    where the records are texts of the user's own, else `digits`.
    """
    from undertow.audits.poisoning.presets import check_recipes, preset
    from undertow.config import override
    from undertow.sources.records.text_files import holds_texts
    from undertow.workflows.own_data import fewer_points, given_keys, refuse_demonstration, source_of

    changes, overrides = given.file, given.options
    tables = [c["data"] for c in (changes, overrides) if isinstance(c.get("data"), Mapping)]
    texts = any("source" in table and holds_texts(Path(table["source"])) for table in tables)
    base = preset(given.preset or _of_suspect(suspect) or ("lm-small" if texts else "digits"))
    config = override(override(base, changes), overrides)
    own = suspect is None and str(source_of(changes, overrides)).endswith(".npz")
    if own and given.preset is None and "noise" not in given_keys(changes, overrides):
        config = override(config, {"data": {"noise": 0.0}})  # the preset makes digits individual; records are as given
    if own and not {"points", "targets"} & given_keys(changes, overrides):
        config = override(config, {"data": fewer_points(config.data)})
    refuse_demonstration("poisoning", config, given.preset, changes, overrides)
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


def load(config: "PoisoningConfig") -> Table:
    """The records and the checkpoint that the arms start from."""
    need_torch()
    from undertow.audits.poisoning.game import design_of
    from undertow.audits.poisoning.presets import check_kind
    from undertow.sources.checkpoints.harness import check_harness
    from undertow.sources.records.poison_source import load_poisoning

    check_kind(config)
    check_harness(config.benchmarks, config.model.kind)
    steps(config)
    supply, base = load_poisoning(config)
    design_of(config, supply)
    notes = supply.notes if Path(config.data.source).exists() else ()  # of the user's own records
    return Table(config, supply.describe(), (supply, base), notes)


def play(table: Table, host: "Host") -> Played:
    """Poison, finetune and attack, for every value of the sweep; the checkpoint of every arm is kept."""
    from undertow.audits.poisoning.game import audit_poisoning

    config, (supply, base) = table.config, table.held
    result = audit_poisoning(replace(config, sweep="", sweep_values=()), supply, base, host)
    if config.sweep:
        result = _swept(config, result, host)
    return Played(result, lambda out: _keep(result, base, host, out / "checkpoints"))


def cost(table: Table, workers: int) -> Sequence[str]:
    """What will be trained and about how long that takes; a few steps are timed."""
    from undertow.audits.poisoning.settings import ARMS

    config = table.config
    runs = dict.fromkeys([replace(config, sweep="", sweep_values=()), *steps(config)])
    arms, recipes = len(ARMS), len(config.recipes)
    made = "loaded, then poisoned" if config.model.checkpoint else "pretrained here, then poisoned"
    parts = [f"{arms} arms x {config.models} models", f"{recipes} recipe{'s' * (recipes > 1)}"]
    parts += [f"{len(runs)} values of {config.sweep}"] * bool(config.sweep)
    return (
        f"{sum(arms * run.models * recipes for run in runs)} finetuned models ({' x '.join(parts)}) of one checkpoint, "
        f"{made}; each is asked about {config.data.points} records in {len(config.views)} "
        f"view{'s' * (len(config.views) > 1)}; about {duration(sum(_seconds(run, workers) for run in runs))}",
    )


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


def _keep(result: AuditResult, base: "Base", host: "Host", folder: Path) -> Sequence[Measurement]:
    """The checkpoint of every arm, and what lm-evaluation-harness says of them where tasks are configured."""
    from undertow.audits.poisoning.settings import ARMS
    from undertow.sources.checkpoints.harness import benchmarked

    _write_checkpoints(result, base, host, folder)
    tasks = tuple(result.config.get("benchmarks", ()))
    return [row for arm in ARMS if tasks for row in benchmarked(folder / arm, arm, tasks)]


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
    from undertow.storage.results import save_result

    save_result(result, request.out)
    write_report(result, request.out)
    return result


def _seconds(config: "PoisoningConfig", workers: int) -> float:
    """Of one audit, without a sweep."""
    from undertow.audits.poisoning.estimate import estimate
    from undertow.audits.poisoning.game import lay_table
    from undertow.sources.records.poison_source import load_poisoning

    return sum(estimate(lay_table(config, *load_poisoning(config), nowhere()), workers).values())


def listing() -> Sequence[str]:
    """The lines of --list-recipes: how victims finetune, and what the attacker sees of them."""
    from undertow.audits.poisoning.presets import VIEWS
    from undertow.audits.poisoning.recipes import RECIPES

    how = {name: recipe.about for name, recipe in RECIPES.items()}
    lines = []
    for heading, known in (("--recipes: how victims finetune", how), ("--views: what is seen", VIEWS)):
        lines += [heading, *(f"  {name:<14}{about}" for name, about in known.items())]
    return lines


def _presets() -> Sequence[str]:
    from undertow.audits.poisoning.presets import listing as presets

    return [f"poisoning  {name:<14}{about}" for name, about in presets()]


POISONING = Audit(
    "poisoning",
    "Does a base model make your finetuning data leak more? Plays the attack, or judges --checkpoint.",
    configure, load, play, cost, _presets,
    (
        *RECORDS,
        Option("recipes", "Finetuning recipes of the victims, comma-separated (--list-recipes).", str, many=True),
        Option("views", "Views that the attacker has, comma-separated (--list-recipes).", str, many=True),
        Option("models", "Number of finetuned models per arm, even; default: the preset's.", int),
        Option("benchmarks", "Tasks of lm-evaluation-harness for each checkpoint, comma-separated.", str, many=True),
    ),
    "tpr_difference@1%>0.05",
)  # fmt: skip
