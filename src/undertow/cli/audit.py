"""undertow audit: mia, tmi, both, poisoning, datatrap and dp."""

from typing import Any

import typer

from undertow.cli import one_model as one
from undertow.cli import options as opt
from undertow.cli import own
from undertow.cli.options import RUN, Options
from undertow.cli.screen import apply, errors, gates, progress, show
from undertow.types import ConfigError

audit_app = typer.Typer(help="Measure what a finetuned model leaks. Alone: mia and tmi on the embedded digits.")


@audit_app.callback()
def audit(
    context: typer.Context, preset: opt.Preset = None, list_presets: opt.ListPresets = False,
    config: opt.ConfigFile = None, data: opt.Data = None, shadows: opt.Shadows = None, seed: opt.Seed = None,
    out: opt.Out = RUN, store: opt.StoreDir = None, workers: opt.Workers = 1, plan: opt.Plan = False,
    quiet: opt.Quiet = False, fail_if: opt.FailIf = None, drop_duplicates: opt.DropDuplicates = False,
    include_examples: opt.Include = False,
) -> None:  # fmt: skip
    """Measure what a finetuned model leaks. Alone: mia and tmi on the embedded digits."""
    if context.invoked_subcommand is not None:
        given = [n for n in context.params if _given(context, n)]
        if given:
            name = context.invoked_subcommand
            raise typer.BadParameter(f"options go after the audit's name: undertow audit {name} --{given[0]} ...")
        return
    _audit(("mia", "tmi"), Options(**{k: v for k, v in locals().items() if k != "context"}))


@audit_app.command()
def mia(
    preset: opt.Preset = None, list_presets: opt.ListPresets = False, config: opt.ConfigFile = None,
    data: opt.Data = None, shadows: opt.Shadows = None, seed: opt.Seed = None, out: opt.Out = RUN,
    store: opt.StoreDir = None, workers: opt.Workers = 1, plan: opt.Plan = False, quiet: opt.Quiet = False,
    fail_if: opt.FailIf = None, drop_duplicates: opt.DropDuplicates = False, include_examples: opt.Include = False,
    train: own.Train = None, train_cmd: own.TrainCommand = None, answers: own.Answers = None, name: own.Name = None,
    model: one.Model = None, members: one.Members = None, nonmembers: one.NonMembers = None,
    base: one.BaseModel = None, label: one.Label = None, field: one.Field = None, batch: one.Batch = None,
    rate: one.Rate = None, timeout: one.Timeout = None,
) -> None:  # fmt: skip
    """Who was in the finetuning data? Membership inference; --train: your own training, --model: one model as it is."""
    options = Options(**locals())
    if not own.own_training(options) and not one.one_model(options):
        _audit(("mia",), options)


@audit_app.command()
def tmi(
    preset: opt.Preset = None, list_presets: opt.ListPresets = False, config: opt.ConfigFile = None,
    data: opt.Data = None, shadows: opt.Shadows = None, seed: opt.Seed = None, out: opt.Out = RUN,
    store: opt.StoreDir = None, workers: opt.Workers = 1, plan: opt.Plan = False, quiet: opt.Quiet = False,
    fail_if: opt.FailIf = None, drop_duplicates: opt.DropDuplicates = False, include_examples: opt.Include = False,
    pretrain: own.Pretrain = None, finetune: own.Finetune = None, answers: own.Answers = None, name: own.Name = None,
) -> None:  # fmt: skip
    """Who was in the pretraining data? Membership inference through the finetuned model alone."""
    options = Options(**locals())
    if not own.own_stages(options):
        _audit(("tmi",), options)


@audit_app.command()
def poisoning(
    preset: opt.Preset = None, list_presets: opt.ListPresets = False, checkpoint: opt.Checkpoint = None,
    reference: opt.Reference = None, data: opt.Records = None, field: opt.Field = None,
    look_alikes: opt.LookAlikes = None,
    factory: opt.Factory = None, recipes: opt.Recipes = None, views: opt.Views = None, models: opt.Models = None,
    benchmarks: opt.Benchmarks = None, list_recipes: opt.ListRecipes = False, config: opt.ConfigFile = None,
    seed: opt.Seed = None, out: opt.Out = RUN, store: opt.StoreDir = None, workers: opt.Workers = 1,
    plan: opt.Plan = False, quiet: opt.Quiet = False, fail_if: opt.FailIfWorse = None,
) -> None:  # fmt: skip
    """Does a base model make your finetuning data leak more? Plays the attack, or judges --checkpoint."""
    with errors():
        if list_presets or list_recipes:
            _print_names(list_presets, list_recipes)
        else:
            _poisoning(Options(**locals()))


