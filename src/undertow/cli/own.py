"""`undertow audit mia --train` and `--train-cmd`: the user's own training, run on random halves of their records."""

from typing import Annotated, Any

import typer

from undertow.cli.screen import apply, errors, gates, progress, show
from undertow.types import ConfigError

Train = Annotated[str | None, typer.Option("--train", help="Audit your own training: my_script.py:train.")]
TrainCommand = Annotated[
    str | None, typer.Option("--train-cmd", help="The same as a command with {rows}, {out} and {seed}.")
]
Answers = Annotated[
    str | None, typer.Option("--answers", help="classes, or scores: one number per record, higher = member.")
]
Name = Annotated[str | None, typer.Option("--name", help="Names your training where its code cannot be read.")]

OWN = ("answers", "name")
OTHERS = ("preset", "config", "list_presets")
SHADOWS = 32


def own_training(o: Any) -> bool:
    """Audit the training of the options and return True; False where they name none."""
    with errors():
        if o.train is None and o.train_cmd is None:
            alone = next((name for name in OWN if getattr(o, name) is not None), None)
            if alone is not None:
                raise ConfigError(f"--{alone} goes with --train or --train-cmd, your own training")
            return False
        _run(o)
    return True


def _run(o: Any) -> None:
    from undertow.audits.own.mia import OwnTraining, Plan
    from undertow.workflows.own import plan_own, run_own

    other = next((name for name in OTHERS if getattr(o, name)), None)
    if other is not None:
        raise ConfigError(f"--{other.replace('_', '-')} is for trainings of Undertow; it does not go with --train")
    if o.train is not None and o.train_cmd is not None:
        raise ConfigError("--train and --train-cmd: give one of them")
    conditions = gates(o.fail_if)
    plan = Plan(o.shadows if o.shadows is not None else SHADOWS, o.seed or 0, answers=o.answers or "auto")
    training, pool = _training(o, plan)
    assert isinstance(training, OwnTraining)
    if o.plan:
        typer.echo(plan_own(training, pool, plan, o.out, o.store))
        return
    with progress(o.quiet) as told:
        result = run_own(training, pool, plan, out=o.out, store=o.store, workers=o.workers, progress=told)
    show(result, o.quiet)
    if not o.quiet:
        typer.echo(f"report: {o.out / 'report.html'}")
    apply(conditions, [result])


def _training(o: Any, plan: Any) -> Any:
    from undertow.audits.own.mia import OwnTraining
    from undertow.workflows.own import of_train
    from undertow.workflows.own_script import load_function, load_pool

    data = None if o.data is None else str(o.data)
    if o.train is not None:
        train = load_function(o.train, "--train")
        pool = load_pool(data, o.drop_duplicates)
        return of_train(train, pool, plan, o.name, o.train), pool
    from undertow.workflows.own_command import Command, identity_of

    who = identity_of(o.train_cmd, o.name)
    pool = load_pool(data, o.drop_duplicates)
    return OwnTraining(Command(o.train_cmd, pool, plan.answers), who, o.name or o.train_cmd), pool
