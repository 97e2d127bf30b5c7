"""Every command under its name. What the commands do is in workflows."""

from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core

from undertow.cli import options as opt
from undertow.cli.audit import audit_app
from undertow.cli.compare import compare
from undertow.cli.design import design
from undertow.cli.epsilon import epsilon
from undertow.cli.evidence import evidence
from undertow.cli.reproduce import reproduce
from undertow.cli.scan import clean, scan
from undertow.cli.screen import apply, errors, gates, progress, show

# in the order a newcomer needs them
COMMANDS = (
    "audit", "scan", "clean", "score", "design", "epsilon", "report", "compare", "evidence", "reproduce", "theory",
    "init-config", "doctor",
)  # fmt: skip


class _InOrder(typer.core.TyperGroup):
    """Lists the commands in our order, not groups last."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [name for name in COMMANDS if name in self.commands]


app = typer.Typer(
    cls=_InOrder,
    help="Audit the privacy of the pretrain -> finetune supply chain.",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(audit_app, name="audit", invoke_without_command=True)
app.command()(scan)
app.command()(clean)
app.command()(design)
app.command()(epsilon)
app.command()(compare)
app.command()(evidence)
app.command()(reproduce)


def _print_version(wanted: bool) -> None:
    if wanted:
        import undertow

        typer.echo(undertow.__version__)
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
]


@app.callback()
def undertow(version: Version = False) -> None:
    """Audit the privacy of the pretrain -> finetune supply chain."""


@app.command()
def score(
    signals: Annotated[Path, typer.Argument(help="npz, csv or parquet with the signals you made.")],
    attack: Annotated[list[str] | None, typer.Option(help="Attacks, comma-separated; default: all that apply.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write result.json, scores and report.html there.")] = None,
    seed: Annotated[int, typer.Option(help="Seed from which every random choice descends.")] = 0,
    fail_if: opt.FailIf = None, drop_duplicates: opt.DropDuplicates = False, quiet: opt.Quiet = False,
    dealt: Annotated[Path | None, typer.Option("--design", help="Check that they fit `undertow design`.")] = None,
) -> None:  # fmt: skip
    """Apply the attacks to signals made anywhere; nothing is trained, torch is not needed."""
    from undertow.workflows.score import run_score

    names = [name.strip() for part in attack or [] for name in part.split(",") if name.strip()]
    with errors():
        conditions = gates(fail_if)
        with progress(quiet) as told:
            result = run_score(signals, names, seed, out, drop_duplicates, told, dealt)
        show(result, quiet)
        if out is not None and not quiet:
            typer.echo(f"report: {out / 'report.html'}")
        apply(conditions, [result])


@app.command()
def report(
    run_dir: Annotated[Path, typer.Argument(help="Folder of a finished run.")], include_examples: opt.Include = False
) -> None:
    """Draw the report of a finished run again."""
    from undertow.workflows.audits import render_reports

    with errors():
        for path in render_reports(run_dir, include_examples):
            typer.echo(f"report: {path}")


@app.command("init-config")
def init_config(
    audit: Annotated[str, typer.Argument(help="mia, tmi, poisoning, datatrap or dp")],
    preset: opt.Preset = None,
    data: Annotated[Path | None, typer.Option(help="Your records: the settings are written for them.")] = None,
) -> None:
    """Print a configuration with every key explained: undertow init-config tmi --data FOLDER > my.toml"""
    from undertow.config import to_toml
    from undertow.workflows.init_config import settings_for

    with errors():
        config, heading = settings_for(audit, preset, data)
        typer.echo(to_toml(config, heading, audit), nl=False)


@app.command()
def theory(
    dimension: Annotated[int, typer.Option(min=1, help="Coordinates of a record.")] = 200,
    pretraining: Annotated[int, typer.Option(min=2, help="Pretraining records.")] = 100,
    finetuning: Annotated[int, typer.Option(min=1, help="Finetuning records.")] = 50,
    tau: Annotated[float, typer.Option(min=0, help="Deviation of finetuning records; pretraining has 1.")] = 1.5,
    noise: Annotated[float, typer.Option(min=0, help="Deviation of the noise of a private release.")] = 0.0,
    trials: Annotated[int, typer.Option(min=2, help="Simulated games per point.")] = 4000,
    seed: Annotated[int, typer.Option(help="Seed from which every random choice descends.")] = 0,
    out: Annotated[Path, typer.Option(help="The picture, SVG.")] = Path("undertow-theory.svg"),
) -> None:
    """AUC against what finetuning leaves of the pretraining mean: closed form, and a simulation on top."""
    from undertow.workflows.theory import run_theory

    with errors():
        typer.echo("alpha   AUC closed form   simulated [95 %]         TPR@1% closed form   simulated")
        for p in run_theory(dimension, pretraining, finetuning, tau, noise, trials, seed, out):
            low, high = p.simulated - 1.96 * p.error, p.simulated + 1.96 * p.error
            typer.echo(
                f"{p.alpha:<8.2f}{p.predicted:<18.3f}{p.simulated:.3f} [{low:.3f}, {high:.3f}]   "
                f"{p.tpr_predicted:<21.3f}{p.tpr_simulated:.3f}"
            )
        typer.echo(f"each of {trials} trials is a game of its own; picture: {out}")


@app.command()
def doctor() -> None:
    """Versions, extras, device, and which engine the probe picks here."""
    from undertow.doctor import findings

    with errors():
        for name, value in findings():
            typer.echo(f"{name:<22}{value}")
