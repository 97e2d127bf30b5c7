"""What direct access to the pretrained model adds to a rule: the same rule at both places, read pair by pair."""

from collections.abc import Sequence
from dataclasses import replace

from undertow.attacks.catalog import direct_name
from undertow.metrics import FPRS, difference
from undertow.types import Evidence, Measurement, Scores

CLASSES = 200  # of the pretraining: the closed form keeps a covariance of the classes for each of up to 1000 points
COSTLY = direct_name("tmi-default")


def too_costly(evidence: Evidence) -> dict[str, str] | None:
    """Why the default rule is not run on the pretrained models unasked, as an entry of `not_run`; None where it is."""
    classes = 0 if evidence.pretrained_logits is None else evidence.pretrained_logits.shape[-1]
    if classes <= CLASSES:
        return None
    return {
        "attack": COSTLY,
        "reason": f"the pretrained model has {classes} classes; above {CLASSES} this attack needs much memory",
        "fix": f"name {COSTLY!r} in `attacks` to run it all the same",
    }


def direct_differences(scores: Sequence[Scores]) -> tuple[Measurement, ...]:
    """AUC and TPRs of each rule on the pretrained models less its own on the finetuned ones, where both ran.

    Paired: the same models and points. Above 0, finetuning hides something from this rule.
    """
    ran = {s.attack: s for s in scores if s.group is None}
    pairs = [(ran[direct_name(name)], s) for name, s in ran.items() if direct_name(name) in ran]
    return tuple(
        replace(row, metric=f"{row.metric}_difference")
        for direct, own in pairs
        if direct.ids == own.ids
        for row in difference([direct], [own], fprs=FPRS)
    )
