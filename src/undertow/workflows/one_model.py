"""What `audit_model` and `undertow audit mia --model` do: open the model and the records, ask, measure, write."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from undertow.audits.membership.answers import BATCH, Given
from undertow.audits.membership.one_model import AUDIT, OneModel, audit_one_model
from undertow.audits.membership.sides import both, side
from undertow.types import AuditResult, BadInput, ConfigError, Progress, StoreError

HUB = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[\w./-]+)?\Z")
PICKLED = (".pkl", ".pickle", ".joblib", ".dill", ".pt", ".pth", ".bin", ".ckpt")
OTHERS = {
    ".safetensors": "weights alone do not say what computes with them: give the folder with config.json",
    ".h5": "a Keras file",
    ".keras": "a Keras file",
    ".tflite": "a TensorFlow Lite file",
    ".ubj": "an XGBoost file",
    ".gguf": "a GGUF file",
}
SCRIPT = (
    "write my.py with a function `def predict(x)` that loads the model as you do and returns (n, classes) "
    "probabilities or logits, and give --model my.py:predict"
)


@dataclass(frozen=True)
class ModelRequest:
    """One model to audit from the shell."""

    model: str
    members: str
    nonmembers: str
    base: str | None = None
    out: Path | None = None
    seed: int = 0
    label: str | None = None  # column of the class
    field: str | None = None  # column of the text
    batch: int | None = None  # records per request or pass (32), per call of a script (1024)
    rate: float = 10.0  # requests per second, at most
    timeout: float = 30.0  # seconds per request
    progress: Progress | None = None

    @property
    def each(self) -> int:
        """Records in one request, or one pass of a network."""
        return self.batch or 32


def audit_model(
    predict: Any,
    members: Any,
    nonmembers: Any,
    *,
    base: Any = None,
    seed: int = 0,
    out: str | Path | None = None,
    features: Any = None,
    groups: Any = None,
    score: Callable[[Any, Any], Any] | None = None,
    batch: int = BATCH,
) -> AuditResult:
    """What the answers of one trained model say of who was in its training data; nothing is trained.

    `predict(x)` gives (n, classes) probabilities or logits, or (n,) scores, higher = member; `undertow.integrations`
    has it for models of several libraries. `members` and `nonmembers`: Examples, (x, y), records alone, or a dataset.
    `base`: as `predict`, of a model that was trained on none of them, for attacks with a reference. Both may be a
    pair of arrays instead: answers for members and for nonmembers. `features`: a pair of arrays that describe the
    records, for the blind guess; by default the records themselves, False for none. `groups`: a pair of arrays, records
    of one person belong together. `score(answers, y)` gives (n,) numbers, higher = member, for what is no classifier.
    `out`: folder for result.json, scores, and report.html.

    The result holds for this model and says nothing about another training run. Raises BadInput in one line.
    """
    known = None if features is False else features
    joined = both(members, nonmembers, known, groups)
    one = OneModel(
        predict=_given(predict, "predict"),
        both=joined,
        base=None if base is None else _given(base, "base"),
        score=score,
        features=features is not False,
        batch=batch,
        environment=_environment(),
    )
    result = audit_one_model(one, seed)
    if out is not None:
        write_one(result, Path(out))
    return result


def run_model(request: ModelRequest) -> AuditResult:
    """Audit the model of a request; with `out`, write the result and keep the answers of a served model there."""
    joined = _records(request)
    model = open_model(request.model, request, "--model")
    base = None if request.base is None else open_model(request.base, request, "--base")
    if request.out is not None:
        _keep_answers(request.out, model, base)
    name = f"{Path(request.members).name} (members), {Path(request.nonmembers).name} (nonmembers)"
    one = OneModel(model, joined, base, None, True, request.batch or BATCH, name, _environment())
    result = audit_one_model(one, request.seed, request.progress)
    if request.out is not None:
        write_one(result, request.out)
    return result


def plan_model(request: ModelRequest) -> str:
    """What the audit will ask, in a sentence; nothing is asked and nothing written."""
    joined = _records(request)
    count, models = len(joined.member), 1 + (request.base is not None)
    asked = f"{count:,} records are asked about, {models} model{'s' * (models > 1)}; nothing is trained"
    served = sum(_address(spec) for spec in (request.model, request.base or ""))
    if not served:
        return asked
    requests = served * -(-count // request.each)
    return f"{asked}; {requests:,} requests of {request.each} records, at least {requests / request.rate:.0f} s"


def open_model(spec: str, request: ModelRequest, option: str) -> Any:
    """`predict` of whatever `spec` names; checkpoints are scanned before they are loaded. BadInput in one line."""
    from undertow.integrations import model_files as files

    path = Path(spec)
    if _address(spec):
        return _served(spec, request)
    if re.search(r"\.py(:\w*)?\Z", spec):
        return files.from_script(spec if ":" in spec[-40:] and not spec.endswith(".py") else f"{spec}:predict")
    suffix = path.suffix.lower()
    if path.is_dir():
        return files.from_folder(_safe(spec), path.name, request.each)
    if path.is_file():
        if suffix == ".onnx":
            return files.from_onnx(_safe_graph(spec))
        if suffix == ".npz":
            return files.from_answers(path)
        if suffix in PICKLED:
            raise BadInput(
                f"{option} {spec}: such files hold Python pickles, which run code and are never loaded; {SCRIPT}"
            )
        what = OTHERS.get(suffix, f"{suffix or 'a file without suffix'} is not read")
        raise BadInput(f"{option} {spec}: {what}; {SCRIPT}")
    if not HUB.match(spec) or suffix in (*PICKLED, *OTHERS, ".onnx", ".npz"):
        raise BadInput(f"{option} {spec}: no such file or folder")
    from undertow.opening.hub import fetched
    from undertow.opening.opened import Limits

    found = fetched(spec, Limits())
    return files.from_folder(_safe(str(found.folder)), f"{found.repository}@{found.commit[:12]}", request.each)


def _given(model: Any, name: str) -> Any:
    """A callable as it is; a pair of arrays as answers."""
    if callable(model) or isinstance(model, Given):
        return model
    if isinstance(model, tuple | list) and len(model) == 2:
        try:
            parts = [np.asarray(part, float) for part in model]
            return Given(np.concatenate(parts), "answers that were given")
        except (ValueError, TypeError) as error:
            raise BadInput(
                f"{name}: a pair of arrays must be answers for members and for nonmembers ({error})"
            ) from error
    for library in ("sklearn", "torch", "keras", "xgboost", "lightgbm"):
        if type(model).__module__.startswith(library):
            raise BadInput(f"{name} is a {type(model).__name__}; give undertow.integrations.from_{library}(model)")
    raise BadInput(f"{name} is {type(model).__name__}; give a function predict(x) (undertow.integrations has some)")


def _records(request: ModelRequest) -> Any:
    from undertow.sources.records.one_side import read_side

    parts = []
    for option, path in (("--members", request.members), ("--nonmembers", request.nonmembers)):
        if not path:
            raise ConfigError(f"--model needs {option}: a file or folder with records")
        parts.append(side(read_side(path, option, request.label, request.field), option))
    return both(*parts)


def _served(spec: str, request: ModelRequest) -> Any:
    from undertow.integrations.served import Asking, from_url

    return from_url(spec, Asking(request.each, request.rate, request.timeout))


def _keep_answers(out: Path, *models: Any) -> None:
    """Open the run folder, once everything else could be opened; what addresses answer is kept there."""
    from undertow.integrations.served import Served
    from undertow.storage.answers_file import AnswersFile
    from undertow.storage.run import open_run

    open_run(out, AUDIT)
    served = [model for model in models if isinstance(model, Served)]
    kept = AnswersFile(out / "answers.jsonl") if served else None
    for model in served:
        model.answers = kept


def _safe(spec: str) -> str:
    from undertow.workflows.scan import require_safe

    return require_safe(spec)


def _safe_graph(spec: str) -> str:
    """As `_safe` for an ONNX file: trees have no weights to judge, so a file that was fully read is enough."""
    from undertow.workflows.scan import ScanRequest, scan

    found = scan(spec, ScanRequest())
    whole = bool(found.result.files) and all(file.verdict == "safe" for file in found.result.files)
    return spec if whole and not found.weights and not found.result.findings else _safe(spec)


def _address(spec: str) -> bool:
    return "://" in spec


def _environment() -> dict[str, Any]:
    from undertow.storage.run import environment

    return environment()


def write_one(result: AuditResult, out: Path) -> None:
    """The result of one model and its page, in a run folder that holds no audit of anything else (StoreError)."""
    from undertow.storage.results import save_result
    from undertow.storage.run import open_run
    from undertow.workflows.audit import write_report

    open_run(out, result.audit)
    _refuse_another(result, out)
    save_result(result, out)
    write_report(result, out)


def _refuse_another(result: AuditResult, out: Path) -> None:
    """StoreError where the folder holds the result of another model, other records, or another seed."""
    file = out / "result.json"
    if not file.is_file():
        return
    try:
        held = json.loads(file.read_text(encoding="utf8"))
        theirs = {**held["data"]["sha256"], "seed": held["seed"], **held["config"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{file} cannot be read ({error}); choose another --out") from error
    mine = {**result.data["sha256"], "seed": result.seed, **json.loads(json.dumps(result.config))}
    if mine.get("model") == theirs.get("model") is not None:  # the same file may answer a little differently each time
        answers = [key for key in (*mine, *theirs) if key.startswith("answers")]
        mine, theirs = ({k: v for k, v in part.items() if k not in answers} for part in (mine, theirs))
    differ = [key for key in dict.fromkeys([*mine, *theirs]) if mine.get(key) != theirs.get(key)]
    if differ:
        raise StoreError(f"{out} holds an audit with another {', '.join(differ)}; choose another --out")
