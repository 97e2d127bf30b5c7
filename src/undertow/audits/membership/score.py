"""Scores first: the same rules, intervals and report on signals made anywhere, with nothing trained here."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from undertow.attacks.attack import SCORE, Attack
from undertow.attacks.catalog import ATTACKS, check_names, listed_by
from undertow.audits.in_turn import Attacked, asked, at_points, attack_in_turn, attackable, needs
from undertow.audits.leakage import Stopwatch, attack_all, choose_attacks, measure_all
from undertow.audits.membership.blind import with_blind_error
from undertow.audits.membership.cost import too_dear
from undertow.audits.membership.direct import direct_differences
from undertow.audits.membership.evidence import SignalSet, check_evidence
from undertow.audits.membership.leak import leak_test
from undertow.audits.membership.reading import reading
from undertow.audits.membership.together import TOGETHER, asked_together
from undertow.engine.membership import balanced, held_out_targets
from undertow.types import Array, AuditResult, BadInput, Evidence, Progress, Scores


def audit_score(
    signals: SignalSet,
    attacks: Sequence[str] = (),
    seed: int = 0,
    *,
    drop_duplicates: bool = False,
    environment: Mapping[str, object] | None = None,
    progress: Progress | None = None,
) -> AuditResult:
    """Run `attacks` (default: all whose input is there and that are not too dear) on the signals and measure them.

    Targets are `target` where given (held out from the shadows), else each model in turn, leaving out the target and
    what would give its membership away. What was not run, and which records an attack could not use, is in the
    result. Raises BadInput naming the key and the fix.
    """
    check_names(attacks)
    evidence, ids, notes = check_evidence(signals, drop_duplicates)
    given = signals.arrays.get("target")
    targets = None if given is None else np.sort(given.astype(int))
    names, skipped = _chosen(attacks, evidence, targets)
    if not names:
        raise BadInput(f"{signals.name}: no attack applies; give `values`, or `logits` with `labels`")
    clock = Stopwatch()
    with clock.stage("attack"):
        found = _attacked(evidence, names, seed, targets, ids, progress)
    with clock.stage("measure"):
        rows = with_blind_error(measure_all(found.scores, seed), found.scores, evidence, seed, targets)
        rows, leak = leak_test(found.scores, rows, evidence, seed, targets, ids)
        rows += direct_differences(found.scores)
    return AuditResult(
        audit="score",
        config={"attacks": list(names), "drop_duplicates": drop_duplicates},
        seed=seed,
        environment={**(environment or {}), TOGETHER: asked_together(names, evidence.member, targets)},
        data={
            "name": signals.name,
            "sizes": {k: list(v.shape) for k, v in signals.arrays.items()},
            "sha256": {"file": signals.sha256},
            "embedded": False,
        },
        measurements=rows,
        timing=clock.seconds,
        warnings=notes,
        scores=found.scores,
        ids=ids,
        design=reading(evidence.member, targets, evidence.groups),
        leak=leak,
        not_run=(*skipped, *found.not_run),
        left_out=found.left_out,
    )


def _chosen(
    wanted: Sequence[str], evidence: Evidence, targets: Array | None
) -> tuple[tuple[str, ...], tuple[dict[str, str], ...]]:
    """The attacks to run, and those that are not run unless they are asked for."""
    names = choose_attacks(wanted, listed_by(SCORE), evidence)
    if wanted:
        return names, ()
    dear = {name: why for name in names if (why := too_dear(ATTACKS[name], evidence, targets))}
    skipped = tuple({"attack": name, "reason": why, "fix": f"name it, --attack {name}"} for name, why in dear.items())
    return tuple(name for name in names if name not in dear), skipped


def _attacked(
    evidence: Evidence,
    names: Sequence[str],
    seed: int,
    targets: Array | None,
    ids: tuple[str, ...],
    progress: Progress | None,
) -> Attacked:
    """Each model in turn, or the held-out targets.

    In a design with balanced columns the counts of all other models would give the targets away: there the targets
    are attacked in turn, too, which leaves out what would.
    """
    if targets is None:
        return attack_in_turn(evidence, names, seed, ids=ids, progress=progress)
    if not balanced(evidence.member):
        return _held_out(evidence, names, seed, targets, ids, progress)
    found = attack_in_turn(evidence, names, seed, ids=ids, progress=progress)
    own = tuple(_rows(s, targets) for s in found.scores)
    return replace(found, scores=own)


def _rows(scores: Scores, models: Array) -> Scores:
    """The scores of some models."""
    scored = None if scores.scored is None else scores.scored[models]
    return replace(scores, values=scores.values[models], member=scores.member[models], scored=scored)


def _held_out(
    evidence: Evidence,
    names: Sequence[str],
    seed: int,
    targets: Array,
    ids: tuple[str, ...],
    progress: Progress | None,
) -> Attacked:
    """Held-out models, attacked by all others, on the records that each attack can use."""
    fold = held_out_targets(targets.tolist(), evidence.member)
    shadows = evidence.member[fold.shadows]
    counts = (shadows.sum(0), (~shadows).sum(0))
    scores, not_run, thin = [], [], []
    for name in names:
        least, attack = needs(ATTACKS[name]), ATTACKS[name]
        keep = (counts[0] >= least[0]) & (counts[1] >= least[1]) if attack.shadows else np.ones(len(ids), bool)
        if not attackable(evidence.member[fold.targets], np.broadcast_to(keep, (len(fold.targets), len(keep)))):
            not_run.append(_no_shadows(attack, int(keep.sum()), keep.size, len(fold.shadows)))
            continue
        if not keep.all():
            reason = f"among the shadow models, fewer than {asked(attack)} the record"
            thin.append({"attack": name, "records": int((~keep).sum()), "of": keep.size, "reason": reason})
        chosen = evidence if keep.all() else at_points(evidence, keep)
        (found,) = attack_all(chosen, [fold], [name], seed, progress=progress)
        own = None if keep.all() else tuple(ids[q] for q in np.flatnonzero(keep))
        scores.append(replace(found, ids=own, groups=chosen.groups))
    return Attacked(tuple(scores), tuple(not_run), tuple(thin))


def _no_shadows(attack: Attack, enough: int, points: int, shadows: int) -> dict[str, str]:
    return {
        "attack": attack.name,
        "reason": f"{asked(attack)} each record are needed among the shadow models; {enough} of {points} records "
        "have them",
        "fix": f"give more shadow models than {shadows}, trained on random halves of the records",
    }
