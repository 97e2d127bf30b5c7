"""The table of audits: the one place where a new audit is named."""

from importlib import import_module
from pathlib import Path

from undertow.types import AuditResult, ConfigError, StoreError
from undertow.workflows.audit import Audit, no_pictures, write_index, write_report

BUILT_IN = {
    "mia": "undertow.workflows.leakage:MIA",
    "tmi": "undertow.workflows.leakage:TMI",
    "poisoning": "undertow.workflows.poisoning:POISONING",
    "datatrap": "undertow.workflows.datatrap:DATATRAP",
    "dp": "undertow.workflows.dp:DP",
}


def names() -> tuple[str, ...]:
    """Every audit that can be asked for, in the order of the help."""
    return tuple(BUILT_IN)


def audit_named(name: str) -> Audit:
    """The audit of that name; ConfigError with the known ones where there is none."""
    if name not in BUILT_IN:
        raise ConfigError(f"no audit {name!r}; there are: {', '.join(names())}")
    module, _, value = BUILT_IN[name].partition(":")
    audit: Audit = getattr(import_module(module), value)
    return audit


def render_reports(run: Path, include_examples: bool) -> list[Path]:
    """Draw the report(s) of a finished run again; returns their paths."""
    from undertow.storage.results import load_result

    parts = [run / name for name in names() if (run / name / "result.json").is_file()]
    alone = (run / "result.json").is_file()
    if not alone and not parts:
        raise StoreError(f"{run}: no finished run of undertow there (no result.json)")
    results = {folder: load_result(folder) for folder in ([run] if alone else parts)}
    for folder, result in results.items():
        _render(result, folder, include_examples)
    if not alone:
        write_index({folder.name: result for folder, result in results.items()}, run)
    return [folder / "report.html" for folder in (results if alone else (*results, run))]


def _render(result: AuditResult, folder: Path, include_examples: bool) -> None:
    pictures = audit_named(result.audit).pictures if result.audit in names() else no_pictures
    write_report(result, folder, pictures(result, folder, include_examples))