@audit_app.command()
def datatrap(
    preset: opt.Preset = None, list_presets: opt.ListPresets = False, data: opt.Records = None,
    field: opt.Field = None, config: opt.ConfigFile = None, seed: opt.Seed = None, seeds: opt.Seeds = None,
    out: opt.Out = RUN,
    checkpoint: opt.BaseCheckpoint = None, store: opt.StoreDir = None, workers: opt.Workers = 1, plan: opt.Plan = False,
    quiet: opt.Quiet = False, fail_if: opt.FailIfCopied = None, include_examples: opt.Include = False,
) -> None:  # fmt: skip
    """Can a checkpoint carry finetuning records away? Plants data traps, finetunes, and reads them back."""
    with errors():
        if list_presets:
            from undertow.audits.datatrap.presets import listing

            typer.echo("\n".join(f"datatrap  {name:<20}{about}" for name, about in listing()))
        else:
            _datatrap(Options(**locals()))


@audit_app.command()
def dp(
    preset: opt.Preset = None, list_presets: opt.ListPresets = False, epsilon: opt.Epsilon = None,
    delta: opt.Delta = None, access: opt.Access = None, canary: opt.Canary = None, runs: opt.Runs = None,
    one_run: opt.OneRun = False, data: opt.Records = None, config: opt.ConfigFile = None, seed: opt.Seed = None,
    out: opt.Out = RUN, store: opt.StoreDir = None, workers: opt.Workers = 1, quiet: opt.Quiet = False,
    fail_if: opt.FailIfBroken = None,
) -> None:  # fmt: skip
    """Does private finetuning give the epsilon it claims? Trains with a canary and without it, and bounds epsilon.

    Your claim, and what to run (more: docs/dp_claims.md):

    \b
    (epsilon, delta)    this command; your own code: audit_dp_pipeline
    zCDP, GDP           undertow epsilon: --claim-zcdp RHO, --claim-gdp MU
    RDP, own accountant undertow epsilon: --claim-curve FILE (epsilon,delta)
    per user, label     undertow epsilon: a trial is with it or without it
    DP-FTRL, PATE,      undertow epsilon on scores of your own trainings
    federated, label DP (of PATE only a data-independent epsilon); of
    synthetic data      synthetic data the score decides what is found
    noise, clipping     check_pipeline: what differs from the declaration

    Refuted is p <= .001; from there to .05 nothing is decided: repeat with
    another seed. A lower bound never proves a claim.
    """
    with errors():
        if list_presets:
            from undertow.audits.dp.settings import listing

            typer.echo("\n".join(f"dp  {name:<20}{about}" for name, about in listing()))
        else:
            _dp(Options(**locals()))


def _dp(o: Any) -> None:
    from undertow.workflows.audit import Request
    from undertow.workflows.dp import configure, run_dp
    from undertow.workflows.poisoning import where

    changes = {k: getattr(o, k) for k in ("seed", "epsilon", "delta", "access", "canary", "runs")}
    changes = {k: v for k, v in changes.items() if v is not None}
    if o.one_run:
        changes |= {"one_run": True, "runs": o.runs or 1}
    if o.data is not None:
        changes["data"] = where(o.data)
    config = configure(o.preset, _file(o, "dp"), changes)
    conditions = gates(o.fail_if)
    with progress(o.quiet) as told:
        result = run_dp(config, Request(o.out, o.store, o.workers, False, told))
    show(result, o.quiet)
    if not o.quiet:
        typer.echo(f"report: {o.out / 'report.html'}")
    apply(conditions, [result])


def _datatrap(o: Any) -> None:
    from undertow.workflows.audit import Request
    from undertow.workflows.datatrap import configure, plan_datatrap, run_datatrap

    changes = {k: getattr(o, k) for k in ("seed", "seeds") if getattr(o, k) is not None}
    changes |= _records(o)
    if o.checkpoint is not None:
        changes["model"] = {"checkpoint": str(o.checkpoint)}
    config = configure(o.preset, _file(o, "datatrap"), changes)
    conditions = gates(o.fail_if)
    if o.plan:
        typer.echo(f"datatrap: {plan_datatrap(config)}")
        return
    with progress(o.quiet) as told:
        result = run_datatrap(config, Request(o.out, o.store, o.workers, o.include_examples, told))
    show(result, o.quiet)
    if not o.quiet:
        typer.echo(f"report: {o.out / 'report.html'}")
    apply(conditions, [result])


