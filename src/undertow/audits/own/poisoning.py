"""Does a base model make *your* finetuning leak more than a trusted one? The membership game from both, side by side.

    finetune(base, records, seed) -> predict        base: what you gave as `suspect` or `reference`

The same halves and seeds from both. This is one of the looks of `undertow audit poisoning --checkpoint`; the others ask
the checkpoint itself, which only you can do here, so the verdict is suspicious or unknown, never safe.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from undertow.audits.in_turn import attack_in_turn, offered_on
from undertow.audits.leakage import Stopwatch
from undertow.audits.membership.reading import reading
from undertow.audits.own.game import OWN, OwnTraining, Place, Plan, dealing, planned, recorded
from undertow.audits.own.pool import Pool
from undertow.audits.own.training import run_all
from undertow.metrics import FPRS, difference, measure
from undertow.rng import stream
from undertow.signals import label_confidence
from undertow.types import Array, AuditResult, Evidence, Measurement, Scores

ARMS = ("reference", "suspect")
VIEW = "answers"


@dataclass(frozen=True, eq=False)
class OwnFinetuning:
    """A finetuning to audit, from each of the two bases."""

    arms: Mapping[str, OwnTraining]  # by ARMS
    called: str


def audit_own_poisoning(
    finetuning: OwnFinetuning, pool: Pool, targeted: Array, plan: Plan, place: Place
) -> AuditResult:
    """Play the game from both bases; `targeted` (N,) bool are the user's records, the others look-alikes.

    Raises what `audit_own` raises; the answers that were finished stay in the store.
    """
    from undertow.audits.poisoning.blind_spots import BLIND
    from undertow.audits.poisoning.statistics import leak
    from undertow.audits.poisoning.suspicion import amplification, not_run, overall

    member, clock = dealing(pool, plan), Stopwatch()
    found, answers = {}, {}
    for arm, training in finetuning.arms.items():
        with clock.stage(f"finetune from the {arm}"):
            trainings = planned(training, pool, plan)
            answers[arm] = run_all(trainings, training.answer, place.store, place.executor, place.progress)
        evidence = Evidence(member, values=_signal(answers[arm].values, pool))
        attacked = attack_in_turn(evidence, offered_on(evidence), plan.seed, group=arm, ids=pool.ids)
        found[arm] = {s.attack: s for s in attacked.scores}
    with clock.stage("measure"):
        rows = list(_rows(found, targeted, plan.seed, finetuning.called))
    gained = leak(found["suspect"]["threshold"]) - leak(found["reference"]["threshold"])
    own = "let your own code ask the checkpoint, or use --checkpoint where Undertow can open it"
    looks = [not_run("own-data loss", own), not_run("reference shift", own), amplification(rows, gained, targeted)]
    taken = sum(a.taken for a in answers.values())
    kept = f"{taken} of {2 * plan.shadows} answers were taken from the store."
    design = reading(member)
    return AuditResult(
        audit="poisoning",
        config={"recipes": [finetuning.called], "views": [VIEW], "models": plan.shadows, "answers": plan.answers},
        seed=plan.seed,
        environment={**place.environment, OWN: {a: recorded(finetuning.arms[a], answers[a]) for a in finetuning.arms}},
        data={
            "name": pool.examples.name,
            "sizes": {"candidates": len(pool), "targets": int(targeted.sum())},
            "sha256": {"audited": pool.sha},
            "embedded": False,
        },
        measurements=tuple(rows),
        timing=clock.seconds,
        warnings=(*_said(plan), *pool.notes, *[kept] * bool(taken), *BLIND),
        verdict=overall(looks),
        evidence=tuple(look.plain() for look in looks),
        scores=tuple(replace(f["lira"], recipe=finetuning.called, view=VIEW) for f in found.values() if "lira" in f),
        ids=pool.ids,
        design={**design, "trained": OWN.split()[0]},
    )


def _said(plan: Plan) -> Iterator[str]:
    yield f"Your own finetuning, {plan.shadows} runs of it from each of the two bases, on the same halves and seeds."


def _signal(values: Array, pool: Pool) -> Array:
    """One number per model and record (M, N), higher = member: the label's scaled logit, or the scores as they are."""
    if values.ndim == 2 or not pool.labelled:
        return values if values.ndim == 2 else values.max(-1)
    whole = values.astype(float)
    if whole.min() >= 0 and np.abs(whole.sum(-1) - 1).max() < 0.02:
        whole = np.log(np.maximum(whole, whole[whole > 0].min()))
    found: Array = label_confidence(whole[:, :, None], pool.examples.y)
    return found


def _rows(found: Mapping[str, Mapping[str, Scores]], targeted: Array, seed: int, recipe: str) -> Iterator[Measurement]:
    """Rows of both arms, and of the suspect less the reference, for the user's records and for the look-alikes."""
    for points, mask in {"targets": targeted, "others": ~targeted}.items():
        where: dict[str, Any] = {"points": points, "recipe": recipe, "view": VIEW}
        for attack in found[ARMS[0]] if mask.any() else ():
            arms = {arm: _on(scores[attack], mask) for arm, scores in found.items()}
            for arm, scores in arms.items():
                rng = stream(seed, "halves", arm, attack, *where.values())
                yield from (replace(row, **where) for row in measure(scores, rng, fprs=FPRS))
            for row in difference([arms["suspect"]], [arms["reference"]], fprs=FPRS):
                yield replace(row, attack=attack, metric=f"{row.metric}_difference", group="suspect", **where)


def _on(scores: Scores, mask: Array) -> Scores:
    scored = None if scores.scored is None else scores.scored[:, mask]
    ids: Sequence[Any] | None = scores.ids
    names = None if ids is None else tuple(ids[int(i)] for i in np.flatnonzero(mask))
    return replace(scores, values=scores.values[:, mask], member=scores.member[:, mask], scored=scored, ids=names)
