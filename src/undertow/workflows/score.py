"""What `undertow score` does, below the screen. Nothing here prints."""

from collections.abc import Sequence
from pathlib import Path

from undertow.types import AuditResult, Progress
from undertow.workflows.audit import write_report


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
        write_report(result, out)
    return result
