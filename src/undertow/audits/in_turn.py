"""Attack every model by the others, on the records that allow it, and say which attack could not use what."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from undertow.attacks import in_turn
from undertow.attacks.catalog import ATTACKS, Attack, missing, run
from undertow.engine.membership import Fold, balanced, folds, left_out, remaining
from undertow.rng import stream
from undertow.types import Array, BadInput, Evidence, Progress, Scores, Signals

MODELS_NEEDED = 2  # IN and OUT at a point, unless in_turn.NEEDS says otherwise
BY_POINT = ("labels", "pretrained_labels", "features", "groups")  # fields of Evidence whose first axis is the points


@dataclass(frozen=True, eq=False)
class Attacked:
    """What the attacks found, and what they could not do."""

    scores: tuple[Scores, ...]
    not_run: tuple[dict[str, str], ...] = ()
    left_out: tuple[dict[str, object], ...] = ()


def attack_in_turn(
    evidence: Evidence,
    names: Sequence[str],
    seed: int,
    *,
    ids: Sequence[str] | None = None,
    group: str | None = None,
    progress: Progress | None = None,
) -> Attacked:
    """Every named attack on every model, learnt from the models that may be told (`engine.membership.left_out`).

    An attack with shadows is run on the points where enough IN and OUT models remain; the others are counted in
    `left_out`, whatever their membership, so that what is left out says nothing of it. An attack without enough
    such points is in `not_run`. BadInput naming the attack and the key where an input is absent.
    """
    out = left_out(evidence.member, stream(seed, "left out"))
    names_of_points = tuple(ids) if ids is not None else tuple(map(str, range(evidence.member.shape[1])))
    scores: list[Scores] = []
    not_run: list[dict[str, str]] = []
    thin: list[dict[str, object]] = []
    for done, name in enumerate(names):
        if progress:
            progress("attack", done, len(names))
        attack = ATTACKS[name]
        if (absent := missing(attack, evidence)) is not None:
            raise BadInput(f"attack {name!r} cannot run: {absent}")
        keep = usable(evidence.member, out, [attack])
        if not attackable(evidence.member, keep):
            not_run.append(too_thin(evidence.member, out, attack))
            continue
        if not keep.all():
            thin.append(_left_out(attack, keep))
        chosen = evidence if keep.all() else at_points(evidence, keep)
        values = _attack(attack, chosen, out[:, keep], seed, group)
        own = None if keep.all() else tuple(names_of_points[q] for q in np.flatnonzero(keep))
        scores.append(Scores(name, values, chosen.member, group, ids=own, in_turn=attack.shadows, groups=chosen.groups))
    if progress:
        progress("attack", len(names), len(names))
    return Attacked(tuple(scores), tuple(not_run), tuple(thin))


def usable(member: Array, out: Array, attacks: Sequence[Attack]) -> Array:
    """The points (N,) where every one of `attacks` has enough IN and OUT models for every target."""
    keep = np.ones(member.shape[1], bool)
    learning = [attack for attack in attacks if attack.shadows]
    if learning:
        inside, outside = remaining(member, out)
        for attack in learning:
            least_in, least_out = needs(attack)
            keep &= (inside >= least_in) & (outside >= least_out)
    return keep


def needs(attack: Attack) -> tuple[int, int]:
    """IN and OUT models that must remain at a point."""
    return in_turn.NEEDS.get(attack.name, (MODELS_NEEDED, MODELS_NEEDED))


def attackable(member: Array, keep: Array) -> bool:
    """Whether the points left hold members and non-members, and are at least two."""
    left = member[:, keep]
    return bool(keep.sum() >= 2 and left.any() and not left.all())


def too_thin(member: Array, out: Array, attack: Attack) -> dict[str, str]:
    """Why an attack was not run, and what to add."""
    least_in, least_out = needs(attack)
    enough = int(usable(member, out, [attack]).sum())
    asked = f"{least_out} models without it" if not least_in else f"{least_in} with and {least_out} without it"
    models = len(member)
    have = f"{enough} of {member.shape[1]} have them"
    return {
        "attack": attack.name,
        "reason": f"it needs, beside the attacked model, {asked} for each record; {have}",
        "fix": f"give more models than {models}, trained on random halves of the records, best as complementary pairs",
    }


def _left_out(attack: Attack, keep: Array) -> dict[str, object]:
    least_in, least_out = needs(attack)
    return {
        "attack": attack.name,
        "records": int((~keep).sum()),
        "of": len(keep),
        "reason": f"fewer than {least_in} models with or {least_out} without the record remain beside the attacked one",
    }


def at_points(evidence: Evidence, keep: Array) -> Evidence:
    """The evidence on some of the points: (N,) bool, or their numbers."""
    changes = {}
    for field in fields(Evidence):
        value = getattr(evidence, field.name)
        if value is not None:
            changes[field.name] = value[keep] if field.name in BY_POINT else value[:, keep]
    return replace(evidence, **changes)


def _attack(attack: Attack, evidence: Evidence, out: Array, seed: int, group: str | None) -> Array:
    """Scores (M, N) of one attack."""
    everyone = np.arange(len(evidence.member))
    if not attack.shadows:
        nobody = np.array([], int)
        return run(attack, evidence, nobody, everyone, stream(seed, "attack", group or "", attack.name, 0))
    if attack.name in in_turn.RULES:
        return in_turn.RULES[attack.name](np.asarray(attack.read(evidence), float), evidence.member, out)
    if balanced(evidence.member):
        return _point_by_point(attack, evidence, out, seed, group)
    return _by_folds(attack, evidence, folds(evidence.member), seed, group)


def _by_folds(attack: Attack, evidence: Evidence, parts: Sequence[Fold], seed: int, group: str | None) -> Array:
    values = np.empty(evidence.member.shape)
    for i, fold in enumerate(parts):
        rng = stream(seed, "attack", group or "", attack.name, i)
        values[fold.targets] = run(attack, evidence, fold.shadows, fold.targets, rng)
    return values


def _point_by_point(attack: Attack, evidence: Evidence, out: Array, seed: int, group: str | None) -> Array:
    """Where another model is left out at every point: the shadows of a target are gathered point by point."""
    values, member = attack.read(evidence), evidence.member
    count, points = member.shape
    scores = np.empty(member.shape)
    for m in range(count):
        gone = np.zeros(member.shape, bool)
        gone[m] = True
        gone[np.where(out[m] < 0, m, out[m]), np.arange(points)] = True
        keep = np.argsort(gone, 0, kind="stable")[: count - int(gone.sum(0).max())]
        wide = keep.reshape(keep.shape + (1,) * (values.ndim - 2))
        shadow = Signals(
            np.take_along_axis(values, wide, 0), np.take_along_axis(member, keep, 0), evidence.pretrained_labels
        )
        rng = stream(seed, "attack", group or "", attack.name, m)
        scores[m] = attack.rule(shadow, values[m : m + 1], rng)[0] if attack.rule else values[m]
    return scores