def _print_names(presets: bool, recipes: bool) -> None:
    from undertow.audits.poisoning.presets import RECIPES, VIEWS, listing

    lines = [f"poisoning  {name:<14}{about}" for name, about in listing()] if presets else []
    if recipes:
        how = {name: recipe.about for name, recipe in RECIPES.items()}
        for heading, known in (("--recipes: how victims finetune", how), ("--views: what is seen", VIEWS)):
            lines += [heading, *(f"  {name:<14}{about}" for name, about in known.items())]
    typer.echo("\n".join(lines))


def _poisoning(o: Any) -> None:
    from undertow.workflows.audit import Request
    from undertow.workflows.poisoning import configure, plan_poisoning, run_checkpoint, run_poisoning

    suspect = _suspect(o)
    if suspect and o.plan:
        raise ConfigError("--plan says what playing the attack costs; it does not go with --checkpoint")
    config = configure(o.preset, _file(o, "poisoning"), _changes(o), suspect)
    conditions = gates(o.fail_if)
    if o.plan:
        typer.echo(f"poisoning: {plan_poisoning(config, o.workers)}")
        return
    with progress(o.quiet) as told:
        request = Request(o.out, o.store, o.workers, False, told)
        result = run_checkpoint(config, suspect, request) if suspect else run_poisoning(config, request)
    show(result, o.quiet)
    if not o.quiet:
        typer.echo(f"report: {o.out / 'report.html'}")
    apply(conditions, [result])


def _suspect(o: Any) -> Any:
    """The checkpoint to judge, where one is given; ConfigError where an option needs one that is not."""
    if o.checkpoint is not None:
        from undertow.workflows.audit import need_torch

        need_torch()
        from undertow.sources.checkpoints.judged import Suspect

        return Suspect(str(o.checkpoint), str(o.reference or ""), str(o.look_alikes or ""), o.factory or "")
    for name in ("reference", "look_alikes", "factory"):
        if getattr(o, name) is not None:
            raise ConfigError(f"--{name.replace('_', '-')} goes with --checkpoint, the checkpoint to judge")
    return None


def _changes(o: Any) -> dict[str, Any]:
    """Options that change the configuration; they win over the file."""
    changes = {k: getattr(o, k) for k in ("models", "seed") if getattr(o, k) is not None}
    changes |= {k: opt.names(getattr(o, k)) for k in ("recipes", "views", "benchmarks") if getattr(o, k) is not None}
    return changes | _records(o)


def _records(o: Any) -> dict[str, Any]:
    """What --data and --field change."""
    from undertow.workflows.poisoning import where

    data = where(o.data) if o.data is not None else {}
    data |= {"field": o.field} if o.field is not None else {}
    return {"data": data} if data else {}


def _audit(audits: tuple[str, ...], o: Any) -> None:
    from undertow.workflows.audit import Request, configure, plan_audit, run_audit, run_both

    with errors():
        if o.list_presets:
            _print_presets(audits)
            return
        tables = {audits[0]: _file(o, audits[0])} if len(audits) == 1 else _tables(o, audits)
        configs = {a: configure(a, o.preset, tables[a], _overrides(o)) for a in audits}
        conditions = gates(o.fail_if)
        if o.plan:
            _print_plan({a: plan_audit(a, c, o.workers) for a, c in configs.items()})
            return
        with progress(o.quiet) as told:
            request = Request(o.out, o.store, o.workers, o.include_examples, told)
            if len(audits) == 1:
                results = {audits[0]: run_audit(audits[0], configs[audits[0]], request)}
            else:
                results = run_both(configs, request)
        for result in results.values():
            show(result, o.quiet)
        if not o.quiet:
            typer.echo(f"report: {o.out / 'report.html'}")
        apply(conditions, list(results.values()))


def _file(o: Any, audit: str) -> dict[str, Any]:
    """The keys of --config, which is a file of this audit; none where no file is given."""
    from undertow.config import of_audit
    from undertow.storage.files import read_toml

    return of_audit(read_toml(o.config), audit, o.config) if o.config else {}


def _tables(o: Any, audits: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """The same for a file that holds a table of each audit."""
    from undertow.config import of_audit
    from undertow.storage.files import read_toml
    from undertow.workflows.audit import split_tables

    found = split_tables(read_toml(o.config) if o.config else {})
    return {audit: of_audit(found[audit], audit, o.config) for audit in audits}


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
    from undertow.audits.membership.presets import listing

    for audit in audits:
        for line in listing(audit):
            typer.echo(line)


def _print_plan(plans: dict[str, Any]) -> None:
    for audit, plan in plans.items():
        typer.echo(
            f"{audit}: {plan.models} models ({', '.join(plan.engines)}), about {_duration(plan.seconds)}, "
            f"{plan.disk / 1e6:.0f} MB on disk"
        )
        for note in plan.notes:
            typer.echo(f"  {note}")


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
