"""undertow compare: finished runs of one audit, before and after."""

from pathlib import Path
from typing import Annotated

import typer

from undertow.cli import options as opt
from undertow.cli.screen import ERROR, OVER, errors


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Finished runs of one audit; the first is the one before.")],
    out: Annotated[Path | None, typer.Option(help="Write compare.json and compare.html there.")] = None,
    fail_if_worse: Annotated[
        bool, typer.Option("--fail-if-worse", help="Exit 1 if a later run is worse, 2 if that is undecided.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON.")] = False,
    quiet: opt.Quiet = False,
) -> None:  # fmt: skip
    """Does a run leak more than an earlier one? Paired where the runs share models and records."""
    from undertow.workflows.compare import compared, write

    with errors():
        found, read = compared(runs)
        if out is not None:
            write(out, read, found)
        if as_json:
            import json

            from undertow.report.compare.text import document

            typer.echo(json.dumps(document(read[0].name, read[0].audit, found), indent=1, allow_nan=False))
        elif not quiet:
            from undertow.report.compare.text import summary

            typer.echo(summary(read[0].name, found))
            if out is not None:
                typer.echo(f"comparison: {out / 'compare.html'}")
        states = [one.state for one in found]
        if fail_if_worse and "worse" in states:
            raise typer.Exit(OVER)
        if fail_if_worse and "undecided" in states:
            raise typer.Exit(ERROR)
