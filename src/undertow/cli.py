"""The command line: parses, prints, exits. What the commands do is in workflow.py."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core

from undertow.types import AuditError, AuditResult, ConfigError, GateUndecided, Progress

OK, OVER, ERROR = 0, 1, 2

UsageProblem = typer.BadParameter.__bases__[0].__bases__[0]  # click's root; typer carries a click of its own
COMMANDS = ("audit", "score", "report", "theory", "init-config", "doctor")  # in the order a newcomer needs them


class _InOrder(typer.core.TyperGroup):
    """Lists the commands in our order, not groups last."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [name for name in COMMANDS if name in self.commands]


app = typer.Typer(
    cls=_InOrder,
    help="Audit the privacy of the pretrain -> finetune supply chain.",
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
audit_app = typer.Typer(help="Measure what a finetuned model leaks. Alone: mia and tmi on the embedded digits.")
app.add_typer(audit_app, name="audit", invoke_without_command=True)

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
RUN = Path("undertow-run")


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


@audit_app.callback()
def audit(
    context: typer.Context, preset: Preset = None, list_presets: ListPresets = False, config: ConfigFile = None,
    data: Data = None, shadows: Shadows = None, seed: Seed = None, out: Out = RUN, store: StoreDir = None,
    workers: Workers = 1, plan: Plan = False, quiet: Quiet = False, fail_if: FailIf = None,
    drop_duplicates: DropDuplicates = False, include_examples: Include = False,
) -> None:  # fmt: skip
    """Measure what a finetuned model leaks. Alone: mia and tmi on the embedded digits."""
    if context.invoked_subcommand is not None:
        given = [n for n in context.params if _given(context, n)]
        if given:
            name = context.invoked_subcommand
            raise typer.BadParameter(f"options go after the audit's name: undertow audit {name} --{given[0]} ...")
        return
    _audit(("mia", "tmi"), _Options(**{k: v for k, v in locals().items() if k != "context"}))


@audit_app.command()
def mia(
    preset: Preset = None, list_presets: ListPresets = False, config: ConfigFile = None, data: Data = None,
    shadows: Shadows = None, seed: Seed = None, out: Out = RUN, store: StoreDir = None, workers: Workers = 1,
    plan: Plan = False, quiet: Quiet = False, fail_if: FailIf = None, drop_duplicates: DropDuplicates = False,
    include_examples: Include = False,
) -> None:  # fmt: skip
    """Who was in the finetuning data? Classical membership inference against the finetuned model."""
    _audit(("mia",), _Options(**locals()))


@audit_app.command()
def tmi(
    preset: Preset = None, list_presets: ListPresets = False, config: ConfigFile = None, data: Data = None,
    shadows: Shadows = None, seed: Seed = None, out: Out = RUN, store: StoreDir = None, workers: Workers = 1,
    plan: Plan = False, quiet: Quiet = False, fail_if: FailIf = None, drop_duplicates: DropDuplicates = False,
    include_examples: Include = False,
) -> None:  # fmt: skip
    """Who was in the pretraining data? Membership inference through the finetuned model alone."""
    _audit(("tmi",), _Options(**locals()))


@app.command()
def score(
    signals: Annotated[Path, typer.Argument(help="npz, csv or parquet with the signals you made.")],
    attack: Annotated[list[str] | None, typer.Option(help="Attacks, comma-separated; default: all that apply.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write result.json, scores and report.html there.")] = None,
    seed: Annotated[int, typer.Option(help="Everything random descends from it.")] = 0,
    fail_if: FailIf = None, drop_duplicates: DropDuplicates = False, quiet: Quiet = False,
) -> None:  # fmt: skip
    """Apply the attacks to signals made anywhere; nothing is trained, torch is not needed."""
    from undertow.workflow import run_score

    names = [name.strip() for part in attack or [] for name in part.split(",") if name.strip()]
    with _errors():
        gates = _gates(fail_if)
        with _progress(quiet) as progress:
            result = run_score(signals, names, seed, out, drop_duplicates, progress)
        _show(result, quiet)
        if out is not None and not quiet:
            typer.echo(f"report: {out / 'report.html'}")
        _apply(gates, [result])


@app.command()
def report(
    run_dir: Annotated[Path, typer.Argument(help="Folder of a finished run.")], include_examples: Include = False
) -> None:
    """Draw the report of a finished run again."""
    from undertow.workflow import render_reports

    with _errors():
        for path in render_reports(run_dir, include_examples):
            typer.echo(f"report: {path}")


@app.command("init-config")
def init_config(
    audit: Annotated[str, typer.Argument(help="mia or tmi")],
    preset: Preset = None,
) -> None:
    """Print a configuration with every key explained: undertow init-config tmi > my.toml"""
    from undertow.config import to_toml
    from undertow.workflow import AUDITS, configure

    with _errors():
        if audit not in AUDITS:
            raise ConfigError(f"no audit {audit!r}; there are: {', '.join(AUDITS)}")
        heading = f"undertow audit {audit} --config THIS-FILE"
        typer.echo(to_toml(configure(audit, preset, {}, {}), heading), nl=False)


@app.command()
def theory(
    dimension: Annotated[int, typer.Option(min=1, help="Coordinates of a record.")] = 200,
    pretraining: Annotated[int, typer.Option(min=2, help="Pretraining records.")] = 100,
    finetuning: Annotated[int, typer.Option(min=1, help="Finetuning records.")] = 50,
    tau: Annotated[float, typer.Option(min=0, help="Deviation of finetuning records; pretraining has 1.")] = 1.5,
    noise: Annotated[float, typer.Option(min=0, help="Deviation of the noise of a private release.")] = 0.0,
    trials: Annotated[int, typer.Option(min=2, help="Simulated games per point.")] = 4000,
    seed: Annotated[int, typer.Option(help="Everything random descends from it.")] = 0,
    out: Annotated[Path, typer.Option(help="The picture, SVG.")] = Path("undertow-theory.svg"),
) -> None:
    """AUC against what finetuning leaves of the pretraining mean: closed form, and a simulation on top."""
    from undertow.workflow import run_theory

    with _errors():
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

    with _errors():
        for name, value in findings():
            typer.echo(f"{name:<22}{value}")


class _Options:
    """The options all audits share, as typed."""

    def __init__(self, **given: Any) -> None:
        self.__dict__.update(given)


def _audit(audits: tuple[str, ...], o: Any) -> None:
    from undertow.workflow import Request, configure, plan_audit, run_audit, run_both, split_tables

    with _errors():
        if o.list_presets:
            _print_presets(audits)
            return
        from undertow.storage.files import read_toml

        changes = read_toml(o.config) if o.config else {}
        tables = {audits[0]: changes} if len(audits) == 1 else split_tables(changes)
        configs = {a: configure(a, o.preset, tables[a], _overrides(o)) for a in audits}
        gates = _gates(o.fail_if)
        if o.plan:
            _print_plan({a: plan_audit(a, c, o.workers) for a, c in configs.items()})
            return
        with _progress(o.quiet) as progress:
            request = Request(o.out, o.store, o.workers, o.include_examples, progress)
            if len(audits) == 1:
                results = {audits[0]: run_audit(audits[0], configs[audits[0]], request)}
            else:
                results = run_both(configs, request)
        for result in results.values():
            _show(result, o.quiet)
        if not o.quiet:
            typer.echo(f"report: {o.out / 'report.html'}")
        _apply(gates, list(results.values()))


def _overrides(o: Any) -> dict[str, Any]:
    """Options that change the configuration; they win over the file."""
    top = {k: getattr(o, k) for k in ("shadows", "seed") if getattr(o, k) is not None}
    data = {"source": str(o.data)} if o.data is not None else {}
    if o.drop_duplicates:
        data["drop_duplicates"] = True
    return {**top, "data": data} if data else top


def _given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _print_presets(audits: tuple[str, ...]) -> None:
    from undertow.audits.presets import listing

    for audit in audits:
        for line in listing(audit):
            typer.echo(line)


def _print_plan(plans: dict[str, Any]) -> None:
    for audit, plan in plans.items():
        typer.echo(
            f"{audit}: {plan.models} models ({', '.join(plan.engines)}), about {_duration(plan.seconds)}, "
            f"{plan.disk / 1e6:.0f} MB on disk"
        )


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _show(result: AuditResult, quiet: bool) -> None:
    if not quiet:
        from undertow.report.text import summary

        typer.echo(summary(result) + "\n")


def _gates(texts: list[str] | None) -> list[Any]:
    from undertow.metrics import parse_gate

    return [parse_gate(text) for text in texts or []]


def _apply(gates: list[Any], results: list[AuditResult]) -> None:
    """Exit 1 with every message if a gate is exceeded; what cannot be decided is an error, not a pass."""
    from undertow.attacks.catalog import ATTACKS
    from undertow.metrics import apply_gate

    skip = frozenset(name for name, attack in ATTACKS.items() if attack.kind in ("bound", "blind"))

    over, undecided = [], []
    for gate in gates:
        for result in results:
            try:
                message = apply_gate(gate, result.measurements, skip)
            except GateUndecided as error:
                undecided.append(f"{result.audit}: {error}")
            else:
                over += [f"{result.audit}: {message}"] if message else []
    for line in (*over, *undecided):
        typer.echo(line, err=True)
    if over:
        raise typer.Exit(OVER)
    if undecided:
        raise typer.Exit(ERROR)


@contextmanager
def _errors() -> Iterator[None]:
    """Everything raised on purpose is one line on stderr and exit 2."""
    try:
        yield
    except AuditError as error:
        typer.echo(f"undertow: {error}", err=True)
        raise typer.Exit(ERROR) from error
    except KeyboardInterrupt as error:
        typer.echo("undertow: interrupted; what was finished is kept, the same command resumes", err=True)
        raise typer.Exit(130) from error


@contextmanager
def _progress(quiet: bool) -> Iterator[Progress | None]:
    """A bar with an ETA on a terminal, nothing elsewhere."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description:<12}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        yield _reporter(bars)


def _reporter(bars: Any) -> Callable[[str, int, int], None]:
    tasks: dict[str, Any] = {}

    def report_progress(what: str, done: int, total: int) -> None:
        if what not in tasks or (done == 0 and bars.tasks[bars.task_ids.index(tasks[what])].finished):
            tasks[what] = bars.add_task(what, total=total)
        bars.update(tasks[what], completed=done, total=total)

    return report_progress


def main() -> None:
    """Entry point of the `undertow` command: a mistyped option is one line too, and exit 2."""
    try:
        code = app(sys.argv[1:] or ["--help"], standalone_mode=False)
    except UsageProblem as error:
        typer.echo(f"undertow: {error.format_message()}", err=True)
        code = ERROR
    except typer.Abort:
        code = 130
    sys.exit(code if isinstance(code, int) else OK)
