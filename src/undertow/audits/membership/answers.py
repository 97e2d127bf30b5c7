"""What a model answers, asked through any callable: checked before a rule sees it, and made plain numbers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from undertow.rng import stream
from undertow.types import Array, BadInput, Progress

BATCH = 1024  # records asked about in one call
AGAIN = 8  # records that are asked about twice
ALIKE = 1e-3  # relative difference up to which two answers about one record are the same
KEYS = ("logits", "probabilities", "probs", "scores", "outputs", "predictions")  # of a dict that a model answers


@dataclass(frozen=True, eq=False)
class Predictor:
    """A callable model that knows what it is: `answer(x)` gives (n, classes) logits or probabilities, or (n,) scores.

    Scores are higher for members. Any other callable serves as well; it has no name and no classes.
    """

    answer: Callable[[Any], Any]
    about: str  # what it is, for people
    classes: tuple[Any, ...] | None = None  # the label of each column
    sha256: str = ""  # of the files it was read from

    def __call__(self, x: Any) -> Any:
        return self.answer(x)


@dataclass(frozen=True, eq=False)
class Given:
    """Answers that were made beforehand, for the members and then for the non-members."""

    values: Array  # (N, classes) or (N,)
    about: str
    sha256: str = ""
    classes: tuple[Any, ...] | None = None


def ask(
    predict: "Callable[[Any], Any] | Given",
    x: Any,
    seed: int,
    name: str = "predict",
    batch: int = BATCH,
    progress: Progress | None = None,
) -> tuple[Array, tuple[str, ...]]:
    """What `predict` answers about every record of `x`, (n, ...) floats, and sentences about how it answers.

    Records are asked about in a random order, `batch` at a time, so that neither their order nor the company they
    are in says anything of membership; a few are asked about twice. BadInput, one line, for every answer that is none.
    """
    if isinstance(predict, Given):
        values = plain(predict.values, name)
        if values.ndim == 0 or len(values) != len(x):
            raise BadInput(f"{name}: {len(values) if values.ndim else 1} answers were given for {len(x)} records")
        _finite(values, name)
        return values, ()
    if not callable(predict):
        raise BadInput(f"{name} is {type(predict).__name__}, which cannot be called; see undertow.integrations")
    count = len(x)
    order = stream(seed, "order of questions").permutation(count)
    parts: list[Array] = []
    for start in range(0, count, batch):
        if progress:
            progress("ask", start, count)
        rows = order[start : start + batch]
        parts.append(_asked(predict, taken(x, rows), len(rows), name))
        if parts[-1].shape[1:] != parts[0].shape[1:]:
            raise BadInput(
                f"{name} answers in shape {parts[0].shape[1:]} for some records and {parts[-1].shape[1:]} for others; "
                "every record needs the same classes"
            )
    if progress:
        progress("ask", count, count)
    answers = np.empty((count, *parts[0].shape[1:]))
    answers[order] = np.concatenate(parts)
    _finite(answers, name)
    few = order[: min(AGAIN, count)]
    return answers, _steady(answers[few], _asked(predict, taken(x, few), len(few), name), name)


def taken(x: Any, rows: Array) -> Any:
    """Some of the records, in the order of `rows`: of an array, or of a list."""
    return x[rows] if isinstance(x, np.ndarray) else [x[int(i)] for i in rows]


def plain(answer: Any, name: str = "predict") -> Array:
    """A model's answer as an array of numbers: out of a ModelOutput, a dict, a tuple, a tensor, or lists."""
    for _ in range(3):  # a tuple may hold a ModelOutput
        answer = _unwrapped(answer, name)
    if hasattr(answer, "detach"):
        answer = answer.detach().cpu()
        answer = (answer.float() if answer.is_floating_point() else answer).numpy()
    try:
        found = np.asarray(answer)
    except (ValueError, TypeError) as error:
        raise BadInput(f"{name} answers {type(answer).__name__}, which is no array of numbers: {error}") from error
    if found.dtype.kind in "US":
        some = repr(str(found.ravel()[0])) if found.size else "nothing"
        raise BadInput(f"{name} answers texts ({some}), not numbers; give a probability or a logit for every class")
    if found.dtype.kind == "O" or found.dtype.kind not in "fiub":
        raise BadInput(f"{name} answers {_kind(answer)}, which is no array of numbers (n, classes)")
    return found.astype(float)


def _unwrapped(answer: Any, name: str) -> Any:
    if getattr(answer, "logits", None) is not None:
        return answer.logits
    if isinstance(answer, Mapping):
        known = next((key for key in KEYS if key in answer), None)
        if known is None:
            held = ", ".join(map(str, list(answer)[:5])) or "nothing"
            raise BadInput(f"{name} answers a dict with {held}; it must hold one of {', '.join(KEYS)}")
        return answer[known]
    if isinstance(answer, tuple) and answer and (hasattr(answer[0], "shape") or isinstance(answer[0], Mapping)):
        return answer[0]
    return answer


def _kind(answer: Any) -> str:
    if isinstance(answer, Sequence) and not isinstance(answer, str) and len(answer):
        return f"a {type(answer).__name__} of {type(answer[0]).__name__}"
    return type(answer).__name__


def _asked(predict: Callable[[Any], Any], x: Any, count: int, name: str) -> Array:
    """One batch; whatever the model raises is one line that says what it was given."""
    try:
        given = predict(x)
    except BadInput:
        raise
    except Exception as error:
        said = (str(error).splitlines() or [""])[0]
        raise BadInput(f"{name} failed on {_given(x)}: {type(error).__name__}: {said:.200}") from error
    if given is None:
        raise BadInput(f"{name} returned None; it must return what the model answers")
    found = plain(given, name)
    if found.ndim == 0 or len(found) != count:
        raise BadInput(f"{name} was asked about {count} records and answered for {len(found) if found.ndim else 1}")
    return found


def _given(x: Any) -> str:
    if isinstance(x, np.ndarray):
        return f"an array of {x.dtype} {x.shape}"
    return f"a list of {len(x)} ({type(x[0]).__name__})"


def _finite(answers: Array, name: str) -> None:
    bad = ~np.isfinite(answers).reshape(len(answers), -1).all(1)
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        value = answers[first].ravel()[~np.isfinite(answers[first].ravel())][0]
        raise BadInput(
            f"{name} answers {value} for {int(bad.sum())} of {len(answers)} records (the first: record {first}); "
            "mend the model, or leave those records out"
        )


def _steady(first: Array, second: Array, name: str) -> tuple[str, ...]:
    scale = np.abs(first).max(initial=0.0) + 1e-12
    differ = np.abs(first - second).reshape(len(first), -1).max(1) > ALIKE * scale
    if not differ.any():
        return ()
    return (
        f"{name} answered differently when it was asked again about {int(differ.sum())} of {len(first)} records "
        "(dropout left on, sampling, or an answer that depends on the rest of the batch): attacks look weaker than "
        "against averaged answers",
    )
