"""What `undertow reproduce` does, below the screen: play an item of a paper by an audit, ours beside the published."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from undertow.audits.finished_run import FinishedRun
from undertow.audits.papers import GPU, HOUR, ITEMS, PAPERS, RUNS, SHORT, Item
from undertow.report.evidence.document import row_of
from undertow.report.evidence.readings import numbers, read
from undertow.storage.files import write_atomic
from undertow.storage.runs import read_run
from undertow.types import AuditResult, ConfigError
from undertow.workflows.audit import Request

BUDGETS = (SHORT, HOUR, GPU)
REPRODUCTION = "undertow.reproduce/1"


def items_of(paper: str, item: str | None, budget: str) -> tuple[Item, ...]:
    """The items asked for that run within the budget; ConfigError in one line where there is none."""
    if paper not in PAPERS:
        raise ConfigError(f"unknown paper {paper!r}; there are {', '.join(PAPERS)}")
    if budget not in BUDGETS:
        raise ConfigError(f"--budget {budget}: there are {', '.join(BUDGETS)}")
    named = [one for one in ITEMS if one.paper == paper and item in (None, one.item)]
    if not named:
        known = ", ".join(repr(one.item) for one in ITEMS if one.paper == paper)
        raise ConfigError(f"{paper} has no item {item!r}; there are {known}")
    found = [one for one in named if one.status == RUNS and BUDGETS.index(one.budget or GPU) <= BUDGETS.index(budget)]
    if not found:
        raise ConfigError(
            f"{paper}, {named[0].item}: {named[0].status}" + (f" ({named[0].needs})" * bool(named[0].needs))
        )
    return tuple(found)


def reproduce_items(items: Sequence[Item], out: Path, seed: int, request: Request) -> list[tuple[Item, FinishedRun]]:
    """Play each item into OUT/paper-item; writes OUT/reproduce.json and OUT/reproduce.md over all of them."""
    done = []
    for one in items:
        folder = out / f"{one.paper}-{one.item.replace(' ', '-')}"
        _play(one, seed, Request(folder, request.store, request.workers, progress=request.progress))
        done.append((one, read_run(folder)))
        write_atomic(out / "reproduce.json", (json.dumps(document(done), indent=1, allow_nan=False) + "\n").encode())
        write_atomic(out / "reproduce.md", markdown(done).encode())
    return done


def _play(one: Item, seed: int, request: Request) -> AuditResult:
    """Run the item's audit with its preset and changes."""
    from undertow.workflows.audit import Given, run_audit
    from undertow.workflows.audits import audit_named

    audit = audit_named(one.audit)
    return run_audit(audit, audit.configure(Given(one.preset, one.changes, {"seed": seed})), request)


def document(done: Sequence[tuple[Item, FinishedRun]]) -> dict[str, Any]:
    """What was played, for programs."""
    rows = []
    for one, run in done:
        result = run.result
        assert result is not None
        rows.append({
            **one.row, "about": one.about, "released": one.released, "deviation": one.deviation, "run": run.name,
            "sha256": dict(run.sha256), "seed": result.seed, "seconds": round(sum(result.timing.values()), 1),
            "headline": read(result).headline, "numbers": [row_of(m) for m in numbers(result)],
        })  # fmt: skip
    return {"schema": REPRODUCTION, "items": rows}


def markdown(done: Sequence[tuple[Item, FinishedRun]]) -> str:
    """A page: the published or released setting beside ours, the deviation and why, and what came of it."""
    lines = ["# Reproduction", "", "The papers' bodies could not be read: no number of their tables is quoted.", ""]
    for one, run in done:
        result = run.result
        assert result is not None
        lines += [f"## {PAPERS[one.paper]}: {one.item}", "", f"{one.about.capitalize()}.", ""]
        lines += [f"- Released: {one.released}.", f"- Ours: `{one.audit}`, preset `{one.preset}`, seed {result.seed}."]
        lines += [f"- Deviation: {one.deviation}", f"- Reading: {read(result).headline}", ""]
        lines += ["| attack | number | value | interval | over |", "|---|---|---|---|---|"]
        for m in numbers(result):
            ends = "none" if m.low is None or m.high is None else f"[{m.low:.3f}, {m.high:.3f}]"
            value = m.reason if m.value is None else f"{m.value:.4g}"
            where = " ".join(part for part in (m.group, m.points, m.recipe, m.view) if part)
            lines.append(f"| {m.attack} {where} | {m.label} | {value} | {ends} | {m.n} {m.unit} |")
        lines.append("")
    return "\n".join(lines)
