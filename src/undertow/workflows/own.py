"""A person's own training from Python: `undertow.audit_mia(train=...)`, `audit_tmi(pretrain=..., finetune=...)`."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from undertow.audits.own.answers import Kind
from undertow.audits.own.game import OwnTraining, Place, Plan, audit_own, planned
from undertow.audits.own.identity import identity
from undertow.audits.own.people import by_person
from undertow.audits.own.pool import Pool, as_pool
from undertow.audits.own.training import check_function, of_function, of_stages
from undertow.engine.executor import Serial
from undertow.engine.forks import Forks
from undertow.storage.run import environment, open_run, open_store
from undertow.storage.store import DiskStore, MemoryStore
from undertow.types import AuditResult, ConfigError, Progress, Store, StoreError


def audit_mia(
    config: Any = None,
    supply: Any = None,
    host: Any = None,
    *,
    train: Callable[..., Any] | None = None,
    records: Any = None,
    shadows: int = 32,
    seed: int = 0,
    out: str | Path | None = None,
    store: str | Path | None = None,
    workers: int = 1,
    groups: Any = None,
    ids: Sequence[Any] | None = None,
    features: Any = None,
    attacks: Sequence[str] = (),
    answers: Kind = "auto",
    batch: int | None = None,
    name: str | None = None,
    drop_duplicates: bool = False,
    progress: Progress | None = None,
) -> AuditResult:
    """Membership inference against your own training, or (config, supply, host) against models that Undertow trains.

    train(records, seed) -> predict is run on `shadows` random halves of `records`, in complementary pairs; records
    are `Examples` (len, .x, .y), and predict(x) answers (n, classes) probabilities or logits, or, where there are no
    labels or answers="scores", (n,) numbers (higher = member). Any framework; tensors, tables and lists are unwrapped.

    records: (x, y), {"x": x, "y": y}, `Examples`, or x alone. groups: records of one value (one person) are members
    together. out: a folder for result, report and the answers; the same call again resumes. store: keeps the answers
    elsewhere. workers: that many copies of this process (fork). batch: so many records are asked about at once.
    features: numbers that describe the records, for the blind guess; default x. name: names the training where its
    code cannot be read. Raises ConfigError, BadInput, TrainingFailed (caused by the user's error), StoreError or
    WorkerDied: the answers that were finished are kept.
    """
    if train is None:
        if config is None or supply is None or host is None:
            raise ConfigError("audit_mia needs train= and records= (your own training), or (config, supply, host)")
        from undertow.audits.membership.mia import audit_mia as with_ours

        return with_ours(config, supply, host)
    if config is not None or supply is not None or host is not None:
        raise ConfigError("audit_mia: give train= with records=, or (config, supply, host), not both")
    plan = Plan("mia", shadows, seed, tuple(attacks), answers, batch)
    pool = as_pool(records, ids=ids, groups=groups, features=features, drop_duplicates=drop_duplicates)
    training = of_train(train, pool, plan, name)
    return run_own(training, pool, plan, out=out, store=store, workers=workers, progress=progress)


def audit_tmi(
    config: Any = None,
    supply: Any = None,
    host: Any = None,
    *,
    pretrain: Callable[..., Any] | None = None,
    finetune: Callable[..., Any] | None = None,
    records: Any = None,
    shadows: int = 32,
    seed: int = 0,
    out: str | Path | None = None,
    store: str | Path | None = None,
    workers: int = 1,
    groups: Any = None,
    ids: Sequence[Any] | None = None,
    features: Any = None,
    attacks: Sequence[str] = (),
    answers: Kind = "auto",
    batch: int | None = None,
    name: str | None = None,
    drop_duplicates: bool = False,
    progress: Progress | None = None,
) -> AuditResult:
    """Membership in the pretraining data through the finetuned model, of your own two stages (or of Undertow's).

    pretrain(records, seed) -> model is run on random halves of `records`, the pretraining data; finetune(model, seed)
    -> predict finetunes it on data of your own choice and returns predict(x), which is asked about the pretraining
    records. The model may be anything; it is not kept. Everything else is as in `audit_mia`.
    """
    if pretrain is None and finetune is None:
        if config is None or supply is None or host is None:
            raise ConfigError("audit_tmi needs pretrain=, finetune= and records=, or (config, supply, host)")
        from undertow.audits.membership.tmi import audit_tmi as with_ours

        return with_ours(config, supply, host)
    if config is not None or supply is not None or host is not None:
        raise ConfigError("audit_tmi: give pretrain= and finetune= with records=, or (config, supply, host), not both")
    check_function(pretrain, "pretrain", returns="model")
    check_function(finetune, "finetune", "model")
    plan = Plan("tmi", shadows, seed, tuple(attacks), answers, batch)
    pool = as_pool(records, ids=ids, groups=groups, features=features, drop_duplicates=drop_duplicates)
    training = of_both(pretrain, finetune, pool, plan, name)
    return run_own(training, pool, plan, out=out, store=store, workers=workers, progress=progress)


def of_both(pretrain: Any, finetune: Any, pool: Pool, plan: Plan, name: str | None) -> OwnTraining:
    """The training that two stages are."""
    check_function(pretrain, "pretrain", returns="model")
    check_function(finetune, "finetune", "model")
    answer = of_stages(pretrain, finetune, pool, plan.answers, plan.batch)
    both = f"{called(pretrain)}, then {called(finetune)}"
    return OwnTraining(answer, identity((pretrain, finetune), name), name or both)


def of_train(train: Callable[..., Any], pool: Pool, plan: Plan, name: str | None, place: str = "") -> OwnTraining:
    """The training that a function is; `place` is where the user says it stands."""
    check_function(train)
    answer = of_function(train, pool, plan.answers, plan.batch)
    return OwnTraining(answer, identity(train, name), name or place or called(train))


def plan_own(training: OwnTraining, pool: Pool, plan: Plan, out: Path, store: Path | None) -> str:
    """What the audit will run, in one sentence; nothing is trained or written."""
    trainings = planned(training, pool, plan)
    there = DiskStore(store or out / "store")
    have = sum(there.has(t.key) for t in trainings)
    sizes = sorted({len(t.rows) for t in trainings})
    each = str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    return (
        f"{plan.audit}: {len(trainings)} runs of {training.called}, each on {each} of {len(pool)} records; {have} "
        f"answers are in the store, so {len(trainings) - have} are to be run. How long one takes is for your training "
        "to say."
    )


def run_own(
    training: OwnTraining,
    pool: Pool,
    plan: Plan,
    *,
    out: str | Path | None = None,
    store: str | Path | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> AuditResult:
    """Run the audit; with `out`, write result.json, scores.npz, records.csv and report.html there."""
    executor = Serial() if workers == 1 else Forks(workers)
    folder = None if out is None else Path(out)
    if folder is not None:
        open_run(folder, plan.audit)
        _refuse_another(folder, training, pool, plan)
    with store_of(folder, None if store is None else Path(store), workers) as kept:
        seen = {**environment(), "workers": workers}
        result = audit_own(training, pool, plan, Place(kept, executor, seen, progress))
    if folder is not None:
        from undertow.storage.results import save_people, save_result
        from undertow.workflows.audit import write_report

        save_result(result, folder)
        if pool.groups is not None:
            save_people([by_person(s, pool.people) for s in result.scores], folder)
        write_report(result, folder)
    return result


def called(train: Any) -> str:
    """What a function is called, for people."""
    while isinstance(train, partial):
        train = train.func
    own = getattr(train, "__qualname__", type(train).__qualname__).replace("<locals>.", "")
    module = getattr(train, "__module__", None)
    return own if module in (None, "__main__") else f"{module}.{own}"


@contextmanager
def store_of(out: Path | None, store: Path | None, workers: int) -> Iterator[Store]:
    """Where the answers are kept: a folder, or memory; several processes need a folder, if only for a while."""
    folder = store or (None if out is None else out / "store")
    if folder is not None:
        yield open_store(folder)
    elif workers == 1:
        yield MemoryStore()
    else:
        with tempfile.TemporaryDirectory(prefix="undertow-") as scratch:
            yield open_store(Path(scratch))


def _refuse_another(out: Path, training: OwnTraining, pool: Pool, plan: Plan) -> None:
    """StoreError where `out` holds the finished result of another audit: what decides the result must agree."""
    if not (out / "result.json").is_file():
        return
    from undertow.audits.own.game import OWN
    from undertow.storage.results import load_result

    old = load_result(out)
    of = old.environment.get(OWN, {})
    pairs = {
        "train": (of.get("identity"), training.who.digest),
        "records": (old.data.get("sha256", {}).get("audited"), pool.sha),
        "shadows": (old.config.get("shadows"), plan.shadows),
        "seed": (old.seed, plan.seed),
        "attacks": (tuple(old.config.get("attacks", ())), plan.attacks),
        "answers": (old.config.get("answers"), plan.answers),
    }
    differ = [key for key, (before, now) in pairs.items() if before != now]
    if differ:
        raise StoreError(
            f"{out} holds the finished result of another audit: {', '.join(differ)} differ{'s' * (len(differ) == 1)}; "
            "choose another out (--out), or the same settings; to use its answers again, store (--store) names "
            f"{out / 'store'}"
        )
