"""Attack every model by the others, on the records that allow it, and say which attack could not use what."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from undertow.attacks.attack import POISONING, Attack, missing, run
from undertow.attacks.catalog import ATTACKS, offered_by
from undertow.engine.membership import left_out, remaining
from undertow.left_out import LeftOut
from undertow.rng import stream
from undertow.types import Array, BadInput, Evidence, Progress, Scores, Signals

THRESHOLD = "threshold"  # the signal as it is
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
        can = usable(evidence.member, out, attack)
        if (why := _impossible(attack, evidence.member, out, can)) is not None:
            not_run.append(why)
            continue
        keep: Array = np.any(can, axis=0)
        if not can.all():
            thin.append(_left_out(attack, can))
        chosen = evidence if keep.all() else at_points(evidence, keep)
        values, scored = _attack(attack, chosen, out.at(keep), can[:, keep], seed, group), can[:, keep]
        own = None if keep.all() else tuple(names_of_points[q] for q in np.flatnonzero(keep))
        scores.append(
            Scores(
                name,
                np.where(scored, values, 0.0),
                chosen.member,
                group,
                ids=own,
                in_turn=attack.shadows,
                groups=chosen.groups,
                scored=None if scored.all() else scored,
            )
        )
    if progress:
        progress("attack", len(names), len(names))
    return Attacked(tuple(scores), tuple(not_run), tuple(thin))


def offered_on(evidence: Evidence) -> tuple[str, ...]:
    """The attacks that a poisoning audit runs on the signal of one view, the threshold first."""
    return tuple(n for n in offered_by(POISONING, first=(THRESHOLD,)) if missing(ATTACKS[n], evidence) is None)


def usable(member: Array, out: LeftOut, attack: Attack) -> Array:
    """The (target, point) pairs (M, N) for which enough IN and OUT models remain.

    The models that remain decide, and they say nothing of the target: choosing points by how many models hold them,
    the target among them, would (null LiRA .480 for 8 models of independent rows).
    """
    if not attack.shadows:
        return np.ones(member.shape, bool)
    inside, outside = remaining(member, out)
    least_in, least_out = needs(attack)
    can: Array = (inside >= least_in) & (outside >= least_out)
    enough: Array = can & (can.sum(1, keepdims=True) >= attack.least)
    return enough


def needs(attack: Attack) -> tuple[int, int]:
    """IN and OUT models that must remain at a point."""
    return attack.least_in, attack.least_out


def attackable(member: Array, can: Array) -> bool:
    """Whether the usable pairs hold members and non-members of at least two points."""
    return bool(can.any(0).sum() >= 2 and (member & can).any() and (~member & can).any())


def _impossible(attack: Attack, member: Array, out: LeftOut, can: Array) -> dict[str, str] | None:
    """Why an attack cannot be run at all, and what to add; None where it can."""
    if len(member) == 1 and attack.shadows:
        return {
            "attack": attack.name,
            "reason": "the attacked model is compared with others, and the file has one model",
            "fix": "add shadow models, trained on random halves of the records",
        }
    if attackable(member, can):
        if out.beside is not None and attack.shadows and attack.together and attack.in_turn is None:
            return {
                "attack": attack.name,
                "reason": "records are compared within a model, and in this design other models are left out at every "
                "record",
                "fix": "train models in complementary pairs, or name held-out models as `target`",
            }
        return None
    return {
        "attack": attack.name,
        "reason": f"{asked(attack)} each record are needed beside the attacked model, for members and for non-members; "
        f"{int(can.any(0).sum())} of {member.shape[1]} records have them",
        "fix": f"give more models than {len(member)}, trained on random halves of the records, best as complementary "
        "pairs",
    }


def asked(attack: Attack) -> str:
    """The models an attack needs, in words.

    >>> asked(ATTACKS["lira"]), asked(ATTACKS["rmia-offline"])
    ('2 models with and 2 without', '1 model without')
    """
    least_in, least_out = needs(attack)
    if least_in:
        return f"{least_in} model{'s' * (least_in > 1)} with and {least_out} without"
    return f"{least_out} model{'s' * (least_out > 1)} without"


def _left_out(attack: Attack, can: Array) -> dict[str, object]:
    gone: Array = ~np.any(can, axis=0)
    return {
        "attack": attack.name,
        "records": int(gone.sum()),
        "of": len(gone),
        "pairs": int((~can).sum()),
        "reason": f"Beside the attacked model, {asked(attack)} the record are needed",
    }


def at_points(evidence: Evidence, keep: Array) -> Evidence:
    """The evidence on some of the points: (N,) bool, or their numbers."""
    changes = {}
    for field in fields(Evidence):
        value = getattr(evidence, field.name)
        if value is not None:
            changes[field.name] = value[keep] if field.name in BY_POINT else value[:, keep]
    return replace(evidence, **changes)


def _attack(attack: Attack, evidence: Evidence, out: LeftOut, can: Array, seed: int, group: str | None) -> Array:
    """Scores (M, N) of one attack; what stands where it cannot be run (`can` is False) means nothing."""
    everyone = np.arange(len(evidence.member))
    if not attack.shadows:
        nobody = np.array([], int)
        return run(attack, evidence, nobody, everyone, stream(seed, "attack", group or "", attack.name, 0))
    if attack.in_turn is not None:
        return attack.in_turn(np.asarray(attack.read(evidence), float), evidence.member, out)
    if out.beside is not None:
        return _point_by_point(attack, evidence, out, seed, group)
    return _by_folds(attack, evidence, out, can, seed, group)


def _by_folds(attack: Attack, evidence: Evidence, out: LeftOut, can: Array, seed: int, group: str | None) -> Array:
    values, everyone = np.zeros(evidence.member.shape), np.arange(len(evidence.member))
    for i, block in enumerate(dict.fromkeys(out.block.tolist())):
        targets = everyone[out.block == block]
        keep = can[targets[0]]  # the same for all targets of a block: the others decide
        if not keep.any():
            continue
        some = evidence if keep.all() else at_points(evidence, keep)
        rng = stream(seed, "attack", group or "", attack.name, i)
        values[np.ix_(targets, keep)] = run(attack, some, everyone[out.block != block], targets, rng)
    return values


def _point_by_point(attack: Attack, evidence: Evidence, out: LeftOut, seed: int, group: str | None) -> Array:
    """Where another model is left out at every point: the shadows of a target are gathered point by point."""
    values, member = attack.read(evidence), evidence.member
    count, points = member.shape
    scores = np.empty(member.shape)
    for m in range(count):
        stays = out.stays(np.full(points, m), np.arange(points))
        keep = np.argsort(~stays, 0, kind="stable")[: int(stays.sum(0).min())]
        wide = keep.reshape(keep.shape + (1,) * (values.ndim - 2))
        shadow = Signals(
            np.take_along_axis(values, wide, 0), np.take_along_axis(member, keep, 0), evidence.pretrained_labels
        )
        rng = stream(seed, "attack", group or "", attack.name, m)
        scores[m] = attack.rule(shadow, values[m : m + 1], rng)[0] if attack.rule else values[m]
    return scores
