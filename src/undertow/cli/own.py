"""`undertow audit mia --train` and `--train-cmd`: the user's own training, run on random halves of their records."""

from typing import Annotated, Any, Literal

import typer

from undertow.cli.commands import Door, finish
from undertow.cli.screen import errors, gates, progress
from undertow.types import ConfigError

Train = Annotated[str | None, typer.Option("--train", help="Audit your own training: my_script.py:train.")]
TrainCommand = Annotated[
    str | None, typer.Option("--train-cmd", help="The same as a command with {rows}, {out} and {seed}.")
]
Pretrain = Annotated[str | None, typer.Option("--pretrain", help="Your own pretraining: my_script.py:pretrain.")]
Finetune = Annotated[str | None, typer.Option("--finetune", help="Your own finetuning: my_script.py:finetune.")]
Answers = Annotated[
    str | None,
    typer.Option("--answers", help="What predict answers: classes, scores (higher = member), or auto (default)."),
]
Name = Annotated[str | None, typer.Option("--name", help="Names your training where its code cannot be read.")]

OWN = ("answers", "name")
OTHERS = ("preset", "config", "list_presets", "include_examples", "model", "members", "nonmembers")
SHADOWS = 32


def own_training(o: Any) -> bool:
    """Audit the training of the options and return True; False where they name none."""
    return _own(o, ("train", "train_cmd"), "mia")


def own_stages(o: Any) -> bool:
    """The same of two stages, pretraining and finetuning."""
    return _own(o, ("pretrain", "finetune"), "tmi")


def _own(o: Any, doors: tuple[str, ...], audit: Literal["mia", "tmi"]) -> bool:
    with errors():
        if all(getattr(o, door) is None for door in doors):
            alone = next((name for name in OWN if getattr(o, name) is not None), None)
            if alone is not None:
                options = " or ".join(f"--{door.replace('_', '-')}" for door in doors)
                raise ConfigError(f"--{alone} goes with {options}, your own training")
            return False
        _run(o, audit)
    return True


def _run(o: Any, audit: Literal["mia", "tmi"]) -> None:
    from undertow.audits.own.game import Plan
    from undertow.workflows.own import plan_own, run_own

    other = next((name for name in OTHERS if getattr(o, name, None)), None)
    if other is not None:
        raise ConfigError(f"--{other.replace('_', '-')} does not go with a training of your own")
    conditions = gates(o.fail_if)
    plan = Plan(audit, o.shadows if o.shadows is not None else SHADOWS, o.seed or 0, answers=o.answers or "auto")
    training, pool = _training(o, plan) if audit == "mia" else _stages(o, plan)
    if o.plan:
        typer.echo(plan_own(training, pool, plan, o.out, o.store))
        return
    with progress(o.quiet) as told:
        result = run_own(training, pool, plan, out=o.out, store=o.store, workers=o.workers, progress=told)
    finish([result], o, conditions)


def _training(o: Any, plan: Any) -> Any:
    from undertow.audits.own.game import OwnTraining
    from undertow.workflows.own import of_train
    from undertow.workflows.own_script import load_function, load_pool

    if o.train is not None and o.train_cmd is not None:
        raise ConfigError("--train and --train-cmd: give one of them")
    data = None if o.data is None else str(o.data)
    if o.train is not None:
        train = load_function(o.train, "--train")
        pool = load_pool(data, o.drop_duplicates)
        return of_train(train, pool, plan, o.name, o.train), pool
    from undertow.workflows.own_command import Command, identity_of

    who = identity_of(o.train_cmd, o.name)
    pool = load_pool(data, o.drop_duplicates)
    return OwnTraining(Command(o.train_cmd, pool, plan.answers), who, o.name or o.train_cmd), pool


def _stages(o: Any, plan: Any) -> Any:
    from undertow.workflows.own import of_both
    from undertow.workflows.own_script import load_function, load_pool

    for name in ("pretrain", "finetune"):
        if getattr(o, name) is None:
            raise ConfigError(f"--{name} is missing: --pretrain and --finetune name your two stages")
    pretrain, finetune = load_function(o.pretrain, "--pretrain"), load_function(o.finetune, "--finetune")
    pool = load_pool(None if o.data is None else str(o.data), o.drop_duplicates)
    return of_both(pretrain, finetune, pool, plan, o.name), pool


TRAINING = Door({"train": Train, "train_cmd": TrainCommand, "answers": Answers, "name": Name}, own_training)
STAGES = Door({"pretrain": Pretrain, "finetune": Finetune, "answers": Answers, "name": Name}, own_stages)
