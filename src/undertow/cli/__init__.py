"""The command line: parses, prints, exits. A plain scan starts without the other commands, whose modules take time."""

import sys
import warnings
from typing import Any

import typer

from undertow.cli.quick import arguments_of
from undertow.cli.scan import scan
from undertow.cli.screen import ERROR, OK, one_line

UsageProblem: Any = typer.BadParameter.__bases__[0].__bases__[0]  # click's root; typer carries a click of its own


def main() -> None:
    """Entry point of the `undertow` command: a mistyped option is one line too, and exit 2."""
    warnings.showwarning = one_line(warnings.showwarning)
    try:
        plain = arguments_of(scan, sys.argv[2:]) if sys.argv[1:2] == ["scan"] else None
        if plain is None:
            from undertow.cli.application import app

            code = app(sys.argv[1:] or ["--help"], standalone_mode=False)
        else:
            scan(**plain)
            code = OK
    except typer.Exit as ended:
        code = ended.exit_code
    except UsageProblem as error:
        typer.echo(f"undertow: {error.format_message()}", err=True)
        code = ERROR
    except typer.Abort:
        code = 130
    sys.exit(code if isinstance(code, int) else OK)


def __getattr__(name: str) -> Any:
    """`app`, the whole tree of commands, once it is asked for."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from undertow.cli.application import app

    return app
