"""undertow audit: one command for each audit of the table, and mia with tmi where none is named."""

from typing import Any

import typer
import typer.core

from undertow.cli import one_model as one
from undertow.cli import options as opt
from undertow.cli import own
from undertow.cli.commands import Door, changes_of, command, finish, request_of
from undertow.cli.lm import lm
from undertow.cli.options import RUN, Options
from undertow.cli.screen import errors, gates, progress
from undertow.cli.suspect import SUSPECT
from undertow.workflows.audits import AUDITS as REGISTERED
from undertow.workflows.audits import audit_named, names


class _Audits(typer.core.TyperGroup):
    """The built-in audits and, only where they are asked for, those of plugins."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [*names(), *(name for name in REGISTERED if name not in names())]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name in names() or cmd_name not in REGISTERED:
            return super().get_command(ctx, cmd_name)
        alone = typer.Typer(add_completion=False)
        alone.command(cmd_name)(command(REGISTERED[cmd_name]))
        return typer.main.get_command(alone)


audit_app = typer.Typer(
    cls=_Audits, help="Measure what a finetuned model leaks. Alone: mia and tmi on the embedded digits."
)
DOORS = {"mia": (own.TRAINING, one.ONE_MODEL), "tmi": (own.STAGES,), "poisoning": (SUSPECT,)}


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
    with errors():
        _both(Options(**{k: v for k, v in locals().items() if k != "context"}))


def _both(o: Any) -> None:
    """mia and tmi into one run folder."""
    from undertow.storage.files import read_toml
    from undertow.workflows.audit import Given, plan_audit
    from undertow.workflows.leakage import AUDITS, run_both, split_tables

    audits = [audit_named(name) for name in AUDITS]
    if o.list_presets:
        typer.echo("\n".join(line for one_audit in audits for line in one_audit.presets()))
        return
    tables = split_tables(read_toml(o.config) if o.config else {})
    configs = {a: a.configure(Given(o.preset, _table(tables[a.name], a.name, o.config), changes_of(a, o)))
               for a in audits}  # fmt: skip
    conditions = gates(o.fail_if)
    if o.plan:
        typer.echo("\n".join(line for a, config in configs.items() for line in plan_audit(a, config, o.workers)))
        return
    with progress(o.quiet) as reporter:
        results = run_both(configs, request_of(o, reporter))
    finish(list(results.values()), o, conditions)


def _table(table: Any, audit_name: str, file: Any) -> dict[str, Any]:
    from undertow.config import of_audit

    return of_audit(table, audit_name, file)


def _given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


for _name in names():
    _doors: tuple[Door, ...] = DOORS.get(_name, ())
    audit_app.command(_name)(command(audit_named(_name), *_doors))
audit_app.command("lm")(lm)
