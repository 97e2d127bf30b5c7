"""`undertow audit poisoning --checkpoint`: judge one checkpoint; and the lists of recipes and views."""

from pathlib import Path
from typing import Annotated, Any

import typer

from undertow.cli.commands import Door, changes_of, file_of, finish, request_of
from undertow.cli.screen import errors, gates, progress
from undertow.types import ConfigError

Checkpoint = Annotated[Path | None, typer.Option(help="A checkpoint to judge: file or folder with safetensors.")]
Reference = Annotated[Path | None, typer.Option(help="A trusted checkpoint of the same kind, to compare with.")]
LookAlikes = Annotated[
    Path | None, typer.Option("--look-alikes", help="Records like yours that nobody can have targeted.")
]
Factory = Annotated[str | None, typer.Option(help="Builds your own model: package.module:function.")]
ListRecipes = Annotated[bool | None, typer.Option("--list-recipes", help="List recipes and views and stop.")]


def _enter(o: Any) -> bool:
    with errors():
        if o.list_recipes:
            from undertow.workflows.poisoning import POISONING, listing

            typer.echo("\n".join([*(POISONING.presets() if o.list_presets else ()), *listing()]))
            return True
        if o.list_presets:
            return False
        if o.checkpoint is None:
            for name in ("reference", "look_alikes", "factory"):
                if getattr(o, name) is not None:
                    raise ConfigError(f"--{name.replace('_', '-')} goes with --checkpoint, the checkpoint to judge")
            return False
        _judge(o)
    return True


def _judge(o: Any) -> None:
    from undertow.workflows.audit import Given, need_torch
    from undertow.workflows.poisoning import POISONING, configure, run_checkpoint

    need_torch()
    from undertow.sources.checkpoints.judged import Suspect

    suspect = Suspect(str(o.checkpoint), str(o.reference or ""), str(o.look_alikes or ""), o.factory or "")
    if o.plan:
        raise ConfigError("--plan says what playing the attack costs; it does not go with --checkpoint")
    config = configure(Given(o.preset, file_of(o.config, "poisoning"), changes_of(POISONING, o)), suspect)
    conditions = gates(o.fail_if)
    with progress(o.quiet) as reporter:
        result = run_checkpoint(config, suspect, request_of(o, reporter))
    finish([result], o, conditions)


SUSPECT = Door(
    {"checkpoint": Checkpoint, "reference": Reference, "look_alikes": LookAlikes, "factory": Factory,
     "list_recipes": ListRecipes},
    _enter,
)  # fmt: skip
