"""undertow epsilon: lower bounds of epsilon from scores made anywhere."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from undertow.cli.screen import apply, errors, gates, show


class Unit(StrEnum):
    """What one trial is."""

    runs = "runs"
    canaries = "canaries"


def epsilon(
    scores: Annotated[Path, typer.Argument(help="npz or csv with score, member (0/1) and, if any, run.")],
    delta: Annotated[float, typer.Option(help="Of (epsilon, delta)-DP.")] = 1e-5,
    confidence: Annotated[float, typer.Option(help="A fraction: 0.95 is 95 %.")] = 0.95,
    bound: Annotated[
        str | None,
        typer.Option(
            help="To quote: clopper-pearson, gdp, gdp-accuracy, joint-beta, sequential, one-run, one-run-gdp."
        ),
    ] = None,
    threshold: Annotated[
        str | None, typer.Option(help="A number fixed before the trials, or split, or bonferroni.")
    ] = None,
    guesses: Annotated[str | None, typer.Option(help="PLUS,MINUS guesses of a one-run bound, fixed before.")] = None,
    unit: Annotated[Unit | None, typer.Option(help="What a trial is; default: by the column run.")] = None,
    independent: Annotated[bool, typer.Option("--independent", help="You can show that the trials are.")] = False,
    claim_epsilon: Annotated[float | None, typer.Option(help="A claim to hold the bound against.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write result.json there.")] = None,
    fail_if: Annotated[list[str] | None, typer.Option(help="Exit 1 if over, e.g. 'epsilon_lower>3'.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the split and of ties.")] = 0,
) -> None:
    """How much leaks at least? A lower bound of epsilon from scores (higher = member); nothing is trained."""
    from undertow.audits.dp.epsilon import EpsilonAsk
    from undertow.workflows.epsilon import parse_guesses, parse_threshold, run_epsilon

    with errors():
        conditions = gates(fail_if)
        how: Any = parse_threshold(threshold)
        kind: Any = None if unit is None else unit.value
        ask = EpsilonAsk(
            delta, confidence, bound, how, parse_guesses(guesses), kind, independent, claim_epsilon, seed
        )  # fmt: skip
        result = run_epsilon(scores, ask, out)
        show(result, quiet)
        if out is not None and not quiet:
            typer.echo(f"result: {out / 'result.json'}")
        apply(conditions, [result])
