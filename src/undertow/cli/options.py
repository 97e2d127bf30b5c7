"""The options that several commands share, as typer reads them."""

from pathlib import Path
from typing import Annotated, Any

import typer

RUN = Path("undertow-run")

Preset = Annotated[str | None, typer.Option(help="A named configuration (--list-presets).")]
ListPresets = Annotated[bool, typer.Option("--list-presets", help="List the presets and stop.")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="TOML file; see `undertow init-config`.")]
Data = Annotated[Path | None, typer.Option(help="Folder of your records, or of a pair's datasets ('hub': download).")]
Shadows = Annotated[int | None, typer.Option(help="Models the attacker trains; even.")]
Seed = Annotated[int | None, typer.Option(help="Everything random descends from it.")]
Out = Annotated[Path, typer.Option(help="Run folder; the same folder again resumes.")]
StoreDir = Annotated[Path | None, typer.Option("--store", help="Where models are kept; default OUT/store.")]
Workers = Annotated[int, typer.Option(min=1, help="Processes that train models.")]
Plan = Annotated[bool, typer.Option("--plan", help="Print models, time and disk, and stop.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
FailIf = Annotated[list[str] | None, typer.Option("--fail-if", help="Exit 1 if over, e.g. 'tpr@0.1%>0.01'.")]
DropDuplicates = Annotated[bool, typer.Option("--drop-duplicates", help="Remove records that occur twice.")]
Include = Annotated[bool, typer.Option("--include-examples", help="Show your records in the report (private!).")]


class Options:
    """The options of one command, as typed."""

    def __init__(self, **given: Any) -> None:
        self.__dict__.update(given)


def names(text: str) -> list[str]:
    """The parts of a comma-separated list.

    >>> names("full, lora,")
    ['full', 'lora']
    """
    return [name.strip() for name in text.split(",") if name.strip()]
