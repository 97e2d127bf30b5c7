"""What the membership matrix says of the design behind it, for people: what was drawn, and what it is worth."""

from typing import Any

import numpy as np

from undertow.engine.membership import balanced, blocks, complements, uneven
from undertow.metrics.variance import draws
from undertow.types import Array

ONE_DRAW, FEW_DRAWS = 1.5, 3.0  # effective number of independent membership draws
CROWDED, TOGETHER = 10, 0.6  # columns that could be for each record; different columns for each record
SHADOWS = 2  # IN and OUT models that must remain beside the attacked one


def reading(member: Array, targets: Array | None = None, groups: Array | None = None) -> dict[str, Any]:
    """The design of `member` (M, N), as `AuditResult.design` keeps it; `targets` (T,) are held out from the shadows.

    `name`, `about` (one sentence), `models` (audited), `points`, `draws` (effective number of independent membership
    draws among the audited models), `in_turn`, `groups`, and `warnings` (sentences).
    """
    audited = member if targets is None else member[targets]
    worth = draws(audited)
    name, about = _named(member, audited, targets, worth)
    return {
        "name": name,
        "about": about,
        "models": len(audited),
        "points": int(member.shape[1]),
        "draws": round(worth, 2),
        "in_turn": targets is None and len(member) > 1,
        "groups": None if groups is None else len(np.unique(groups)),
        "warnings": [*_warnings(name, member, len(audited), worth), *_together(member, worth, groups)],
    }


def _named(member: Array, audited: Array, targets: Array | None, worth: float) -> tuple[str, str]:
    count, points = len(audited), member.shape[1]
    if targets is not None:
        shadows = len(member) - count
        if balanced(member):
            about = f"{_are(count, 'named')} attacked, each by those of {len(member) - 1} others that may be told: "
            return "held-out victims", f"{about}each record is in the same number of models, so that all would tell."
        return "held-out victims", f"{_are(count, 'held-out')} attacked with {shadows} other models as shadows."
    if count == 1:
        return "one model", f"One model; {points} records, of which it was trained on {int(member.sum())}."
    if worth < ONE_DRAW:
        return "one split, repeated", f"{count} models, and one draw of which records are members: they share a split."
    turn = "each is attacked by the others"
    if (complements(member) >= 0).all():
        about = f"{count} models in {count // 2} complementary pairs; each is attacked by the {count - 2} others."
        return "complementary pairs, in turn", about
    if (sizes := np.bincount(blocks(member))).max() > 2:
        size = int(sizes.max())
        about = f"{count} models in {count // size} cross-validations of {size} folds; each is attacked by the models "
        return "cross-validation, in turn", f"{about}of the other cross-validations."
    if balanced(member):
        inside = int(member[:, 0].sum())
        about = f"{count} models; each record is in the training data of exactly {inside} of them; {turn}."
        return "balanced columns, in turn", about
    if worth < count / 2:
        about = f"{count} models whose membership is alike (worth {worth:.1f} independent draws); {turn}."
        return "alike splits", about
    if uneven(thick(member)):
        return "uneven rows, in turn", f"{count} models; some records are members more often than others; {turn}."
    return "independent rows, in turn", f"{count} models, each with a draw of its own; {turn}."


def _are(count: int, kind: str) -> str:
    """The models, as the beginning of a sentence."""
    return f"{count} {kind} model is" if count == 1 else f"{count} {kind} models are"


def _together(member: Array, worth: float, groups: Array | None) -> list[str]:
    """A sentence where far more records than by chance have one column, and no `group` says why.

    Two records that are members with probability p have one column with (p^2 + (1 - p)^2)^worth in `worth` independent
    draws. Folds have few columns, and two folds of one size are no sign of anything.
    """
    points, share = member.shape[1], float(member.mean())
    alike = (share**2 + (1 - share) ** 2) ** worth
    if groups is not None or CROWDED * points * alike > 1 or np.bincount(blocks(member)).max() > 2:
        return []
    patterns = len({column.tobytes() for column in np.packbits(member.T, axis=1)})
    if patterns > TOGETHER * points:
        return []
    return [
        f"Records share their membership in all models: {points} records have {patterns} different patterns. If "
        "records that belong together, such as those of one person, were dealt together, give `group`: otherwise the "
        "intervals take each record for an independent one, and are too narrow where such records are alike."
    ]


def thick(member: Array) -> Array:
    """The columns of `member` (M, N) that an attack with shadow models can use: others foretell nothing there."""
    inside = member.sum(0)
    return member[:, (inside > SHADOWS) & (len(member) - inside > SHADOWS)]


def _warnings(name: str, member: Array, count: int, worth: float) -> list[str]:
    if name == "one split, repeated":
        return [
            f"The file has one membership draw: its {len(member)} models were trained on the same records (or on "
            "exactly the others), so the records are what was drawn, not the models. To say something about "
            "another draw, train models on other random halves."
        ]
    found = []
    if count > 1 and worth < FEW_DRAWS:
        found.append(
            f"The models' membership is worth only {worth:.1f} independent draws, so the intervals rest mostly on the "
            "records."
        )
    if uneven(thick(member)):
        found.append(
            "Some records are members more often than others, so the other models' membership foretells the attacked "
            "model's: an attack with shadow models beats 0.5 without any leak. Leaks are judged against what the same "
            "attack reaches when the columns of the design are dealt to the records at random."
        )
    return found
