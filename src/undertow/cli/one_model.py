"""`undertow audit mia --model`: one trained model, records it was trained on, and records it was not."""

from pathlib import Path
from typing import Annotated, Any

import typer

from undertow.cli.commands import Door, finish
from undertow.cli.screen import errors, gates, progress
from undertow.types import ConfigError

Model = Annotated[
    str | None,
    typer.Option("--model", help="Audit this one model: folder, hub id, .onnx, my.py:predict, or a URL."),
]
Members = Annotated[str | None, typer.Option(help="Records it was trained on: csv, npz, npy, jsonl, folder of images.")]
NonMembers = Annotated[str | None, typer.Option("--nonmembers", help="Records of the same kind that it never saw.")]
BaseModel = Annotated[str | None, typer.Option("--base", help="A reference of the same task that saw none of them.")]
Label = Annotated[str | None, typer.Option(help="Column of the class (default: label, y, ...).")]
Field = Annotated[str | None, typer.Option(help="Column of the text (default: text).")]
Batch = Annotated[int | None, typer.Option(min=1, help="Records per request (default 32) or script call (1024).")]
Rate = Annotated[float | None, typer.Option(help="Requests per second to a URL, at most; default 10.")]
Timeout = Annotated[float | None, typer.Option(help="Seconds to wait for an answer of a URL; default 30.")]

OWN = ("members", "nonmembers", "base", "label", "field", "batch", "rate", "timeout")
OTHERS = ("preset", "config", "data", "shadows", "store", "drop_duplicates", "include_examples")


def one_model(o: Any) -> bool:
    """Audit the model of the options and return True; False where they name none."""
    with errors():
        if o.model is None:
            alone = next((name for name in OWN if getattr(o, name) is not None), None)
            if alone is not None:
                raise ConfigError(f"--{alone} goes with --model, the one model to audit")
            return False
        _run(o)
    return True


def _run(o: Any) -> None:
    from undertow.workflows.one_model import ModelRequest, plan_model, run_model

    other = next((name for name in OTHERS if getattr(o, name)), "workers" if o.workers != 1 else None)
    if other is not None:
        raise ConfigError(f"--{other.replace('_', '-')} does not go with --model: one model is asked, none is trained")
    given = {name: getattr(o, name) for name in OWN if getattr(o, name) is not None}
    given = {"members": "", "nonmembers": "", **given}
    conditions = gates(o.fail_if)
    if o.plan:
        typer.echo(f"model: {plan_model(ModelRequest(o.model, **given))}")
        return
    with progress(o.quiet) as told:
        request = ModelRequest(o.model, out=Path(o.out), seed=o.seed or 0, progress=told, **given)
        result = run_model(request)
    finish([result], o, conditions)


ONE_MODEL = Door(
    {"model": Model, "members": Members, "nonmembers": NonMembers, "base": BaseModel, "label": Label, "field": Field,
     "batch": Batch, "rate": Rate, "timeout": Timeout},
    one_model,
)  # fmt: skip
