"""What direct access to the pretrained model adds to a rule: the same rule at both places, read pair by pair."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from undertow.attacks.catalog import difference_name, direct_name
from undertow.metrics import FPRS, difference
from undertow.rng import stream
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


def direct_differences(scores: Sequence[Scores], seed: int) -> tuple[Measurement, ...]:
    """AUC and TPRs of each rule on the pretrained models less its own on the finetuned ones, where both ran.

    Paired: the same victims and points, read on the same draws. Above 0, finetuning hides something from this rule.
    With one victim the rows have a reason in place of a value.
    """
    ran = {s.attack: s for s in scores if s.group is None}
    pairs = [(ran[direct_name(name)], s) for name, s in ran.items() if direct_name(name) in ran]
    return tuple(row for direct, own in pairs for row in _difference(direct, own, seed))


def _difference(direct: Scores, own: Scores, seed: int) -> Iterable[Measurement]:
    if len(own.values) < 2:
        return _of_one_model(direct, own)
    rows = difference([direct], [own], stream(seed, "difference", direct.attack), fprs=FPRS)
    return [replace(row, metric=f"{row.metric}_difference") for row in rows]


def _of_one_model(direct: Scores, own: Scores) -> Iterable[Measurement]:
    reason = "the difference is over victims: audit two or more"
    for metric, fpr in (("auc", None), *(("tpr", fpr) for fpr in FPRS)):
        yield Measurement(
            attack=difference_name(direct.attack, own.attack),
            metric=f"{metric}_difference",
            value=None,
            low=None,
            high=None,
            n=1,
            unit="models",
            fpr=fpr,
            reason=reason,
        )
