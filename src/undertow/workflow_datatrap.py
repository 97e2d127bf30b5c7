"""What `undertow audit datatrap` does, below the screen. Nothing here prints."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from undertow.engine.executor import Serial
from undertow.types import AuditResult
from undertow.workflow import Request, host_of, need_torch, write_trap_report

if TYPE_CHECKING:
    from undertow.audits.datatrap import Capture
    from undertow.audits.datatrap_settings import DataTrapConfig


def configure(preset_name: str | None, changes: Mapping[str, Any], overrides: Mapping[str, Any]) -> "DataTrapConfig":
    """The configuration: a preset, changed by a file, changed by options; all checked."""
    from undertow.audits.datatrap_settings import preset
    from undertow.config import override

    return override(override(preset(preset_name or "digits-mlp"), changes), overrides)


def run_datatrap(config: "DataTrapConfig", request: Request) -> AuditResult:
    """Plant, finetune and read into the run folder: result, report, planted checkpoints and keys. Rerunning resumes.

    Whatever can be refused is refused before a file is written.
    """
    need_torch()
    from undertow.audits.chain import Host
    from undertow.audits.datatrap import Table, audit_datatrap
    from undertow.storage.captures_file import Held, named, save_captures
    from undertow.storage.results import save_result
    from undertow.storage.run import open_run
    from undertow.storage.store import MemoryStore
    from undertow.storage.trap_data import load_traps

    supply = load_traps(config.data, config.seed)
    Table(config, supply, Host(MemoryStore(), Serial())).check()
    open_run(request.out, "datatrap")
    result, runs = audit_datatrap(config, lambda seed: load_traps(config.data, seed), host_of(request))
    for run in runs:
        _write_checkpoint(run, request.out)
    first = runs[0]
    shape = supply.picture if config.model.kind == "mlp" else ()
    nearest = first.truth[first.captures.nearest]
    names = named(supply.ids, first.captures)
    save_captures(Held(first.seed, first.candidates, first.captures, nearest, names, shape), request.out)
    save_result(result, request.out)
    write_trap_report(result, request.out, request.include_examples)
    return result


def _write_checkpoint(run: "Capture", out: Path) -> None:
    """The planted checkpoint, marked as such, and apart from it the key that reads it."""
    from undertow.storage.checkpoint_files import PLANTED, write_checkpoint
    from undertow.storage.trap_key import write_key

    said = {PLANTED: "true", "undertow.traps": run.trap.kind}
    write_checkpoint(out / "checkpoints" / f"planted-{run.seed}.safetensors", run.planted, said)
    write_key(out / "key" / f"traps-{run.seed}.safetensors", run.trap)
