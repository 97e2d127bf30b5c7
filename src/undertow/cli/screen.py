"""What every command does with the screen: results, errors in one line, a progress bar, the exit code."""

import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import typer

from undertow.types import AuditError, AuditResult, GateUndecided, Progress, TrainingFailed

OK, OVER, ERROR = 0, 1, 2


def show(result: AuditResult, quiet: bool) -> None:
    """The result as text, unless it was asked to be quiet."""
    if not quiet:
        from undertow.report.text import summary

        typer.echo(summary(result) + "\n")


def gates(texts: list[str] | None) -> list[Any]:
    """The conditions of --fail-if; ConfigError where one cannot mean anything."""
    from undertow.metrics import parse_gate

    return [parse_gate(text) for text in texts or []]


def apply(conditions: list[Any], results: list[AuditResult]) -> None:
    """Exit 1 with every message if a gate is exceeded; what cannot be decided is an error, not a pass."""
    from undertow.attacks.catalog import unrealistic
    from undertow.metrics import apply_gate

    skip = unrealistic()
    over, undecided = [], []
    for gate in conditions:
        for result in results:
            try:
                message = apply_gate(gate, result.measurements, skip, result.verdict)
            except GateUndecided as error:
                undecided.append(f"{result.audit}: {error}")
            else:
                over += [f"{result.audit}: {message}"] if message else []
    for line in (*over, *undecided):
        typer.echo(line, err=True)
    if over:
        raise typer.Exit(OVER)
    if undecided:
        raise typer.Exit(ERROR)


@contextmanager
def errors() -> Iterator[None]:
    """Everything raised on purpose is one line on stderr and exit 2."""
    try:
        yield
    except AuditError as error:
        if isinstance(error, TrainingFailed):
            typer.echo(_theirs(error), err=True)
        typer.echo(f"undertow: {error}", err=True)
        raise typer.Exit(ERROR) from error
    except KeyboardInterrupt as error:
        typer.echo("undertow: interrupted; what was finished is kept, the same command resumes", err=True)
        raise typer.Exit(130) from error


def _theirs(error: TrainingFailed) -> str:
    """The traceback of the user's own code, as it was where it ran."""
    notes = getattr(error, "__notes__", [])
    return "".join(notes or traceback.format_exception(error.__cause__ or error)).rstrip()


def one_line(otherwise: Callable[..., None]) -> Callable[..., None]:
    """A `warnings.showwarning` that says in one line which plugin was left out; other warnings are shown as before."""

    def shown(message: Any, category: Any, *rest: Any, **named: Any) -> None:
        if category.__name__ == "PluginWarning":
            typer.echo(f"undertow: warning: {message}", err=True)
        else:
            otherwise(message, category, *rest, **named)

    return shown


@contextmanager
def progress(quiet: bool) -> Iterator[Progress | None]:
    """A bar with an ETA on a terminal, nothing elsewhere."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description:<12}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        yield _reporter(bars)


def _reporter(bars: Any) -> Progress:
    tasks: dict[str, Any] = {}

    def report_progress(what: str, done: int, total: int) -> None:
        if what not in tasks or (done == 0 and bars.tasks[bars.task_ids.index(tasks[what])].finished):
            tasks[what] = bars.add_task(what, total=total)
        bars.update(tasks[what], completed=done, total=total)

    return report_progress
