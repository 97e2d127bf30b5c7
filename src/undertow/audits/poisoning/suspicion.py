"""The auditor's side: is it safe to finetune my records from this checkpoint?

Four looks, none of which needs to know the attack: the losses of my records under the suspect against look-alikes the
attacker cannot have known; how the suspect moved those losses against a trusted reference; the membership game itself,
played from the suspect and from the reference on my records and the look-alikes; and the distance of the weights.
False alarms of one p-value have probability at most ALPHA: of the three comparisons with look-alikes where these and
my records are exchangeable, of the game's limit where nothing leaks more than WORSE above the reference. The limits
SHIFT and WORSE are choices.

Look-alikes of another kind are not exchangeable with my records, and any checkpoint finds their losses apart. With a
reference the paired comparisons therefore decide, and look-alikes are first compared with my records under the
reference itself (`of_another_kind`). Where they differ there, benign training may move the two kinds differently too:
no comparison with look-alikes counts, the two limits still do, and the verdict is at best unknown.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from undertow.audits.leakage import Stopwatch, plain
from undertow.audits.poisoning.blind_spots import BLIND
from undertow.audits.poisoning.game import Game, asked, attacked, compared, finetunable, finetuned, kept, with_promises
from undertow.audits.poisoning.kit import Answers
from undertow.audits.poisoning.recipes import chosen
from undertow.audits.poisoning.statistics import ALPHA, above, apart, leak, strength
from undertow.audits.poisoning.worth import distance, worth_after, worth_before
from undertow.training.privacy import Noise
from undertow.types import Array, AuditResult, Measurement, Params, Scores

CONFIRM = 0.05  # p-value of the move against the reference that an odd own-data loss needs to count
SHIFT = 1.0  # nats: how much more a benign checkpoint may move the loss of my kind of record than of ordinary data
WORSE = 0.1  # rise of AUC or TPR@1% above the reference that benign training may cause too
REFERENCE, SUSPECT = "reference", "suspect"
OWN = "targets"  # what rows call my records; the look-alikes are the others
SAME = "The suspect is identical to the reference, tensor by tensor: it leaks exactly what the reference leaks."
NO_LOOK_ALIKES = "no look-alikes to compare with"

Verdict = Literal["safe", "suspicious", "unknown"]


@dataclass(frozen=True)
class Look:
    """One piece of evidence."""

    test: str
    verdict: Verdict
    found: str  # the numbers, for people
    explanation: str
    strength: float = 0.0  # of the finding; 1 is where it becomes suspicious

    def plain(self) -> dict[str, Any]:
        """As `result.json` keeps it."""
        return vars(self)


def audit_checkpoint(game: Game, suspect: str, reference: str | None) -> AuditResult:
    """Judge the published checkpoint stored as `suspect`; of the game's candidates the first `targets` are my records.

    The others are look-alikes. Without a reference only the first test runs, and the verdict is at best unknown.
    """
    clock, config = Stopwatch(), game.config
    files = {SUSPECT: suspect} if reference is None else {REFERENCE: reference, SUSPECT: suspect}
    with clock.stage("look at the checkpoint"):
        keys = {who: finetunable(game, key) for who, key in files.items()}
        base = {who: asked(game, key, game.config.views) for who, key in keys.items()}
        loss = {who: -game.kit.read(answers, answers, "exact")["loss"][0] for who, answers in base.items()}
    own = game.supply.targeted
    rows: list[Measurement] = []
    scores: list[Scores] = []
    same = reference is not None and identical(*(game.host.store.get(key) for key in files.values()))
    if reference is None:
        looks = [anomaly(loss[SUSPECT], own)]
        looks += [not_run("reference shift"), not_run("membership game"), not_run("weight distance")]
    else:
        with clock.stage("membership game"):
            found, rows = played(game, keys, base)
        scores = kept(found, chosen(config.recipes)[0], "exact")
        gained = leak(found[SUSPECT][game.kit.first]) - leak(found[REFERENCE][game.kit.first])
        held = {who: float(answers["heldout_loss"].mean()) for who, answers in base.items()}
        looks = against(loss[SUSPECT], loss[REFERENCE], own, held[SUSPECT] - held[REFERENCE], rows, gained)
        looks = [as_reference(look) if same else look for look in (*looks, far(game, files))]
    rows += [worth_before(answers, game.kit.utility, who, len(game.supply.held_out)) for who, answers in base.items()]
    return AuditResult(
        audit="poisoning",
        config=plain(config),
        seed=config.seed,
        environment={**game.host.environment, "published": files, "checkpoints": keys},
        data=game.supply.describe(),
        measurements=tuple(rows),
        timing=clock.seconds,
        warnings=(*[SAME] * same, *game.supply.notes, *BLIND),
        verdict=overall(looks),
        evidence=tuple(look.plain() for look in looks),
        scores=tuple(scores),
        ids=game.supply.ids,
    )


def overall(looks: list[Look]) -> Verdict:
    """Suspicious if any test is; safe only if every test ran and none is; otherwise unknown."""
    verdicts = {look.verdict for look in looks}
    if "suspicious" in verdicts:
        return "suspicious"
    return "unknown" if "unknown" in verdicts else "safe"


def identical(params: Params, other: Params) -> bool:
    """Whether two checkpoints hold the same tensors: names, shapes, types and every value."""
    return params.keys() == other.keys() and all(
        params[name].dtype == other[name].dtype and np.array_equal(params[name], other[name]) for name in params
    )


def as_reference(look: Look) -> Look:
    """The look at a suspect that is the reference: what look-alikes could not settle needs no settling."""
    return look if look.verdict == "safe" else replace(look, verdict="safe", explanation=SAME, strength=0.0)


def against(
    loss: Array, trusted: Array, own: Array, ordinary: float, rows: list[Measurement], gained: Array
) -> list[Look]:
    """The three looks that a reference allows, from the losses (Q,) under the suspect and under the reference.

    `ordinary` is as in `shift`, `rows` and `gained` as in `amplification`. The look-alikes are first
    tested on the reference.
    """
    usable = not of_another_kind(trusted, own)
    return [
        anomaly(loss, own, trusted),
        shift(loss - trusted, own, ordinary, usable),
        amplification(rows, gained, own, usable),
    ]


def of_another_kind(trusted: Array, own: Array) -> bool:
    """Whether the losses (Q,) under the reference, which leaks nothing, tell my records from the look-alikes."""
    return _comparable(own) and apart(trusted[own], trusted[~own]) < ALPHA


def anomaly(loss: Array, own: Array, trusted: Array | None = None) -> Look:
    """My records against look-alikes under the suspect alone: `apart` on their losses (Q,).

    Look-alikes of another kind give the same finding. With the losses `trusted` (Q,) under the reference it counts only
    where these do not tell the two apart, and where the move from them to `loss` does, at CONFIRM. A false alarm then
    still has probability at most ALPHA where both are exchangeable, as it needs `apart` below ALPHA.
    """
    test = "own-data loss"
    if not _comparable(own):
        return not_run(test, "give look-alikes: records of the same kind that the attacker cannot have known")
    p = apart(loss[own], loss[~own])
    found = (
        f"p = {p:.2g} (n = {own.sum()} and {(~own).sum()} records); mean loss {loss[own].mean():.3f} of yours, "
        f"{loss[~own].mean():.3f} of look-alikes"
    )
    if trusted is None:
        return _alone(Look(test, "suspicious" if p < ALPHA else "safe", found, "", strength(p)))
    kind, moved = apart(trusted[own], trusted[~own]), loss - trusted
    if kind < ALPHA:
        explanation = (
            "Not usable: your look-alikes differ in kind from your records. Under the trusted reference too their "
            f"losses differ (p = {kind:.2g}). Give look-alikes of the same kind."
        )
        return Look(test, "unknown", found, explanation)
    paired = apart(moved[own], moved[~own])
    odd = p < ALPHA and paired < CONFIRM
    explanation = (
        "The suspect finds your records less alike to look-alikes than the trusted reference does."
        if odd
        else "The losses of your records differ from those of look-alikes, but the suspect did not move them from the "
        f"reference's otherwise (p = {paired:.2g}): this alone is no finding."
        if p < ALPHA
        else "The checkpoint finds your records as likely as look-alikes."
    )
    return Look(test, "suspicious" if odd else "safe", found, explanation, min(strength(p), strength(paired, CONFIRM)))


def _alone(look: Look) -> Look:
    """The own-data loss where no reference was given: what it means."""
    explanation = (
        "A checkpoint that does not know your records finds them as likely as look-alikes; this one does not. "
        "Look-alikes of another kind than your records would give the same finding, from any checkpoint: only a "
        "trusted reference (--reference) tells the two apart."
        if look.verdict == "suspicious"
        else "The checkpoint finds your records as likely as look-alikes."
    )
    return replace(look, explanation=explanation)


def _comparable(own: Array) -> bool:
    """Whether there are records of mine and look-alikes."""
    return bool(own.any() and not own.all())


def shift(moved: Array, own: Array, ordinary: float, usable: bool = True) -> Look:
    """How the suspect moved the losses (Q,) against the reference: mine against look-alikes, and all against ordinary.

    `ordinary` is the move of the mean loss of held-out data. The first comparison is `apart`; the second is a plain
    limit, SHIFT nats, since a benign checkpoint may well know one kind of record better. Where the look-alikes are not
    `usable` (of another kind), the first does not count and the second is of my records alone.
    """
    test, compared = "reference shift", _comparable(own)
    p = apart(moved[own], moved[~own]) if compared else 1.0
    counted = p if usable else 1.0
    style = float((moved if usable else moved[own]).mean()) - ordinary
    odd = counted < ALPHA or abs(style) > SHIFT
    return Look(
        test,
        "suspicious" if odd else "safe" if compared and usable else "unknown",
        f"{_said(p, compared, usable)}; loss of this kind of record moved {style:+.3f} nats more than that of held-out "
        f"data (limit {SHIFT:g}; n = {len(moved)} records)",
        "Against the reference, the suspect was moved on these records in particular."
        if odd
        else "Against the reference, these records moved no more than others."
        if usable
        else "Your look-alikes differ in kind from your records, and benign training may move another kind otherwise: "
        "the comparison with them does not count. Against held-out data your records moved no more than the limit.",
        max(strength(counted), abs(style) / SHIFT),
    )


def _said(p: float, compared: bool, usable: bool) -> str:
    """The comparison with look-alikes, in words."""
    if not compared:
        return NO_LOOK_ALIKES
    return f"yours against look-alikes p = {p:.2g}" + " (not counted: they differ in kind)" * (not usable)


def played(
    game: Game, keys: Mapping[str, str], base: Mapping[str, Answers]
) -> tuple[dict[str, Any], list[Measurement]]:
    """The membership game from the suspect and from the reference, on the same halves and seeds."""
    (recipe, *_), privacy = chosen(game.config.recipes), dict[str, Noise]()
    models = {who: finetuned(game, recipe, key, keys[REFERENCE], privacy) for who, key in keys.items()}
    found = {who: attacked(game, models[who], base[who], "exact", who) for who in keys}
    rows = [worth_after(models[who], game.kit.utility, who, recipe.name) for who in keys]
    rows += compared(game, found, recipe, "exact", REFERENCE)
    return found, list(with_promises(rows, privacy))


def amplification(rows: list[Measurement], gained: Array, own: Array, usable: bool = True) -> Look:
    """What finetuning from the suspect leaks above the reference: mine against look-alikes, and all against a limit.

    `gained` (Q,) is how much more each record leaks (`leak`). The first comparison is `apart`: whatever benign training
    does to leakage, it does to both alike, unless the look-alikes are not `usable` (of another kind). The second is of
    LiRA's AUC and TPR@1%, mine and look-alikes: suspicious where one is surely above WORSE, by Bonferroni over the rows
    that `above` tests.
    """
    test = "membership game"
    wanted = [
        row for row in rows if row.attack == "lira" and row.metric.endswith("_difference") and row.fpr in (None, 0.01)
    ]
    measured = [row for row in wanted if row.value is not None]
    if not measured:
        return not_run(test, "give more models or records")
    compared = _comparable(own)
    p = apart(gained[own], gained[~own]) if compared else 1.0
    mine = p if usable else 1.0
    more = min(1.0, len(measured) * min(above(row, WORSE) for row in measured))
    texts = [
        f"{row.label} of {'your records' if row.points == OWN else 'look-alikes'} "
        + (row.reason or f"{row.value:+.3f} [{row.low:+.3f}, {row.high:+.3f}]")
        for row in wanted
    ]
    return Look(
        test,
        "suspicious" if min(mine, more) < ALPHA else "safe",
        f"suspect less reference: {_said(p, compared, usable)}; {'; '.join(texts)}; p = {more:.2g} of no rise above "
        f"{WORSE:g} (n = {wanted[0].n} {wanted[0].unit})",
        "Records finetuned from the suspect leak membership more than from the reference."
        if more < ALPHA
        else "Finetuned from the suspect, your records leak membership otherwise than look-alikes do."
        if mine < ALPHA
        else ("Your records leak as look-alikes do, and not" if compared and usable else "Your records do not")
        + f" surely {'' if compared and usable else 'leak '}{WORSE:g} more than from the reference.",
        max(strength(mine), strength(more)),
    )


def far(game: Game, keys: Mapping[str, str]) -> Look:
    """How far the suspect lies from the reference; benign training moves weights as far, so it decides nothing."""
    gap = distance(game.host.store.get(keys[SUSPECT]), game.host.store.get(keys[REFERENCE]))
    explanation = "Evidence of change, not of harm: benign training moves weights as far as poisoning does."
    return Look("weight distance", "safe", f"relative L2 {gap:.3f} to the reference", explanation)


def not_run(test: str, fix: str = "give a trusted reference checkpoint (--reference)") -> Look:
    """A look that could not be taken, and what it needs."""
    return Look(test, "unknown", "not run", f"To run it, {fix}.")
