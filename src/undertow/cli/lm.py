"""`undertow audit lm`: one finetuned language model, texts it was trained on, and texts it was not."""

from pathlib import Path
from typing import Annotated

import typer

from undertow.cli import options as opt
from undertow.cli.commands import finish
from undertow.cli.options import Options
from undertow.cli.screen import errors, gates, progress

Model = Annotated[str, typer.Option("--model", help="Folder of the finetuned language model (save_pretrained).")]
Base = Annotated[str | None, typer.Option("--base", help="Folder of the model that it was finetuned from.")]
Adapt = Annotated[str | None, typer.Option("--adapt", help="Other texts of the kind: the base is finetuned on them.")]
Members = Annotated[str, typer.Option("--members", help='Texts it was trained on: jsonl with {"text": ...}, csv.')]
NonMembers = Annotated[str, typer.Option("--nonmembers", help="Texts of the same kind that it never saw.")]
Field = Annotated[str | None, typer.Option("--field", help="Column of the text (default: text).")]
Batch = Annotated[int, typer.Option("--batch", min=1, help="Texts per pass.")]
Seed = Annotated[int, typer.Option("--seed", help="Seed from which every random choice descends.")]
RUN = Path("undertow-lm")


def lm(
    model: Model, members: Members, nonmembers: NonMembers, base: Base = None, adapt: Adapt = None,
    field: Field = None, seed: Seed = 0, out: opt.Out = RUN, batch: Batch = 8, quiet: opt.Quiet = False,
    fail_if: opt.FailIf = None,
) -> None:  # fmt: skip
    """What a finetuned language model gives away of the texts it was trained on; nothing is trained."""
    from undertow.workflows.lm import LmRequest, run_lm

    with errors():
        conditions = gates(fail_if)
        with progress(quiet) as told:
            result = run_lm(LmRequest(model, members, nonmembers, base, adapt, field, out, seed, batch, told))
        finish([result], Options(quiet=quiet, out=out), conditions)
