"""A person's own finetuning from a suspect base and from a trusted one: `undertow.audit_poisoning(finetune=...)`."""

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from undertow.audits.own.answers import Kind
from undertow.audits.own.game import OwnTraining, Place, Plan
from undertow.audits.own.identity import identity
from undertow.audits.own.poisoning import OwnFinetuning, audit_own_poisoning
from undertow.audits.own.pool import Pool, as_pool
from undertow.audits.own.training import check_function, of_function
from undertow.engine.executor import Serial
from undertow.engine.forks import Forks
from undertow.storage.results import save_result
from undertow.storage.run import environment, open_run
from undertow.types import Array, AuditResult, BadInput, Progress
from undertow.workflows.audit import need_torch, write_report
from undertow.workflows.own import called, store_of


def audit_poisoning(
    *,
    finetune: Callable[..., Any],
    suspect: Any,
    reference: Any,
    records: Any,
    look_alikes: Any = None,
    shadows: int = 16,
    seed: int = 0,
    out: str | Path | None = None,
    store: str | Path | None = None,
    workers: int = 1,
    answers: Kind = "auto",
    batch: int | None = None,
    name: str | None = None,
    progress: Progress | None = None,
) -> AuditResult:
    """Does `suspect` make your finetuning leak more than `reference`? The membership game from both bases.

    finetune(base, records, seed) -> predict is run `shadows` times from each, on the same halves and seeds; `base` is
    what was given as `suspect` and `reference`: a path, a model, anything. `look_alikes` are records like yours that
    nobody can have targeted, in the form of `records`. The rest is as in `audit_mia`. The verdict is suspicious or
    unknown: other tests ask the checkpoint itself (`undertow audit poisoning --checkpoint`).
    """
    need_torch()
    check_function(partial(finetune, None) if callable(finetune) else finetune, "finetune", "base, records")
    plan = Plan("mia", shadows, seed, answers=answers, batch=batch)
    pool, targeted = _with_look_alikes(records, look_alikes)
    arms = {}
    for arm, base in (("reference", reference), ("suspect", suspect)):
        who = identity((finetune, base, of_files(base)), name)
        arms[arm] = OwnTraining(of_function(partial(finetune, base), pool, answers, batch), who, called(finetune))
    folder, executor = None if out is None else Path(out), Serial() if workers == 1 else Forks(workers)
    if folder is not None:
        open_run(folder, "poisoning")
    with store_of(folder, None if store is None else Path(store), workers) as kept:
        place = Place(kept, executor, {**environment(), "workers": workers}, progress)
        result = audit_own_poisoning(OwnFinetuning(arms, called(finetune)), pool, targeted, plan, place)
    if folder is not None:
        save_result(result, folder)
        write_report(result, folder)
    return result


def _with_look_alikes(records: Any, look_alikes: Any) -> tuple[Pool, Array]:
    """One pool of both, and which of it are the user's records."""
    own = as_pool(records)
    if look_alikes is None:
        return own, np.ones(len(own), bool)
    x, y = (look_alikes.x, look_alikes.y) if hasattr(look_alikes, "x") else (look_alikes, None)
    if isinstance(look_alikes, tuple) and len(look_alikes) == 2:
        x, y = look_alikes
    mine = (
        (records.x, records.y) if hasattr(records, "x") else records if isinstance(records, tuple) else (records, None)
    )
    if (y is None) != (mine[1] is None):
        raise BadInput("look_alikes: labels are there for one of records and look_alikes only; give both, or neither")
    whole = np.concatenate([np.asarray(mine[0]), np.asarray(x)])
    labels = None if y is None else np.concatenate([np.asarray(mine[1]), np.asarray(y)])
    names = [f"record {i}" for i in range(len(own))] + [f"look-alike {i}" for i in range(len(whole) - len(own))]
    return as_pool((whole, labels), ids=names), np.arange(len(whole)) < len(own)


def of_files(base: Any) -> dict[str, str]:
    """Checksums of the files that a base is, where it is given as the path of a file or folder."""
    if not isinstance(base, str | Path) or not Path(base).exists():
        return {}
    root = Path(base)
    files = sorted(p for p in root.rglob("*") if p.is_file()) if root.is_dir() else [root]
    found = {}
    for path in files:
        with path.open("rb") as file:
            found[str(path.relative_to(root))] = hashlib.file_digest(file, "sha256").hexdigest()
    return found
