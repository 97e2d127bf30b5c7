"""What `undertow audit dp` does, below the screen. Nothing here prints."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from undertow.types import AuditResult
from undertow.workflows.audit import Request, host_of, need_torch, write_report

if TYPE_CHECKING:
    from undertow.audits.dp.settings import DpConfig


def configure(preset_name: str | None, changes: Mapping[str, Any], overrides: Mapping[str, Any]) -> "DpConfig":
    """The configuration: a preset, changed by a file, changed by options; all checked.

    Sizes that nobody gave follow the data.
    """
    from undertow.audits.dp.settings import preset
    from undertow.config import override
    from undertow.sources.records.dp_data import sized

    parts = [part.get("data") for part in (changes, overrides)]
    given = frozenset(key for part in parts if isinstance(part, Mapping) for key in part)
    return sized(override(override(preset(preset_name or "digits"), changes), overrides), given)


def run_dp(config: "DpConfig", request: Request) -> AuditResult:
    """Train, read and bound into the run folder: result, scores, report. Rerunning resumes.

    Whatever can be refused is refused before a file is written.
    """
    need_torch()
    from undertow.audits.chain import Host
    from undertow.audits.dp.game import Game, audit_dp
    from undertow.audits.leakage import plain
    from undertow.engine.executor import Serial
    from undertow.sources.records.dp_data import load_dp
    from undertow.storage.finished import refuse_other_run
    from undertow.storage.results import save_result
    from undertow.storage.run import open_run
    from undertow.storage.store import MemoryStore

    supply = load_dp(config.data, config.seed)
    Game(config, supply, Host(MemoryStore(), Serial())).check()
    open_run(request.out, "dp")
    refuse_other_run(request.out, plain(config), supply.describe())
    result = audit_dp(config, supply, host_of(request))
    save_result(result, request.out)
    write_report(result, request.out, None)
    return result
