"""Train the models and write the signals files: what is in them differs as it does between people."""

import csv
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from real.designs import DESIGNS
from real.learners import TASKS, Task, train_all

from undertow.rng import stream
from undertow.types import Array

MANIFEST = "signals.json"
BY_MODEL = ("values", "logits", "probabilities")


@dataclass(frozen=True)
class Plan:
    """One signals file: whose models, how many, how membership was dealt and what was kept."""

    task: str
    models: int
    design: str
    form: str  # a function of FORMS
    people: bool = False  # whole people are members or not, and the file says who is who
    csv: bool = False


PLANS = (
    Plan("breast_cancer", 1, "one", "probabilities"),
    Plan("breast_cancer", 4, "pairs", "log_probabilities"),
    Plan("breast_cancer", 16, "rare", "with_features"),
    Plan("breast_cancer", 64, "pairs", "probabilities"),
    Plan("breast_cancer", 16, "balanced_targets", "probabilities"),
    Plan("wine", 1, "one", "label_probability", csv=True),
    Plan("wine", 4, "folds", "probabilities"),
    Plan("wine", 16, "repeated", "label_probability"),
    Plan("wine", 64, "independent", "label_probability", csv=True),
    Plan("wine", 16, "paired_targets", "probabilities"),
    Plan("fashion", 1, "one", "logits"),
    Plan("fashion", 4, "independent", "logits"),
    Plan("fashion", 16, "held_out", "half_precision"),
    Plan("fashion", 64, "columns", "logits"),
    Plan("omniglot", 1, "one", "logits"),
    Plan("omniglot", 4, "repeated", "logits"),
    Plan("omniglot", 16, "folds", "logits"),
    Plan("omniglot", 64, "held_out", "logits"),
    Plan("omniglot", 16, "independent", "logits", people=True),
    Plan("banking", 1, "one", "with_words"),
    Plan("banking", 4, "columns", "loss"),
    Plan("banking", 16, "pairs", "with_features"),
    Plan("banking", 64, "folds", "logits"),
)


def logits(task: Task, outputs: Array) -> dict[str, Array]:
    """Logits and labels."""
    return {"logits": outputs, "labels": task.y}


def probabilities(task: Task, outputs: Array) -> dict[str, Array]:
    """Probabilities and labels."""
    return {"probabilities": outputs, "labels": task.y}


def log_probabilities(task: Task, outputs: Array) -> dict[str, Array]:
    """Logarithms of probabilities in place of logits, clipped as people do."""
    return {"logits": np.log(np.clip(outputs, 1e-12, 1)), "labels": task.y}


def with_features(task: Task, outputs: Array) -> dict[str, Array]:
    """Also the records, for the blind baseline."""
    kept = log_probabilities if task.scale == "probabilities" else logits
    return {**kept(task, outputs), "features": task.x.reshape(len(task.x), -1)}


def with_words(task: Task, outputs: Array) -> dict[str, Array]:
    """The same, with the names of the classes as labels."""
    return {**with_features(task, outputs), "labels": np.array(task.names)[task.y]}


def half_precision(task: Task, outputs: Array) -> dict[str, Array]:
    """Logits as float16, which makes ties."""
    return {"logits": outputs.astype(np.float16), "labels": task.y}


def label_probability(task: Task, outputs: Array) -> dict[str, Array]:
    """One value: the probability of the label."""
    return {"values": outputs[:, np.arange(len(task.y)), task.y]}


def loss(task: Task, outputs: Array) -> dict[str, Array]:
    """One value: minus the cross-entropy of the label."""
    top = outputs.max(-1, keepdims=True)
    log_p = outputs - top - np.log(np.exp(outputs - top).sum(-1, keepdims=True))
    return {"values": log_p[:, np.arange(len(task.y)), task.y]}


FORMS = {
    form.__name__: form
    for form in (
        *(logits, probabilities, log_probabilities, with_features, with_words),
        *(half_precision, label_probability, loss),
    )
}


def make(out: Path, data: Path, seed: int, nulls: int, only: str = "") -> list[dict[str, object]]:
    """Write the files of every plan whose name holds `only`, and a list of them; returns the list.

    Each file has `nulls` versions in which membership is dealt again by the same design, after training.
    """
    out.mkdir(parents=True, exist_ok=True)
    listed = []
    for plan in PLANS:
        name = f"{plan.task}-{plan.models}-{plan.design}{'-people' * plan.people}"
        if only not in name:
            continue
        task = TASKS[plan.task](data, seed)
        member, targets = dealt(plan, task, stream(seed, "member", name))
        arrays = FORMS[plan.form](task, train_all(task, member, seed, name))
        arrays |= {"group": task.people} if plan.people else {}
        listed.append({"file": write(out, name, plan, member, targets, arrays), "null": False, **asdict(plan)})
        for k in range(nulls):
            again, _ = dealt(plan, task, stream(seed, "null", name, k))
            file = write(out, f"{name}-null{k}", plan, again, targets, arrays)
            listed.append({"file": file, "null": True, **asdict(plan)})
    (out / MANIFEST).write_text(json.dumps(listed, indent=1) + "\n", encoding="utf8")
    return listed


def dealt(plan: Plan, task: Task, rng: np.random.Generator) -> tuple[Array, list[int] | None]:
    """Membership (M, N) and held-out targets; people are dealt as one where the plan says so."""
    if not plan.people or task.people is None:
        return DESIGNS[plan.design](plan.models, len(task.y), rng)
    _, person = np.unique(task.people, return_inverse=True)
    member, targets = DESIGNS[plan.design](plan.models, int(person.max()) + 1, rng)
    return member[:, person], targets


def write(
    out: Path, name: str, plan: Plan, member: Array, targets: list[int] | None, arrays: Mapping[str, Array]
) -> str:
    """One file, npz or csv; returns its name."""
    if plan.csv:
        return write_csv(out / f"{name}.csv", member, arrays["values"])
    held = {} if targets is None else {"target": np.array(targets)}
    if plan.models == 1:
        member, arrays = member[0], {key: value[0] if key in BY_MODEL else value for key, value in arrays.items()}
    np.savez_compressed(out / f"{name}.npz", member=member, **held, **arrays)
    return f"{name}.npz"


def write_csv(file: Path, member: Array, values: Array) -> str:
    """One row per model and record, or per record of one model; returns the file's name."""
    with file.open("w", encoding="utf8", newline="") as lines:
        writer = csv.writer(lines, lineterminator="\n")
        names = ("model", "example") if len(member) > 1 else ()
        writer.writerow((*names, "value", "member"))
        for (m, n), value in np.ndenumerate(values):
            place = (f"run{m}", f"record{n}") if names else ()
            writer.writerow((*place, repr(float(value)), int(member[m, n])))
    return file.name
