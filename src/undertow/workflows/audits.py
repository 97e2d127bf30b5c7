"""The table of audits: the one place where a new audit is named."""

from pathlib import Path

from undertow.registry import Registry, instance_of
from undertow.types import AuditResult, StoreError
from undertow.workflows.audit import Audit, no_pictures, write_index, write_report

AUDITS: Registry[Audit] = Registry(
    "undertow.audits",
    "audit",
    {
        "mia": "undertow.workflows.leakage:MIA",
        "tmi": "undertow.workflows.leakage:TMI",
        "poisoning": "undertow.workflows.poisoning:POISONING",
        "datatrap": "undertow.workflows.datatrap:DATATRAP",
        "dp": "undertow.workflows.dp:DP",
        "extraction": "undertow.workflows.extraction:EXTRACTION",
    },
    instance_of(Audit),
)


def names() -> tuple[str, ...]:
    """The built-in audits, in the order of the help; those of plugins are in AUDITS as well."""
    return AUDITS.built_in


def audit_named(name: str) -> Audit:
    """The audit of that name, or the one that a reference `package.module:value` stands for.

    ConfigError, with the nearest name, where there is none.
    """
    return AUDITS.find(name)


def render_reports(run: Path, include_examples: bool) -> list[Path]:
    """Draw the report(s) of a finished run again; returns their paths."""
    from undertow.storage.results import load_result

    parts = [run / name for name in AUDITS if (run / name / "result.json").is_file()]
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
    pictures = audit_named(result.audit).pictures if result.audit in AUDITS else no_pictures
    write_report(result, folder, pictures(result, folder, include_examples))
