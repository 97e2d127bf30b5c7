"""Made-up poisoning audits of the size of a real one: three arms, targets and others, recipes, views, a sweep."""

from dataclasses import replace

import numpy as np

from undertow.audits.poisoning.blind_spots import BLIND
from undertow.metrics import difference, measure
from undertow.rng import stream
from undertow.types import AuditResult, Measurement, Scores

ARMS = {"clean": 0.6, "benign": 0.62, "poisoned": 1.9}  # how far members' scores are shifted
MODELS, POINTS, TARGETS = 16, 240, 80
FPRS = (0.01, 0.001)


def arm_scores(shift, arm, points, recipe="full", view="exact", models=MODELS):
    count = TARGETS if points == "targets" else POINTS - TARGETS
    member = stream(3, "member", points).random((models, count)) < 0.5
    noise = stream(3, arm, points, recipe, view).normal(size=member.shape)
    ids = tuple(f"digits/{points}-{i}" for i in range(count))
    return Scores("lira", noise + shift * member, member, arm, points, recipe, view, ids)


def rows_of(shifts, points, recipe="full", view="exact", at=None):
    """Scores of the three arms, their rows, and the rows of the differences to the clean arm."""
    scores = {arm: arm_scores(shift, arm, points, recipe, view) for arm, shift in shifts.items()}
    named = {"points": points, "recipe": recipe, "view": view, "at": at}
    rng = stream(0, "sample")
    rows = [replace(m, **named) for s in scores.values() for m in measure(s, rng, fprs=FPRS)]
    for arm in ("benign", "poisoned"):
        if arm in scores:
            for m in difference([scores[arm]], [scores["clean"]], fprs=FPRS[:1]):
                rows.append(replace(m, attack="lira", metric=f"{m.metric}_difference", group=arm, **named))
    return list(scores.values()), rows


def utility(metric="accuracy", values=None, recipes=("full",)):
    values = values or {"clean": (0.951, 0.968), "benign": (0.957, 0.969), "poisoned": (0.933, 0.961)}
    rows = []
    for arm, (before, after) in values.items():
        rows.append(Measurement("utility", metric, before, None, None, 1, "models", group=arm, when="before"))
        low, high = after - 0.006, after + 0.006
        for recipe in recipes:
            row = Measurement("utility", metric, after, low, high, MODELS, "models", group=arm, when="after")
            rows.append(replace(row, recipe=recipe))
    return rows


def build(shifts=ARMS, settings=(("full", "exact"),), sweep=None, **changes):
    scores, rows = [], []
    for recipe, view in settings:
        weaker = {arm: shift * (0.75 if view != "exact" else 1) for arm, shift in shifts.items()}
        for points, share in (("targets", 1.0), ("others", 0.5)):
            moved = {a: weaker["clean"] + share * (s - weaker["clean"]) for a, s in weaker.items()}
            some, more = rows_of(moved, points, recipe, view)
            scores, rows = scores + (some if (recipe, view) == settings[0] else []), rows + more
    rows += utility(recipes=tuple(dict.fromkeys(recipe for recipe, _ in settings)))
    key, values = sweep or ("", ())
    for i, at in enumerate(values):
        grown = {a: s * (1 + i / 4) if a == "poisoned" else s for a, s in shifts.items()}
        rows += rows_of(grown, "targets", *settings[0], at=at)[1]
    recipes, views = ([*dict.fromkeys(part)] for part in zip(*settings))
    config = {"seed": 0, "models": MODELS, "recipes": recipes, "views": views, "sweep": key}
    result = AuditResult(
        audit="poisoning",
        config={**config, "sweep_values": list(values), "data": {"source": "digits", "points": POINTS}},
        seed=0,
        environment={"undertow": "0.1.0", "python": "3.11.9"},
        data={"name": "digits", "sizes": {"candidates": POINTS, "targets": TARGETS}, "embedded": True},
        measurements=tuple(rows),
        timing={"pretrain": 3.2, "poison": 2.1, "finetune": 40.5},
        warnings=("The auxiliary records come from the same source as the candidates.",),
        scores=tuple(scores),
        ids=tuple(f"digits/{q:05d}" for q in range(POINTS)),
    )
    return replace(result, **changes)


EVIDENCE = (
    {
        "test": "amplification",
        "found": "TPR@1% of the suspect is +31.2 points [+24.0, +38.4] above the reference",
        "verdict": "suspicious",
        "explanation": "Your records leak more when finetuning starts from this checkpoint.",
        "value": 0.312,
        "n": 16,
    },
    {
        "test": "loss before finetuning",
        "found": "loss on your records is 4.1 nats [3.7, 4.5] above that on look-alikes",
        "verdict": "suspicious",
        "explanation": "A checkpoint that has never met your records cannot tell them from look-alikes.",
    },
    {
        "test": "weights",
        "found": "no outlier",
        "verdict": "unknown",
        "explanation": "No weight is out of the ordinary.",
    },
)


def judged(verdict="suspicious", **changes):
    """A checkpoint against its reference, as `audit_checkpoint` gives it: two arms, scores of all records at once."""
    result = build(**changes)
    names = {"clean": "reference", "poisoned": "suspect"}
    rows = tuple(replace(m, group=names[m.group]) for m in result.measurements if m.group in names)
    parts = {arm: [s for s in result.scores if s.group == arm] for arm in names}
    scores = tuple(
        Scores("lira", *(np.concatenate([getattr(s, key) for s in parts[arm]], 1) for key in ("values", "member")), new)
        for arm, new in names.items()
    )
    warned = (*result.warnings, *BLIND)
    return replace(result, verdict=verdict, evidence=EVIDENCE, measurements=rows, scores=scores, warnings=warned)


def null():
    """Nothing differs between the arms."""
    return build(dict.fromkeys(ARMS, 0.6))


def many():
    settings = [(r, v) for r in ("full", "last-k", "lora", "neftune") for v in ("exact", "watermark")]
    return build(settings=tuple(settings), sweep=("poison.steps", (100.0, 400.0, 800.0, 1600.0)))


def shuffled(result, seed=1):
    """The same rows in another order: nothing may depend on it."""
    order = stream(seed, "order").permutation(len(result.measurements))
    return replace(result, measurements=tuple(np.array(result.measurements, object)[order]))
