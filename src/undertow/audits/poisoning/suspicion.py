"""The auditor's side: is it safe to finetune my records from this checkpoint?

Four looks, none of which needs to know the attack: the losses of my records under the suspect against look-alikes the
attacker cannot have known; how the suspect moved those losses against a trusted reference; the membership game itself,
played from the suspect and from the reference on my records and the look-alikes; and the distance of the weights.
False alarms of one p-value have probability at most ALPHA: of the three comparisons with look-alikes where these and
my records are exchangeable, of the game's limit where nothing leaks more than WORSE above the reference. The limits
SHIFT and WORSE are choices.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from warnings import catch_warnings

import numpy as np
from scipy.stats import hypergeom, ks_2samp, t

from undertow.audits.leakage import Stopwatch, plain
from undertow.audits.poisoning.blind_spots import BLIND
from undertow.audits.poisoning.game import Game, asked, attacked, compared, finetunable, finetuned, kept, with_promises
from undertow.audits.poisoning.kit import Answers
from undertow.audits.poisoning.recipes import chosen
from undertow.audits.poisoning.worth import distance, worth_after, worth_before
from undertow.training.privacy import Noise
from undertow.types import Array, AuditResult, Measurement, Scores

ALPHA = 0.01  # false alarms of one test, where my records and the look-alikes are exchangeable
SHIFT = 1.0  # nats: how much more a benign checkpoint may move the loss of my kind of record than of ordinary data
WORSE = 0.1  # rise of AUC or TPR@1% above the reference that benign training may cause too
REFERENCE, SUSPECT = "reference", "suspect"
OWN = "targets"  # what rows call my records; the look-alikes are the others

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
    looks = [anomaly(loss[SUSPECT], own)]
    rows: list[Measurement] = []
    scores: list[Scores] = []
    if reference is None:
        looks += [_not_run("reference shift"), _not_run("membership game"), _not_run("weight distance")]
    else:
        held = {who: float(answers["heldout_loss"].mean()) for who, answers in base.items()}
        looks.append(shift(loss[SUSPECT] - loss[REFERENCE], own, held[SUSPECT] - held[REFERENCE]))
        with clock.stage("membership game"):
            found, rows = played(game, keys, base)
        scores = kept(found, chosen(config.recipes)[0], "exact")
        gained = leak(found[SUSPECT][game.kit.first]) - leak(found[REFERENCE][game.kit.first])
        looks += [amplification(rows, gained, own), far(game, files)]
    rows += [worth_before(answers, game.kit.utility, who, len(game.supply.held_out)) for who, answers in base.items()]
    return AuditResult(
        audit="poisoning",
        config=plain(config),
        seed=config.seed,
        environment={**game.host.environment, "published": files, "checkpoints": keys},
        data=game.supply.describe(),
        measurements=tuple(rows),
        timing=clock.seconds,
        warnings=(*game.supply.notes, *BLIND),
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


def anomaly(loss: Array, own: Array) -> Look:
    """My records against look-alikes under the suspect alone: `apart` on their losses (Q,)."""
    test = "own-data loss"
    if not own.any() or own.all():
        return _not_run(test, "give look-alikes: records of the same kind that the attacker cannot have known")
    p = apart(loss[own], loss[~own])
    return Look(
        test,
        "suspicious" if p < ALPHA else "safe",
        f"p = {p:.2g} (n = {own.sum()} and {(~own).sum()} records); mean loss {loss[own].mean():.3f} of yours, "
        f"{loss[~own].mean():.3f} of look-alikes",
        "A checkpoint that does not know your records finds them as likely as look-alikes; this one does not."
        if p < ALPHA
        else "The checkpoint finds your records as likely as look-alikes.",
        _strength(p),
    )


def apart(own: Array, other: Array) -> float:
    """p-value of "these samples, (n,) and (m,), are exchangeable", against any difference and against few odd records.

    Bonferroni over three distribution-free tests: Kolmogorov and Smirnov's, and whether `own` has more than its share
    of the highest and of the lowest tenth of all values (hypergeometric), where a poisoned minority shows. Values that
    tie (a checkpoint judged against itself moves nothing) count against a finding.
    """
    n, total = len(own), len(own) + len(other)
    tenth = max(1, total // 10)
    low = np.argsort(np.concatenate([other, own]), kind="stable")[:tenth] >= len(other)
    high = np.argsort(np.concatenate([own, other]), kind="stable")[-tenth:] < n
    tails = [hypergeom.sf(side.sum() - 1, total, n, tenth) for side in (low, high)]
    with catch_warnings(action="ignore", category=RuntimeWarning):  # of scipy, where p is about 1
        p = ks_2samp(own, other).pvalue
    return float(min(1.0, 3 * min(p, *tails)))


def shift(moved: Array, own: Array, ordinary: float) -> Look:
    """How the suspect moved the losses (Q,) against the reference: mine against look-alikes, and all against ordinary.

    `ordinary` is the move of the mean loss of held-out data. The first comparison is `apart`; the second is a plain
    limit, SHIFT nats, since a benign checkpoint may well know one kind of record better.
    """
    test = "reference shift"
    style = float(moved.mean()) - ordinary
    alike = not own.any() or own.all()
    p = 1.0 if alike else apart(moved[own], moved[~own])
    odd = p < ALPHA or abs(style) > SHIFT
    compared = "no look-alikes to compare with" if alike else f"yours against look-alikes p = {p:.2g}"
    return Look(
        test,
        "suspicious" if odd else "unknown" if alike else "safe",
        f"{compared}; loss of this kind of record moved {style:+.3f} nats more than that of held-out data "
        f"(limit {SHIFT:g}; n = {len(moved)} records)",
        "Against the reference, the suspect was moved on these records in particular."
        if odd
        else "Against the reference, these records moved no more than others.",
        max(_strength(p), abs(style) / SHIFT),
    )


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


def amplification(rows: list[Measurement], gained: Array, own: Array) -> Look:
    """What finetuning from the suspect leaks above the reference: mine against look-alikes, and all against a limit.

    `gained` (Q,) is how much more each record leaks (`leak`). The first comparison is `apart`: whatever benign training
    does to leakage, it does to both alike. The second is of LiRA's AUC and TPR@1%, mine and look-alikes: suspicious
    where one is surely above WORSE, by Bonferroni over the rows that `above` tests.
    """
    test = "membership game"
    wanted = [
        row for row in rows if row.attack == "lira" and row.metric.endswith("_difference") and row.fpr in (None, 0.01)
    ]
    measured = [row for row in wanted if row.value is not None]
    if not measured:
        return _not_run(test, "give more models or records")
    alike = not own.any() or own.all()
    mine = 1.0 if alike else apart(gained[own], gained[~own])
    more = min(1.0, len(measured) * min(above(row, WORSE) for row in measured))
    texts = [
        f"{row.label} of {'your records' if row.points == OWN else 'look-alikes'} "
        + (row.reason or f"{row.value:+.3f} [{row.low:+.3f}, {row.high:+.3f}]")
        for row in wanted
    ]
    compared = "no look-alikes to compare with" if alike else f"yours against look-alikes p = {mine:.2g}"
    return Look(
        test,
        "suspicious" if min(mine, more) < ALPHA else "safe",
        f"suspect less reference: {compared}; {'; '.join(texts)}; p = {more:.2g} of no rise above {WORSE:g} "
        f"(n = {wanted[0].n} models)",
        "Records finetuned from the suspect leak membership more than from the reference."
        if more < ALPHA
        else "Finetuned from the suspect, your records leak membership otherwise than look-alikes do."
        if mine < ALPHA
        else f"Your records leak as look-alikes do, and not surely {WORSE:g} more than from the reference.",
        max(_strength(mine), _strength(more)),
    )


def leak(scores: Scores) -> Array:
    """(Q,) of each record, its mean score (M, Q) where it is a member less that where it is none."""
    member, values = scores.member, scores.values
    inside, outside = ((values * mask).sum(0) / np.maximum(mask.sum(0), 1) for mask in (member, ~member))
    gap: Array = inside - outside
    return gap


def above(row: Measurement, limit: float) -> float:
    """p-value of "this is at most `limit`": Student's t, with the standard error that the row's 95 % interval has."""
    value, low, high = float(row.value or 0), float(row.low or 0), float(row.high or 0)
    error = (high - low) / 2 / t.ppf(0.975, row.n - 1)
    return float(t.sf((value - limit) / error, row.n - 1)) if error > 0 else float(value <= limit)


def far(game: Game, keys: Mapping[str, str]) -> Look:
    """How far the suspect lies from the reference; benign training moves weights as far, so it decides nothing."""
    gap = distance(game.host.store.get(keys[SUSPECT]), game.host.store.get(keys[REFERENCE]))
    explanation = "Evidence of change, not of harm: benign training moves weights as far as poisoning does."
    return Look("weight distance", "safe", f"relative L2 {gap:.3f} to the reference", explanation)


def _not_run(test: str, fix: str = "give a trusted reference checkpoint (--reference)") -> Look:
    return Look(test, "unknown", "not run", f"To run it, {fix}.")


def _strength(p: float) -> float:
    """1 at ALPHA, 2 at its square; 0 at p = 1."""
    return abs(float(np.log(max(p, 1e-300)) / np.log(ALPHA)))
