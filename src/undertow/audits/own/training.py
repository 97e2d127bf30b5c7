"""Run somebody's training on random halves of the records, and keep what each model answers.

    train(records, seed) -> predict        records: Examples, a half of the pool; predict(x) -> answers to all records

The answers are kept, not the models: after any interruption what was finished is not trained again.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from undertow.audits.own.answers import Kind, checked, unwrapped
from undertow.audits.own.identity import Identity
from undertow.audits.own.pool import Pool
from undertow.engine.key import digest, fingerprint
from undertow.types import Array, AuditError, BadInput, ConfigError, Executor, Progress, Store, TrainingFailed

VERSION = 1  # of what is kept; raised when the same training would leave other answers
ARRAY = "answers"


@dataclass(frozen=True, eq=False)
class Training:
    """One run of the user's training."""

    number: int
    seed: int
    rows: Array  # (n,) int, the records it is trained on, ascending
    key: str  # of its answers in the store


Answer = Callable[[Training], Array]


@dataclass(frozen=True, eq=False)
class Answers:
    """What all models answered: (M, N, C) or (M, N), and how many came out of the store."""

    values: Array
    taken: int
    made: int


def dealt(member: Array, seeds: Sequence[int], pool: Pool, who: Identity, batch: int | None = None) -> list[Training]:
    """The trainings of a design (M, N): whatever decides the answers is in the key."""
    common = digest(["own", VERSION, who.digest, pool.sha, batch])
    return [
        Training(i, seed, np.flatnonzero(row), digest([common, fingerprint(row), seed]))
        for i, (row, seed) in enumerate(zip(member, seeds, strict=True))
    ]


def of_function(train: Callable[..., Any], pool: Pool, kind: Kind, batch: int | None) -> Answer:
    """How one training is run where `train` is a function of Python."""
    return partial(_call, train, pool, kind, batch)


def of_stages(
    pretrain: Callable[..., Any], finetune: Callable[..., Any], pool: Pool, kind: Kind, batch: int | None
) -> Answer:
    """How both stages are run: pretrain(records, seed) -> model, finetune(model, seed) -> predict.

    The classes that `predict` answers are those of finetuning: they say nothing of the labels of the records.
    """
    return partial(_call, _Stages(pretrain, finetune), replace(pool, labelled=False), kind, batch)


def run_all(
    trainings: Sequence[Training], answer: Answer, store: Store, executor: Executor, progress: Progress | None = None
) -> Answers:
    """Every training that the store has no answers of; TrainingFailed or BadInput names the first that failed."""
    missing = [t for t in trainings if not store.has(t.key)]
    taken, done = len(trainings) - len(missing), len(trainings) - len(missing)
    if progress:
        progress("train", done, len(trainings))
    for _ in executor.map(partial(_run, answer, store), missing):
        done += 1
        if progress:
            progress("train", done, len(trainings))
    found = [store.get(t.key)[ARRAY] for t in trainings]
    shapes = [a.shape[1:] for a in found]
    odd = next((i for i, shape in enumerate(shapes) if shape != shapes[0]), None)
    if odd is not None:
        raise BadInput(
            f"training {odd} answered shape {found[odd].shape}, training 0 shape {found[0].shape}; every model must "
            "answer the same classes"
        )
    return Answers(np.stack(found), taken, len(missing))


def check_function(train: Any, name: str = "train", first: str = "records", returns: str = "predict") -> None:
    """ConfigError unless `train` can be called as train(records, seed); `name` and `first` are what it is called."""
    if not callable(train):
        raise ConfigError(f"{name} is a {type(train).__name__}; give a function {name}({first}, seed) -> {returns}")
    try:
        signature = inspect.signature(train)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(None, 0)
    except TypeError as error:
        raise ConfigError(
            f"{name}{signature} cannot be called as {name}({first}, seed): {error}; seed is a whole number"
        ) from error
    if inspect.iscoroutinefunction(train) or inspect.isgeneratorfunction(train):
        raise ConfigError(f"{name} is a coroutine or a generator; give a function that returns {returns}")


@dataclass(frozen=True, eq=False)
class _Stages:
    """Pretraining and finetuning as one training."""

    pretrain: Callable[..., Any]
    finetune: Callable[..., Any]

    def __call__(self, records: Any, seed: int) -> Any:
        model = self.pretrain(records, seed)
        if model is None:
            raise BadInput("pretrain returned nothing (None); it must return the model that finetune starts from")
        return self.finetune(model, seed)


def _run(answer: Answer, store: Store, training: Training) -> int:
    """One training, its answers stored; 1. Whatever the user's code raises is TrainingFailed, caused by it."""
    place = f"training {training.number} (seed {training.seed}, {len(training.rows)} records)"
    try:
        found = answer(training)
    except BadInput as error:
        raise BadInput(f"{place}: {error}") from error
    except AuditError:
        raise
    except (Exception, SystemExit) as error:
        said = " ".join(f"{type(error).__name__}: {error}".split())
        raise TrainingFailed(f"{place} failed: {said}; the answers finished before are kept") from error
    store.put(training.key, {ARRAY: found})
    return 1


def _call(train: Callable[..., Any], pool: Pool, kind: Kind, batch: int | None, training: Training) -> Array:
    predict = train(pool.examples.take(training.rows), training.seed)
    if not callable(predict):
        fix = _instead(predict)
        name = "finetune" if isinstance(train, _Stages) else "train"
        raise BadInput(f"{name} returned {_kind(predict)}; it must return predict, a function of x{fix}")
    x = pool.examples.x
    if batch is None:
        answer = predict(x.copy())
    else:
        parts = [_part(predict(x[i : i + batch].copy()), len(x[i : i + batch])) for i in range(0, len(x), batch)]
        answer = np.concatenate(parts)
    return checked(answer, pool, kind, getattr(getattr(predict, "__self__", None), "classes_", None))


def _part(answer: Any, count: int) -> Array:
    """The answers to one batch as an array of `count` rows; BadInput otherwise."""
    found = unwrapped(answer, count)
    if found.ndim == 0 or len(found) != count:
        raise BadInput(f"predict answered shape {found.shape} for a batch of {count} records; one row for each")
    return found


def _kind(value: Any) -> str:
    return "nothing (None)" if value is None else f"a {type(value).__name__}"


def _instead(value: Any) -> str:
    """What a fitted model offers in place of being one's predict."""
    for name in ("predict_proba", "decision_function", "predict"):
        if callable(getattr(value, name, None)):
            return f", such as model.{name}"
    return ", such as model.predict_proba"
