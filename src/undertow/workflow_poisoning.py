"""What `undertow audit poisoning` does, below the screen. Nothing here prints."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from undertow.engine.executor import choose_executor
from undertow.types import AuditResult, ConfigError, Params
from undertow.workflow import Request, need_torch, write_report

if TYPE_CHECKING:
    from undertow.audits.chain import Host
    from undertow.audits.poisoning_settings import PoisoningConfig

TEXTS = (".jsonl", ".gz")


@dataclass(frozen=True)
class Suspect:
    """A checkpoint to judge, and what it is judged by."""

    checkpoint: Path
    reference: Path | None = None  # a checkpoint of the same kind that is trusted
    look_alikes: Path | None = None  # records like the user's own that cannot have been poisoned
    factory: str = ""  # "package.module:function" that builds the model, where Undertow cannot


def configure(preset_name: str | None, changes: Mapping[str, Any], overrides: Mapping[str, Any]) -> "PoisoningConfig":
    """The configuration: a preset, changed by a file, changed by options; all checked.

    Without a preset: `lm-small` where the records are texts of the user's own, else `digits`.
    """
    from undertow.audits.poisoning_presets import check_recipes, preset
    from undertow.config import override

    tables = [c["data"] for c in (changes, overrides) if isinstance(c.get("data"), Mapping)]
    texts = any(str(table.get("source", "")).endswith(TEXTS) for table in tables)
    base = preset(preset_name or ("lm-small" if texts else "digits"))
    config = override(override(base, changes), overrides)
    check_recipes(config)
    return config


def where(data: Path) -> dict[str, str]:
    """The configuration's word for --data: a file is the records themselves, a folder is where named ones lie."""
    if not data.exists():
        raise ConfigError(f"--data {data}: no such file or folder")
    return {"folder" if data.is_dir() else "source": str(data)}


def run_poisoning(config: "PoisoningConfig", request: Request) -> AuditResult:
    """Poison, finetune and attack into the run folder: the result and its report. Rerunning resumes."""
    supply = _load(config, None)
    from undertow.storage.run import open_run

    open_run(request.out, "poisoning")
    return _finish(_part("audits.poisoning", "audit_poisoning")(config, supply, _host(request)), request)


def run_checkpoint(config: "PoisoningConfig", suspect: Suspect, request: Request) -> AuditResult:
    """Judge one checkpoint into the run folder; whatever can be refused is refused before a file is written."""
    from undertow.storage.checkpoint_files import PLANTED, read_checkpoint
    from undertow.storage.run import open_run

    weights, said = read_checkpoint(suspect.checkpoint)
    trusted: Params | None = read_checkpoint(suspect.reference)[0] if suspect.reference else None
    config = replace(config, model=replace(config.model, checkpoint=str(suspect.checkpoint)))
    supply = _load(config, suspect.look_alikes)
    open_run(request.out, "poisoning")
    result = _part("audits.suspicion", "audit_checkpoint")(
        config, supply, _host(request), suspect=weights, reference=trusted, factory=suspect.factory
    )
    if said.get(PLANTED) == "true":
        note = "the checkpoint's own metadata says that Undertow poisoned it on purpose"
        result = replace(result, warnings=(note, *result.warnings))
    return _finish(result, request)


def plan_poisoning(config: "PoisoningConfig") -> str:
    """What will be trained, in one line; nothing is read or written."""
    from undertow.audits.poisoning_settings import ARMS

    arms, recipes, steps = len(ARMS), len(config.recipes), max(1, len(config.sweep_values))
    made = "pretrained here, then poisoned" if not config.model.checkpoint else "loaded, then poisoned"
    parts = [f"{arms} arms x {config.models} models", f"{recipes} recipe{'s' * (recipes > 1)}"]
    parts += [f"{steps} values of {config.sweep}"] * bool(config.sweep)
    return (
        f"{arms * config.models * recipes * steps} finetuned models ({' x '.join(parts)}) of one checkpoint, {made}; "
        f"each is asked about {config.data.points} records in {len(config.views)} "
        f"view{'s' * (len(config.views) > 1)}"
    )


def _load(config: "PoisoningConfig", look_alikes: Path | None) -> Any:
    """The candidates, targets and auxiliary records of one game."""
    need_torch()
    return _part("storage.candidates", "load_candidates")(config, look_alikes)


def _host(request: Request) -> "Host":
    from undertow.audits.chain import Host
    from undertow.storage.run import environment, open_store

    store = open_store(request.store or request.out / "store")
    executor = choose_executor(request.workers)
    return Host(store, executor, {**environment(), "workers": request.workers}, request.progress)


def _finish(result: AuditResult, request: Request) -> AuditResult:
    from undertow.storage.results import save_result

    save_result(result, request.out)
    write_report(result, request.out, None)
    return result


def _part(module: str, name: str) -> Any:
    """A part of the audit, imported when it is needed; ConfigError where this installation lacks it."""
    try:
        return getattr(import_module(f"undertow.{module}"), name)
    except ModuleNotFoundError as error:
        if error.name != f"undertow.{module}":
            raise
        raise ConfigError(f"this installation of undertow has no {module}: install a version that has it") from error
