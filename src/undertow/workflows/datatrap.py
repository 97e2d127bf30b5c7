"""What `undertow audit datatrap` does, below the screen. Nothing here prints."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from undertow.engine.executor import Serial
from undertow.types import AuditResult
from undertow.workflows.audit import Request, host_of, need_torch, write_trap_report

if TYPE_CHECKING:
    from undertow.audits.datatrap.game import Capture
    from undertow.audits.datatrap.settings import DataTrapConfig
    from undertow.audits.datatrap.supply import TrapSupply
    from undertow.storage.captures_file import Held


def configure(preset_name: str | None, changes: Mapping[str, Any], overrides: Mapping[str, Any]) -> "DataTrapConfig":
    """The configuration: a preset, changed by a file, changed by options; all checked.

    Sizes that nobody gave follow the user's own records, where those are fewer.
    """
    from undertow.audits.datatrap.presets import preset
    from undertow.config import override
    from undertow.workflows.own_data import fewer, given_keys

    config = override(override(preset(preset_name or "digits-mlp"), changes), overrides)
    own = config.data.source.endswith(".npz") and not given_keys(changes, overrides) & {"auxiliary", "victim", "test"}
    return override(config, {"data": fewer(config.data)}) if own else config


def run_datatrap(config: "DataTrapConfig", request: Request) -> AuditResult:
    """Plant, finetune and read into the run folder: result, report, planted checkpoints and keys. Rerunning resumes.

    Whatever can be refused is refused before a file is written.
    """
    need_torch()
    from undertow.audits.chain import Host
    from undertow.audits.datatrap.game import Table, audit_datatrap
    from undertow.audits.leakage import plain
    from undertow.sources.records.trap_source import trap_source
    from undertow.storage.captures_file import save_captures
    from undertow.storage.finished import refuse_other_run
    from undertow.storage.results import save_result
    from undertow.storage.run import open_run
    from undertow.storage.store import MemoryStore

    load, base = trap_source(config)
    supply = load(config.seed)
    Table(config, supply, Host(MemoryStore(), Serial()), base).check()
    open_run(request.out, "datatrap")
    refuse_other_run(request.out, plain(config), supply.describe())
    result, runs = audit_datatrap(config, load, host_of(request), base)
    for run in runs:
        _write_checkpoint(run, request.out)
    save_captures(_held(runs[0], supply), request.out)
    save_result(result, request.out)
    write_trap_report(result, request.out, request.include_examples)
    return result


def plan_datatrap(config: "DataTrapConfig") -> str:
    """What will be trained and about how long that takes, in one line; a few steps are timed, nothing is written."""
    need_torch()
    from undertow.audits.chain import Host
    from undertow.audits.datatrap.estimate import seconds
    from undertow.audits.datatrap.game import Table
    from undertow.sources.records.trap_source import trap_source
    from undertow.storage.store import MemoryStore

    load, base = trap_source(config)
    table = Table(config, load(config.seed), Host(MemoryStore(), Serial()), base)
    made = "a checkpoint that is given" if table.given else "a checkpoint pretrained here"
    n = config.seeds
    return (
        f"{n} experiment{'s' * (n > 1)} with {made}: {2 * n} finetunings (planted and clean twin), "
        f"about {n * seconds(table) / 60:.1f} minutes" + "".join(f"\n  {note}" for note in table.supply.notes)
    )


def _held(run: "Capture", supply: "TrapSupply") -> "Held":
    """What the page can show of one experiment: its readings, and of each the victim's nearest record."""
    from undertow.storage.captures_file import Held, named

    judged, words = run.judged, supply.words
    nearest = judged.truth[judged.captures.nearest]
    ids = named(supply.ids, judged)
    if not words:
        return Held(run.seed, judged.candidates, judged.captures, nearest, ids, judged.picture)
    read = np.nan_to_num(judged.candidates.values[:, 0]).astype(int)
    texts = [[tuple("" if i == 0 else words[i] for i in row) for row in rows] for rows in (read, nearest)]
    return Held(run.seed, judged.candidates, judged.captures, nearest, ids, (), tuple(texts[0]), tuple(texts[1]))


def _write_checkpoint(run: "Capture", out: Path) -> None:
    """The planted checkpoint, marked as such, and apart from it the key that reads it."""
    from undertow.sources.checkpoints.files import PLANTED, write_checkpoint
    from undertow.sources.checkpoints.trap_key import write_key

    said = {PLANTED: "true", "undertow.traps": run.trap.kind}
    write_checkpoint(out / "checkpoints" / f"planted-{run.seed}.safetensors", run.planted, said)
    write_key(out / "key" / f"traps-{run.seed}.safetensors", run.trap)
