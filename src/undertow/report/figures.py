"""Figures of an audit as SVG strings: ROC curves and histograms of the scores."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from undertow.metrics import roc_curve, tpr_band
from undertow.report.best import best_at, rates
from undertow.report.drawing import (
    BLUE,
    GREEN,
    GREY,
    HALF,
    INK,
    NARROW,
    PURPLE,
    RED,
    WIDE,
    Drawing,
    Key,
    LineStyle,
    both_shapes,
    log_axis,
    safe,
)
from undertow.report.rows import Row, controls, of_kind, realistic, scores_of
from undertow.types import Array, AuditResult, Scores

ATTACKS_SHOWN = 3
POINTS = 240  # of a curve: the grid is even in log FPR, where it is read


@dataclass(frozen=True, eq=False)
class Curve:
    """One line of the ROC figure."""

    row: Row
    scores: Scores
    color: str
    line: LineStyle
    width: float
    band: bool
    role: str


def roc(result: AuditResult) -> Drawing | None:
    """ROC curves on log-log axes, pooled over models, with 95 % bands; None without scores.

    The axes start at 1 / non-members: below that rate nothing can be measured.
    """
    return draw_roc(tuple(_curves(result)))


def draw_roc(curves: tuple[Curve, ...]) -> Drawing | None:
    """These curves, as in `roc`; None where there are none."""
    if not curves:
        return None
    floor = 1 / max(int(curve.scores.outside.sum()) for curve in curves)
    lines = {id(c): _line(c, floor) for c in curves}
    what = ", ".join(f"{c.row.attack} (AUC {_auc(c.row):.3f})" for c in curves)
    label = (
        "ROC curves on logarithmic axes: true positive rate against false positive rate from "
        f"{100 * floor:.2g} % to 100 %, for {what}; the diagonal is guessing."
    )

    def draw(axes: Axes) -> list[Key]:
        handles = [_draw_curve(axes, c, lines[id(c)], floor) for c in curves]
        (guess,) = axes.plot([floor, 1], [floor, 1], color=GREY, lw=0.9, ls=(0, (1, 2)), zorder=1)
        log_axis(axes, floor)
        axes.set_xlabel("false positive rate: share of non-members accused")
        axes.set_ylabel("true positive rate: members found")
        names = [f"{safe(c.row.attack)}\n{c.role}AUC {_auc(c.row):.3f}" for c in curves]
        return [*zip(handles, names), (guess, "guessing, AUC 0.5")]

    return both_shapes(draw, (WIDE, NARROW), "roc", label, 1.0)


def histogram(result: AuditResult, row: Row) -> Drawing | None:
    """Scores of members against those of non-members, pooled over models; None without scores.

    The outermost bars also count what lies beyond the central 98% of all scores.
    """
    scores = scores_of(result, row)
    if scores is None or not scores.inside.any() or not scores.outside.any():
        return None
    values, member = scores.pairs()
    edges = _edges(values)
    clipped = np.clip(values, edges[0], edges[-1])
    inside, outside = (100 * np.histogram(clipped[m], edges)[0] / m.sum() for m in (member, ~member))
    label = (
        f"Histogram of the scores of {row.attack}: median {np.median(values[member]):.3g} for members, "
        f"{np.median(values[~member]):.3g} for non-members; higher means member."
    )

    def draw(axes: Axes) -> list[Key]:
        for share, color, line in ((outside, RED, (0, (4, 1.5))), (inside, BLUE, "-")):
            axes.stairs(share, edges, fill=True, color=color, alpha=0.16, lw=0)
            axes.stairs(share, edges, color=color, lw=1.6, ls=line)
        axes.set_xlim(edges[0], edges[-1])
        axes.set_ylim(0, 1.06 * max(inside.max(), outside.max()))
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}%"))
        axes.set_xlabel("score (higher: more like a member)")
        axes.set_ylabel("share of the group per bar")
        solid = Line2D([], [], color=BLUE, lw=1.6)
        dashed = Line2D([], [], color=RED, lw=1.6, ls=(0, (4, 1.5)))
        return [(solid, f"members ({member.sum():,})"), (dashed, f"non-members ({(~member).sum():,})")]

    return both_shapes(draw, (HALF, NARROW), f"hist-{row.attack}", label, 0.72)


def _curves(result: AuditResult) -> Iterator[Curve]:
    """A readable few: the attacks of the key figures, the best baseline, direct access, the best attack's control."""
    choice = realistic(result)
    styles: list[tuple[str, LineStyle, float]] = [
        (BLUE, "-", 2.4),
        (RED, (0, (6, 1.6)), 1.7),
        (GREEN, (0, (6, 1.5, 1.3, 1.5)), 1.7),
    ]
    named = [found.row for label in ("AUC", *rates(result)[:2]) if (found := best_at(result, label))]
    order = [row for i, row in enumerate((*named, *choice)) if row not in (*named, *choice)[:i]]
    shown = [row for row in order if row.kind == "attack"][:ATTACKS_SHOWN] or list(choice[:ATTACKS_SHOWN])
    for i, (row, (color, line, width)) in enumerate(zip(shown, styles)):
        yield from _curve(result, row, color, line, width, i == 0, "")
    baseline = next((row for row in choice if row.kind == "baseline" and row not in shown), None)
    yield from _curve(result, baseline, PURPLE, (0, (1.5, 1.4)), 1.9, False, "baseline, ")
    yield from _curve(result, of_kind(result, "direct"), INK, (0, (9, 2)), 1.5, True, "direct access, ")
    twin = next((row for row in controls(result) if shown and row.attack == shown[0].attack), None)
    yield from _curve(result, twin, GREY, (0, (3.5, 1.6)), 1.6, True, "control, ")


