"""The theory drawn: AUC against alpha, the closed form as a line and the simulation as points on top."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from undertow.metrics import auc, tpr_at
from undertow.rng import stream
from undertow.theory import Gaussian


@dataclass(frozen=True)
class Point:
    """Closed form and simulation at one alpha; `error` is the standard error of the simulated AUC."""

    alpha: float
    predicted: float
    simulated: float
    error: float
    tpr_predicted: float  # at 1 % FPR
    tpr_simulated: float


def points(model: Gaussian, alphas: Sequence[float], trials: int, seed: int) -> list[Point]:
    """Closed form and simulation of `model` at each alpha."""
    result = []
    for alpha in alphas:
        at = replace(model, alpha=float(alpha))
        inside, outside = at.simulate(trials, stream(seed, "theory", repr(float(alpha))))
        values, member = np.concatenate([inside, outside]), np.arange(2 * trials) < trials
        found = auc(values, member)
        result.append(
            Point(
                float(alpha),
                at.tracing().auc(),
                found,
                auc_error(inside, outside),
                at.tracing().tpr(0.01),
                tpr_at(values, member, 0.01),
            )
        )
    return result


def auc_error(inside: np.ndarray, outside: np.ndarray) -> float:
    """Standard error of the AUC of two samples (DeLong et al. 1988)."""
    above = np.searchsorted(np.sort(outside), inside) / len(outside)
    below = 1 - np.searchsorted(np.sort(inside), outside, "right") / len(inside)
    return float(np.sqrt(above.var(ddof=1) / len(inside) + below.var(ddof=1) / len(outside)))


def draw(model: Gaussian, found: Sequence[Point]) -> str:
    """The figure as SVG text."""
    fine = np.linspace(0, 1, 201)
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(fine, [replace(model, alpha=float(a)).tracing().auc() for a in fine], label="closed form")
    axes.errorbar(
        [p.alpha for p in found],
        [p.simulated for p in found],
        yerr=[1.96 * p.error for p in found],
        fmt="o",
        capsize=3,
        label="simulation, 95 %",
    )
    axes.axhline(0.5, color="gray", linestyle=":", label="guessing")
    axes.set(
        xlabel="alpha: what finetuning leaves of the pretrained mean", ylabel="AUC of tracing a pretraining record"
    )
    axes.set_title(
        f"d = {model.dimension}, n = {model.pretraining} pretraining, m = {model.finetuning} finetuning records, "
        f"noise {model.nu:g}",
        fontsize=10,
    )
    axes.legend()
    text = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "undertow theory", "svg.fonttype": "none"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()
