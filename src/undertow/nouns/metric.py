"""What each number of an audit is: its name, label, form, unit, direction, and how --fail-if may ask for it."""

from dataclasses import dataclass, replace
from typing import Literal

DIFFERENCE = "_difference"  # ends the name of a metric that is one arm less another
Form = Literal["share", "plain", "count", "quantity", "epsilon", "p-value"]


@dataclass(frozen=True)
class Metric:
    """One kind of number. What is not in METRICS is a quantity of unknown direction, or a share by its name."""

    name: str  # in result.json
    label: str  # as people write it
    form: Form  # share: percent; plain: three decimals; count; quantity: of any size; epsilon: two decimals
    unit: str = ""  # behind the number
    higher: bool | None = None  # True: higher leaks more; False: lower leaks more; None: neither
    gate: Literal["", "share", "rate", "count", "bound"] = ""  # --fail-if: "rate" is read at a false-positive rate
    interval: bool = True  # whether a reader may ask for an interval; a count is what it is


_ALL = (
    Metric("auc", "AUC", "plain", higher=True, gate="share"),
    Metric("balanced_accuracy", "balanced accuracy", "share", "%", True, "share"),
    Metric("tpr", "TPR", "share", "%", True, "rate"),
    Metric("auc_difference", "AUC, difference", "plain", "", True, "share"),
    Metric("tpr_difference", "TPR, difference", "share", " pp", True, "rate"),
    Metric("accuracy", "accuracy", "share", "%"),
    Metric("accuracy_difference", "accuracy, difference", "share", " pp"),
    Metric("heldout_loss", "held-out loss", "plain", " nats"),
    Metric("traps", "traps", "count", interval=False),
    Metric("captured_exact", "captured_exact", "count", "", True, "count", interval=False),
    Metric("captured_unique", "captured_unique", "count", "", True, "count", interval=False),
    Metric("mixed", "mixed", "count", interval=False),
    Metric("none", "none", "count", interval=False),
    Metric("accepted", "accepted", "count", "", True, "count", interval=False),
    Metric("collapsed", "collapsed", "count", interval=False),
    Metric("accepted_precision", "accepted_precision", "share", "%", True),
    Metric("max_error", "max_error", "quantity", interval=False),
    Metric("similar_unique", "distinct, by similarity", "quantity", "", True),
    Metric("ssim", "SSIM", "quantity", "", True),
    Metric("psnr", "PSNR", "quantity", " dB", True),
    Metric("token_accuracy", "token accuracy", "share", "%", True),
    Metric("rouge_l", "ROUGE-L", "quantity", "", True),
    Metric("identified", "identified", "quantity", "", True),
    Metric("identified_blind", "identified by the prior alone", "quantity"),
    Metric("epsilon_claimed", "epsilon, claimed", "epsilon", interval=False),
    Metric("epsilon_ceiling", "epsilon, most this access can show", "epsilon", interval=False),
    Metric("epsilon_point", "epsilon, point estimate", "epsilon", "", True, interval=False),
    Metric("epsilon_lower", "epsilon, lower bound", "epsilon", "", True, "bound", interval=False),
    Metric("claim_p_value", "p-value of the claim", "p-value", "", False, interval=False),
)
METRICS = {metric.name: metric for metric in _ALL}
_SHARES = ("accuracy", "precision", "_rate")  # how the names of other shares end


def metric_of(name: str) -> Metric:
    """The metric of that name.

    >>> metric_of("tpr_difference").unit, metric_of("f1_difference").label, metric_of("click_rate").form
    (' pp', 'f1, difference', 'share')
    """
    if name in METRICS:
        return METRICS[name]
    if name.endswith(DIFFERENCE):
        base = metric_of(name.removesuffix(DIFFERENCE))
        return replace(base, name=name, label=f"{base.label}, difference", gate="")
    share = name.endswith(_SHARES)
    return Metric(name, name, "share" if share else "quantity", "%" if share else "")