def _curve(
    result: AuditResult,
    row: Row | None,
    color: str,
    line: LineStyle,
    width: float,
    band: bool,
    role: str,
) -> Iterator[Curve]:
    scores = None if row is None else scores_of(result, row)
    if row is not None and scores is not None and scores.inside.any() and scores.outside.any():
        yield Curve(row, scores, color, line, width, band, role)


def _line(curve: Curve, floor: float) -> tuple[Array, Array, Array | None, Array | None]:
    """FPR grid (G,), TPR there (G,), and the band's limits, each (G,) or None.

    TPR at the largest threshold whose FPR does not exceed the grid's: nothing is interpolated.
    """
    grid = np.geomspace(floor, 1, POINTS)
    fpr, tpr = roc_curve(*curve.scores.pairs())
    y = tpr[np.searchsorted(fpr, grid * (1 + 1e-9), side="right") - 1]
    if not curve.band:
        return grid, y, None, None
    low, high = tpr_band(curve.scores, grid)
    return grid, y, low, high


def _draw_curve(
    axes: Axes, curve: Curve, line: tuple[Array, Array, Array | None, Array | None], floor: float
) -> Line2D:
    x, y, low, high = line
    below = floor / 100  # a rate of zero has no place on a log axis: draw it out of sight
    if low is not None and high is not None:
        axes.fill_between(
            x, np.maximum(low, below), np.maximum(high, below), color=curve.color, alpha=0.13, lw=0, zorder=2
        )
    (drawn,) = axes.plot(
        x,
        np.maximum(y, below),
        color=curve.color,
        ls=curve.line,
        lw=curve.width,
        drawstyle="steps-post",
        zorder=3,
    )
    return drawn


def _edges(values: Array, bars: int = 40) -> Array:
    low, high = np.quantile(values, [0.01, 0.99])
    if not high > low:
        low, high = float(values.min()), float(values.max())
    if not high > low:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, bars + 1)


def _auc(row: Row) -> float:
    return 0.5 if row.auc is None or row.auc.value is None else row.auc.value
