"""undertow reproduce: the figures and tables of the papers, in small."""

from pathlib import Path
from typing import Annotated

import typer

from undertow.cli import options as opt
from undertow.cli.screen import errors, progress


def reproduce(
    paper: Annotated[str | None, typer.Argument(help="tmi, wen, feng or extraction.")] = None,
    item: Annotated[str | None, typer.Argument(help="One figure or table, as --list names it; default: all.")] = None,
    listed: Annotated[bool, typer.Option("--list", help="List every figure and table with its status.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --list: rows for programs.")] = False,
    budget: Annotated[str, typer.Option(help="10m, 1h or gpu.")] = "10m",
    out: Annotated[Path, typer.Option(help="Folder of the runs and of the page.")] = Path("undertow-reproduce"),
    seed: Annotated[int, typer.Option(help="Seed from which every random choice descends.")] = 0,
    quiet: opt.Quiet = False,
) -> None:  # fmt: skip
    """Play the figures and tables of the papers in small: the released setting beside ours, and what differs."""
    from undertow.audits.papers import ITEMS
    from undertow.types import ConfigError

    with errors():
        if listed:
            rows = [one.row for one in ITEMS if paper in (None, one.paper)]
            if as_json:
                import json

                typer.echo(json.dumps(rows, indent=1))
                return
            for row in rows:
                typer.echo(f"{row['paper']:<12}{row['item']:<24}{row['budget'] or '-':<6}{row['status']}")
            return
        if paper is None:
            raise ConfigError("name a paper (tmi, wen, feng, extraction), or give --list")
        from undertow.workflows.audit import Request
        from undertow.workflows.reproduce import items_of, reproduce_items

        items = items_of(paper, item, budget)
        with progress(quiet) as told:
            done = reproduce_items(items, out, seed, Request(out, progress=told))
        if not quiet:
            for one, run in done:
                typer.echo(f"{one.paper}, {one.item}: {run.path}")
            typer.echo(f"page: {out / 'reproduce.md'}")
