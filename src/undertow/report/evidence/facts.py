"""The facts beside the tests: data, size of the training, privacy, measures; stated or not, never blank."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from undertow.audits.finished_run import FinishedRun
from undertow.report.evidence.readings import LEAKAGE
from undertow.types import ConfigError, setting


@dataclass(frozen=True)
class Context:
    """What only the owner of the model knows; every field may be left out, and is then listed as not stated."""

    subject: str = setting("", "Name and version of the model that is released.")
    by: str = setting("", "Person or team that ran the audits and answers for them.")
    context: str = setting("", "Release context: who gets the model, and with which access.")
    attacker: str = setting("", "The adversary that is realistic for this release.")
    parameters: int = setting(0, "Number of the model's parameters; 0 counts them in --model where it is given.")
    records: int = setting(0, "Number of training records of the released model; 0 leaves it unstated.")
    epochs: int = setting(0, "Number of epochs it was trained for; 0 leaves it unstated.")
    duplicates: str = setting("", "How many records occur more than once, and how that was found.")
    dp_unit: str = setting("", "Unit of privacy of a differentially private training: record, person or another.")
    dp_adjacency: str = setting("", "Neighbouring data sets: one record added or removed, or one replaced.")
    mitigations: tuple[str, ...] = setting((), "Measures that were taken against leakage.")
    test_again: str = setting("", "When the model is to be tested again.")
    notes: str = setting("", "Anything else that a reader must know.")

    def __post_init__(self) -> None:
        for name in ("parameters", "records", "epochs"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} = {getattr(self, name)}: it must be 0 (not stated) or more")


@dataclass(frozen=True)
class Made:
    """When and with what a pack was made, and the files of the model it is about."""

    date: str  # ISO 8601, UTC
    tool: Mapping[str, str]
    files: tuple[Mapping[str, Any], ...] = ()  # of the model: path, sha256
    parameters: int = 0  # counted in those files


def stated(value: Any, option: str) -> dict[str, Any]:
    """A value that somebody states, or that it was not stated and how to state it."""
    return {"value": value, "reason": ""} if value else {"value": None, "reason": f"not stated; give {option}"}


def known(value: Any, source: str) -> dict[str, Any]:
    """A value that was found, and where; without one, why."""
    return {"value": value, "reason": source}


def data(runs: Sequence[FinishedRun]) -> list[dict[str, Any]]:
    """Every set of records the runs were on, with its hashes."""
    found: list[dict[str, Any]] = []
    for run in runs:
        if run.result is None:
            continue
        held = run.result.data
        sha = held.get("sha256", {})
        entry = {
            "name": str(held.get("name", "not named")),
            "sizes": dict(held.get("sizes", {})),
            "sha256": dict(sha) if isinstance(sha, Mapping) else {"records": str(sha)},
            "runs": [run.name],
        }
        same = next((e for e in found if (e["name"], e["sha256"]) == (entry["name"], entry["sha256"])), None)
        if same is None:
            found.append(entry)
        else:
            same["runs"].append(run.name)
    return found


def training(runs: Sequence[FinishedRun], context: Context, made: Made) -> dict[str, Any]:
    """Records, parameters, their ratio, epochs and duplicates; each stated, found, or said to be neither."""
    parameters = context.parameters or made.parameters
    how = "" if context.parameters else "counted in the files of --model"
    counted = known(parameters, how) if parameters else stated(0, "--model, or parameters = ... in --details")
    records = stated(context.records, "records = ... in --details")
    ratio = context.records / parameters if context.records and parameters else None
    needs = "needs the numbers of records and of parameters"
    epochs = stated(context.epochs, "epochs = ... in --details")
    return {
        "parameters": counted,
        "records": records,
        "records_per_parameter": known(ratio, "" if ratio is not None else needs),
        "epochs": epochs,
        "duplicates": _duplicates(runs, context),
        "audited": [_audited(run) for run in runs if run.result is not None],
    }


def _audited(run: FinishedRun) -> dict[str, Any]:
    """Sizes and epochs of what a run trained, which need not be the released training."""
    result = run.result
    assert result is not None
    config = result.config
    epochs = {
        stage: table["epochs"]
        for stage in ("pretrain", "finetune")
        if isinstance(table := config.get(stage), Mapping) and "epochs" in table
    }
    return {"run": run.name, "epochs": epochs, "sizes": dict(result.data.get("sizes", {}))}


def _duplicates(runs: Sequence[FinishedRun], context: Context) -> dict[str, Any]:
    if context.duplicates:
        return known(context.duplicates, "")
    checked = [
        run.name
        for run in runs
        if run.result is not None and run.audit in ("mia", "tmi") and "data" in run.result.config
    ]
    if not checked:
        return stated("", "duplicates = ... in --details")
    return known(
        "no exact duplicates among the audited records",
        f"an audit of records refuses or removes those that occur twice ({', '.join(checked)}); near duplicates were "
        "not looked for",
    )


def privacy(runs: Sequence[FinishedRun], context: Context) -> dict[str, Any]:
    """What was promised, over which unit, by which accountant; and which runs tested it."""
    claims = []
    for run in runs:
        said = run.result.environment.get("privacy") if run.result is not None else None
        if isinstance(said, Mapping):
            default = "privacy loss distributions (PLD)" if run.audit == "dp" else "not stated by the run"
            claims.append(
                {
                    "run": run.name,
                    "epsilon": said.get("epsilon"),
                    "delta": said.get("delta"),
                    "noise_multiplier": said.get("multiplier"),
                    "clip": said.get("clip"),
                    "sampling_rate": said.get("rate"),
                    "steps": said.get("steps"),
                    "accountant": str(said.get("accountant", default)),
                }
            )
    if not claims and not (context.dp_unit or context.dp_adjacency):
        return {"value": None, "reason": "no run claims differential privacy, and none was stated", "claims": []}
    return {
        "value": "stated" if context.dp_unit and context.dp_adjacency else "partly stated",
        "reason": "",
        "unit": stated(context.dp_unit, "dp_unit in --details (Undertow's own runs: one record)"),
        "adjacency": stated(
            context.dp_adjacency, "dp_adjacency in --details (Undertow's own runs: with or without one)"
        ),
        "claims": claims,
    }


def mitigations(run: FinishedRun) -> Iterator[str]:
    """Measures that the configuration of a run names; they were in force in that run."""
    if run.result is None or run.audit not in LEAKAGE:
        return
    config, finetune = run.result.config, run.result.config.get("finetune", {})
    privacy = run.result.environment.get("privacy")
    if isinstance(privacy, Mapping):
        yield f"DP-SGD, epsilon {privacy.get('epsilon'):.3g} at delta {privacy.get('delta'):g} (in run {run.name})"
    if isinstance(finetune, Mapping) and finetune.get("weight_decay"):
        yield f"weight decay {finetune['weight_decay']:g} (in run {run.name})"
    if config.get("strategy") == "lora":
        yield f"LoRA of rank {config.get('lora_rank')} (in run {run.name})"
