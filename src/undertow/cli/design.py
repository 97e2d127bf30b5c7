"""`undertow design`: complementary halves of the records for people who train elsewhere."""

from pathlib import Path
from typing import Annotated

import typer

from undertow.cli.screen import errors

Records = Annotated[int | None, typer.Option(help="How many records there are.")]
Shadows = Annotated[int, typer.Option(help="How many models are trained; even.")]
Groups = Annotated[Path | None, typer.Option(help="One group per record (a line each, csv or npz): kept together.")]
Out = Annotated[Path, typer.Option(help="The design, npz.")]


def design(
    records: Records = None,
    shadows: Shadows = 32,
    groups: Groups = None,
    seed: Annotated[int, typer.Option(help="Seed from which every random choice descends.")] = 0,
    out: Out = Path("design.npz"),
) -> None:
    """Deal the training halves of an audit whose models you train elsewhere; `undertow score --design` checks them."""
    from undertow.storage.design_file import write_design

    with errors():
        dealt = write_design(out, records, shadows, seed, groups)
        models, count = dealt.member.shape
        typer.echo(
            f"{out}: {models} models in {models // 2} complementary pairs, {count} records. Train model m on the "
            f"records where member[m] is True, with seeds[m] as its seed, and ask every model about all {count} "
            f"records; then: undertow score signals.npz --design {out}"
        )
