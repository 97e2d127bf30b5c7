"""The options that several commands share, as typer reads them."""

from pathlib import Path
from typing import Annotated, Any

import typer

RUN = Path("undertow-run")

Preset = Annotated[str | None, typer.Option(help="Start from this named configuration (--list-presets shows them).")]
ListPresets = Annotated[bool, typer.Option("--list-presets", help="List the presets and stop.")]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="Read settings from this TOML file; `undertow init-config` writes one.")
]
Data = Annotated[
    Path | None, typer.Option(help="Folder of your records or of a pair's datasets; 'hub' downloads them.")
]
Shadows = Annotated[
    int | None, typer.Option(help="Number of models that the attacker trains, even; default: the preset's.")
]
Seed = Annotated[
    int | None, typer.Option(help="Seed from which every random choice descends; default: 0 or the preset's.")
]
Out = Annotated[Path, typer.Option(help="Run folder; the same folder given again resumes the run.")]
StoreDir = Annotated[
    Path | None, typer.Option("--store", help="Folder in which trained models are kept; default: OUT/store.")
]
Workers = Annotated[int, typer.Option(min=1, help="Number of processes that train models.")]
Plan = Annotated[
    bool, typer.Option("--plan", help="Print the number of models, the time and the disk space needed, and stop.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
FailIf = Annotated[
    list[str] | None, typer.Option("--fail-if", help="Exit with 1 if this holds, such as 'tpr@0.1%>0.01'.")
]
DropDuplicates = Annotated[
    bool, typer.Option("--drop-duplicates", help="Remove records that occur twice, on both sides, before the audit.")
]
Include = Annotated[
    bool,
    typer.Option(
        "--include-examples", help="Show your own records in the report, which is then as private as they are."
    ),
]


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
