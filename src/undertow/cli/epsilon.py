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
            help="To quote: clopper-pearson, gdp, gdp-accuracy, joint-beta, sequential, one-run, one-run-gdp, "
            "gaussian-pairs."
        ),
    ] = None,
    threshold: Annotated[
        str | None, typer.Option(help="A number fixed before the trials, or split, or bonferroni.")
    ] = None,
    guesses: Annotated[str | None, typer.Option(help="PLUS,MINUS guesses of a one-run bound, fixed before.")] = None,
    unit: Annotated[Unit | None, typer.Option(help="What a trial is; default: by the column run.")] = None,
    independent: Annotated[bool, typer.Option("--independent", help="You can show that the trials are.")] = False,
    claim_epsilon: Annotated[float | None, typer.Option(help="A claim to hold the bound against.")] = None,
    claim_gdp: Annotated[float | None, typer.Option(metavar="MU", help="A claim of mu-GDP.")] = None,
    claim_zcdp: Annotated[float | None, typer.Option(metavar="RHO", help="A claim of rho-zCDP.")] = None,
    claim_curve: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A claimed curve: csv with epsilon,delta, any accountant's.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write result.json there.")] = None,
    fail_if: Annotated[
        list[str] | None, typer.Option(help="Exit 1 if over, e.g. 'epsilon_lower>3'; 2 if a claim is in doubt.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the split and of ties.")] = 0,
) -> None:
    """How much leaks at least? A lower bound of epsilon from scores (higher = member); nothing is trained.

    A claim is called refuted at p <= .001, by a test that assumes nothing but the claim.
    """
    from undertow.audits.dp.epsilon import EpsilonAsk
    from undertow.workflows.epsilon import claim_of, parse_guesses, parse_threshold, run_epsilon

    with errors():
        conditions = gates(fail_if)
        how: Any = parse_threshold(threshold)
        kind: Any = None if unit is None else unit.value
        ask = EpsilonAsk(
            delta, confidence, bound, how, parse_guesses(guesses), kind, independent, claim_epsilon, seed
        )  # fmt: skip
        claim = claim_of(claim_epsilon, claim_gdp, claim_zcdp, claim_curve, delta)
        result = run_epsilon(scores, ask, out, claim)
        show(result, quiet)
        if out is not None and not quiet:
            typer.echo(f"result: {out / 'result.json'}")
        apply(conditions, [result])
