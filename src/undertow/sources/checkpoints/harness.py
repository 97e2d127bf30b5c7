"""Standard benchmarks of a checkpoint folder, by EleutherAI's lm-evaluation-harness (extra `lm-eval`)."""

from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

from undertow.types import BadInput, ConfigError, Measurement, MissingExtra

ATTACK = "harness"  # of the rows
SPREAD = 1.96  # standard errors of a 95 % interval


def check_harness(tasks: Sequence[str], kind: str) -> None:
    """Refuse, before anything is trained, what could not be run at its end: MissingExtra, ConfigError."""
    if not tasks:
        return
    if kind != "causal-lm":
        raise ConfigError(f"benchmarks = {list(tasks)} are for language models; model.kind is {kind!r}")
    if find_spec("lm_eval") is None:
        raise MissingExtra("lm-evaluation-harness (lm_eval)", "lm-eval")
    for task in tasks:
        if task.endswith(".yaml") and not Path(task).is_file():
            raise ConfigError(f"benchmarks: {task}: no such file")


def benchmarked(folder: Path, arm: str, tasks: Sequence[str]) -> list[Measurement]:
    """One row per task and metric of the causal language model in `folder`, intervals by the harness's errors.

    A task is a name the harness knows (its data comes from the hub) or a .yaml file of one's own, called as the
    task in it. BadInput where the harness cannot run it.
    """
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager
    from torch.cuda import is_available

    own = sorted({str(Path(task).resolve().parent) for task in tasks if task.endswith(".yaml")})
    asked = [Path(task).stem if task.endswith(".yaml") else task for task in tasks]
    model = {"pretrained": str(folder), "dtype": "float32"}
    device = "cuda" if is_available() else "cpu"
    try:
        with redirect_stdout(StringIO()):
            known = TaskManager(include_path=own or None)
            found = simple_evaluate(model="hf", model_args=model, tasks=asked, task_manager=known, device=device)
    except Exception as error:  # of the harness, of datasets, of the hub
        said = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise BadInput(f"lm-evaluation-harness could not run {', '.join(tasks)} on {folder}: {said}") from error
    return harness_rows(found or {}, arm)


def harness_rows(found: Mapping[str, Any], arm: str) -> list[Measurement]:
    """The numbers of a result of the harness: its keys are "metric,filter", errors "metric_stderr,filter"."""
    rows = []
    for task, numbers in found.get("results", {}).items():
        n = int(found.get("n-samples", {}).get(task, {}).get("effective", 0))
        for key, value in numbers.items():
            metric, comma, how = key.partition(",")
            if not comma or metric.endswith("_stderr") or not isinstance(value, int | float):
                continue
            error = numbers.get(f"{metric}_stderr,{how}")
            reach = SPREAD * error if isinstance(error, int | float) else None
            low, high = (None, None) if reach is None else (value - reach, value + reach)
            name = f"{task}: {metric}"
            rows.append(Measurement(ATTACK, name, float(value), low, high, n, "documents", group=arm, when="before"))
    return rows
