"""One trained model, records it was trained on and records it was not: what its answers give away, nothing trained.

What can be said without shadow models: thresholds on the answers, and with one reference model RMIA offline and
calibrated answers. The result is about this model and says nothing about another training run.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from undertow.attacks.attack import MIA, MODEL, REFERENCE, missing
from undertow.attacks.catalog import ATTACKS, offered_by
from undertow.audits.in_turn import at_points, attack_in_turn
from undertow.audits.leakage import Stopwatch, attack_all, measure_all
from undertow.audits.membership.answers import BATCH, Given, ask, plain
from undertow.audits.membership.blind import with_blind_error
from undertow.audits.membership.describing import describe
from undertow.audits.membership.evidence import SignalSet, check_evidence
from undertow.audits.membership.label_columns import columns
from undertow.audits.membership.leak import leak_test
from undertow.audits.membership.reading import reading
from undertow.audits.membership.sides import Both
from undertow.audits.membership.together import TOGETHER, asked_together
from undertow.engine.key import fingerprint
from undertow.engine.membership import Fold
from undertow.rng import stream
from undertow.types import Array, AuditResult, BadInput, Evidence, Progress, Scores

AUDIT = "model"
BASE = "the reference model"  # group of the control rows
STRONGER = (
    "one model was given, and it is compared with models trained on other random halves of the records",
    "give your training: undertow audit mia --train my_script.py:train --data folder --shadows 16 (--plan says what "
    "it costs)",
)
ONE = "one model: nothing here is about another training run"
SURE = 0.3
BLIND = "blind"
SAMPLE = 2000  # records that the blind guess looks at, at most
ROUNDING = 0.02  # how far from 1 the sum of a row of probabilities may be

Score = Callable[[Any, Any], Any]
Model = Callable[[Any], Any] | Given


@dataclass(frozen=True, eq=False)
class OneModel:
    """What is audited, and how it is asked."""

    predict: Model
    both: Both
    base: Model | None = None  # a reference that was trained on none of the records
    score: Score | None = None  # (answers, y) -> (n,), higher = member: for what is no classifier
    features: bool = True  # whether records are described for the blind baseline where no features were given
    batch: int = BATCH
    name: str = ""
    environment: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Answered:
    """What one model answered, as evidence (1 model, N records)."""

    evidence: Evidence
    answers: Array
    notes: tuple[str, ...]


def audit_one_model(one: OneModel, seed: int = 0, progress: Progress | None = None) -> AuditResult:
    """Ask the model about every record and measure what its answers give away. BadInput, one line, where it cannot."""
    clock, both = Stopwatch(), one.both
    features = both.features
    if features is None and one.features:
        features = describe(both.x, both.y, seed)
    with clock.stage("ask"):
        asked = _answered(one, one.predict, "predict", features, seed, progress)
        base = None if one.base is None else _answered(one, one.base, "base", features, seed, progress)
    evidence = asked.evidence
    names = tuple(name for name in _applying(_offered(), evidence) if name != BLIND)
    with clock.stage("attack"):
        sample, guessed = blind_guess(evidence, both.ids, seed)
        scores = attack_in_turn(evidence, names, seed, ids=both.ids).scores + guessed
        whole, targets = evidence, None
        if base is not None:
            whole, targets = _together(evidence, base.evidence), np.array([0])
            scores += _with_base(whole, seed)
    with clock.stage("measure"):
        rows = with_blind_error(measure_all(scores, seed), scores, sample, seed)
        rows, leak = leak_test(scores, rows, whole, seed, targets, both.ids)
        controls = () if base is None else measure_all(_control(base.evidence, seed), seed)
    asks = [s.attack for s in scores]
    return AuditResult(
        audit=AUDIT,
        config={"attacks": asks, "base": base is not None, "score": one.score is not None, "batch": one.batch},
        seed=seed,
        environment={**one.environment, TOGETHER: asked_together(asks, whole.member, targets)},
        data=_data(one, asked, base),
        measurements=rows,
        controls=controls,
        timing=clock.seconds,
        utility=_utility(evidence),
        warnings=(*both.notes, *asked.notes, *(() if base is None else base.notes)),
        scores=scores,
        ids=both.ids,
        design=reading(evidence.member, None, evidence.groups),
        leak=leak,
        not_run=_not_run(evidence, base is not None),
        left_out=unguessed(len(both.ids), sample.member.shape[1]) if guessed else (),
    )


def _offered() -> tuple[str, ...]:
    """What one model alone allows: thresholds, and the blind guess."""
    return tuple(name for name in offered_by(MODEL) if not ATTACKS[name].shadows)


def _stronger() -> tuple[str, ...]:
    """What a stronger audit adds: rules that compare models with and without a record."""
    return tuple(name for name in offered_by(MIA) if ATTACKS[name].shadows and ATTACKS[name].least_in)


def _applying(names: Sequence[str], evidence: Evidence) -> tuple[str, ...]:
    return tuple(name for name in names if missing(ATTACKS[name], evidence) is None)


def blind_guess(evidence: Evidence, ids: tuple[str, ...], seed: int) -> tuple[Evidence, tuple[Scores, ...]]:
    """The blind guess, of a random sample where there are very many records: its cost grows as their cube."""
    if evidence.features is None:
        return evidence, ()
    count = len(ids)
    if count <= SAMPLE:
        return evidence, attack_in_turn(evidence, (BLIND,), seed, ids=ids).scores
    keep = np.sort(stream(seed, "blind sample").choice(count, SAMPLE, replace=False))
    sample = at_points(evidence, keep)
    some = tuple(ids[int(q)] for q in keep)
    return sample, tuple(replace(s, ids=some) for s in attack_in_turn(sample, (BLIND,), seed, ids=some).scores)


def unguessed(count: int, sampled: int) -> tuple[dict[str, Any], ...]:
    """What the blind guess did not look at, as `AuditResult.left_out` keeps it."""
    if sampled == count:
        return ()
    reason = f"a random sample of {sampled:,} is enough to see a difference in kind"
    return ({"attack": BLIND, "records": count - sampled, "of": count, "reason": reason},)


def _answered(
    one: OneModel, predict: Model, name: str, features: Any, seed: int, progress: Progress | None
) -> Answered:
    """Answers of one model made evidence, labels placed in its columns."""
    both = one.both
    answers, notes = ask(predict, both.x, seed, name, one.batch, progress)
    arrays: dict[str, Array] = {"member": both.member, "hash": both.hashes}
    if one.score is not None:
        arrays["values"] = _scored(one.score, answers, both)
    elif answers.ndim == 1:
        _refuse_classes(answers, both.y, name)
        arrays["values"] = answers
    else:
        _check_outputs(answers, name)
        arrays["logits"] = answers
        if both.y is not None:
            arrays["labels"], more = columns(both.y, answers.shape[1], getattr(predict, "classes", None))
            notes += more
    if features is not None:
        arrays["features"] = np.asarray(features)
    if both.groups is not None:
        arrays["group"] = both.groups
    evidence, _, told = check_evidence(SignalSet(name, "", arrays, both.ids))
    if (answers == answers[:1]).all():
        notes += (f"{name} gives every record the same answer: it cannot leak by it, and may be broken",)
    told = tuple(text.replace("; --drop-duplicates removes all copies of them", "") for text in told)
    return Answered(evidence, answers, (*notes, *told) if name == "predict" else notes)


def _check_outputs(answers: Array, name: str) -> None:
    if answers.ndim > 2:
        raise BadInput(
            f"{name} answers in shape {answers.shape[1:]} per record; one per class is needed, (n, classes); for "
            "sequences or images give score=, a function of (answers, y) that is higher for members"
        )
    if answers.shape[1] == 1:
        raise BadInput(
            f"{name} answers one column, (n, 1); for two classes give both, np.hstack([1 - p, p]); scores that are "
            "higher for members are (n,)"
        )
    low, high, sums = answers.min(), answers.max(), answers.sum(1)
    sure = np.median(answers.max(1)) > SURE  # small numbers may be the logits of a model that learnt little
    if sure and low >= 0 and high <= 1 and np.abs(sums - 1).max() > ROUNDING:
        raise BadInput(
            f"{name} answers numbers in 0..1 whose rows sum to {sums.min():.3g}..{sums.max():.3g}, not 1: "
            "probabilities of several labels at once; give logits, or score=, a function of (answers, y) that is "
            "higher for members"
        )


def _refuse_classes(answers: Array, y: Array | None, name: str) -> None:
    """Class numbers (sklearn's `predict`) and regression outputs are no scores, and look like them."""
    if y is None:
        return
    if y.dtype.kind == "f" and (y != np.floor(y)).any():
        raise BadInput(
            f"{name} answers (n,) and the labels are not whole numbers, as of a regression; give score=, a function of "
            "(answers, y) that is higher for members, such as -(answers - y) ** 2"
        )
    whole = bool((answers == np.floor(answers)).all())
    labels = np.unique(y)
    among = labels.dtype.kind in "iufb" and np.isin(answers, labels).all()
    if whole and among and len(np.unique(answers)) > 1:
        raise BadInput(
            f"{name} answers class numbers, not probabilities; give predict_proba or logits (n, classes); to audit the "
            "predicted label alone, give score=lambda answers, y: (answers == y).astype(float)"
        )


def _scored(score: Score, answers: Array, both: Both) -> Array:
    try:
        values = plain(score(answers, both.y), "score")
    except BadInput:
        raise
    except Exception as error:
        raise BadInput(f"score failed on answers {answers.shape}: {type(error).__name__}: {error}") from error
    if values.shape != (len(answers),):
        raise BadInput(f"score returned shape {values.shape}; it must be ({len(answers)},), one number per record")
    return values


def _together(evidence: Evidence, base: Evidence) -> Evidence:
    """Two models: the audited one, and the reference, which was trained on none of the records."""
    a, b = evidence.logits, base.logits
    logits = None if a is None or b is None else _logits(a, b)
    values = None
    if evidence.values is not None and base.values is not None:
        values = np.concatenate([evidence.values, base.values])
    if logits is None and values is None:
        raise BadInput("base answers scores and predict answers classes, or the other way round; both must be alike")
    member = np.concatenate([evidence.member, np.zeros_like(evidence.member)])
    return replace(evidence, member=member, logits=logits, values=values)


def _logits(a: Array, b: Array) -> Array:
    if a.shape[-1] != b.shape[-1]:
        raise BadInput(
            f"base answers {b.shape[-1]} classes and predict {a.shape[-1]}; a reference is a model of the same task"
        )
    return np.concatenate([a, b])


def _with_base(whole: Evidence, seed: int) -> tuple[Scores, ...]:
    names = _applying(offered_by(REFERENCE), whole)
    scores = attack_all(whole, [Fold(np.array([0]), np.array([1]))], names, seed)
    return tuple(replace(s, groups=whole.groups) for s in scores)


def _control(base: Evidence, seed: int) -> tuple[Scores, ...]:
    """The same thresholds on the reference, which saw neither group: what they find there is a difference in kind."""
    names = tuple(name for name in _applying(_offered(), base) if name != BLIND)
    return attack_in_turn(base, names, seed, group=BASE).scores


def _not_run(evidence: Evidence, base: bool) -> tuple[dict[str, str], ...]:
    found = []
    if evidence.labels is None and evidence.values is None:
        found.append(("loss", "the records came without labels", "give (x, y), or a column of labels"))
        found.append(("margin", "the records came without labels", "give (x, y), or a column of labels"))
    if not base and evidence.values is None:
        why = "it compares the model with a reference that was trained on none of the records"
        fix = "give base=, or --base: another model of the same task"
        found += [(name, why, fix) for name in offered_by(REFERENCE)]
    found += [(name, *STRONGER) for name in _stronger()]
    return tuple({"attack": name, "reason": reason, "fix": fix} for name, reason, fix in found)


def _data(one: OneModel, asked: Answered, base: Answered | None) -> dict[str, Any]:
    """What was audited, on what, with hashes; a model without files is known by its answers."""
    both = one.both
    inside = int(both.member.sum())
    models = {"model": (one.predict, asked), "base": (one.base, base)}
    about, sha = {}, dict(both.sha256)
    for role, (predict, found) in models.items():
        if found is None:
            continue
        about[role] = str(getattr(predict, "about", "") or f"your function {getattr(predict, '__name__', 'predict')}")
        if getattr(predict, "sha256", ""):
            sha[role] = str(getattr(predict, "sha256", ""))
        sha[f"answers of the {role}"] = fingerprint(found.answers)
    return {
        "name": one.name or "your records",
        "audited": f"{about['model']}: {ONE}",
        **about,
        "sizes": {"members": inside, "nonmembers": len(both.member) - inside},
        "sha256": sha,
        "embedded": False,
    }


def _utility(evidence: Evidence) -> dict[str, float]:
    if evidence.logits is None or evidence.labels is None:
        return {}
    hit, member = evidence.logits[0].mean(1).argmax(-1) == evidence.labels, evidence.member[0]
    return {"accuracy on members": float(hit[member].mean()), "accuracy on nonmembers": float(hit[~member].mean())}
