"""Figures of a poisoning audit: the ROC curves of its arms, differences over recipes and views, the sweep."""

from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from undertow.metrics import auc
from undertow.report.drawing import (
    BLUE,
    GREY,
    NARROW,
    RED,
    Drawing,
    Key,
    LineStyle,
    Shape,
    both_shapes,
    safe,
)
from undertow.report.figures import Curve, draw_roc
from undertow.report.poisoning.arms import (
    Setting,
    arms_of,
    attack_of,
    baseline_of,
    cell,
    change,
    points_of,
    rates_of,
    scores_of,
    settings_of,
    sweep_of,
)
from undertow.report.poisoning.verdict import told
from undertow.report.rows import Row
from undertow.report.words import plain
from undertow.types import AuditResult, Measurement

LINES: dict[str, tuple[str, LineStyle, float]] = {
    "clean": (GREY, (0, (3.5, 1.6)), 1.7),
    "benign": (BLUE, (0, (6, 1.5, 1.3, 1.5)), 1.7),
    "poisoned": (RED, "-", 2.4),
    "reference": (GREY, (0, (3.5, 1.6)), 1.7),
    "suspect": (RED, "-", 2.4),
}
FLAT = Shape("wide", 760, 260, 10.5, True)
LABELS = 6  # of a sweep's axis; more would touch on a phone


@dataclass(frozen=True)
class Series:
    """One kind of mark in the forest."""

    arm: str
    points: str
    mark: str
    color: str
    filled: bool

    @property
    def name(self) -> str:
        return f"{self.arm}, {self.points}"


SERIES = (
    Series("poisoned", "targets", "o", RED, True),
    Series("poisoned", "others", "o", RED, False),
    Series("benign", "targets", "D", BLUE, True),
    Series("suspect", "targets", "o", RED, True),
    Series("suspect", "others", "o", RED, False),
)


def arms_roc(result: AuditResult) -> Drawing | None:
    """ROC curves of the arms at the first recipe and view, of the targets where kept apart; None without scores."""
    curves = []
    for arm in reversed(arms_of(result)):
        scores = scores_of(result, arm)
        if scores is None or not scores.inside.any() or not scores.outside.any():
            continue
        found = Measurement(scores.attack, "auc", auc(*scores.pairs()), None, None, 1, "models")
        row = Row(arm, arm, "attack", arm, {"AUC": found})
        curves.append(Curve(row, scores, *LINES[arm], band=arm != "benign", role=""))
    return draw_roc(tuple(curves))


def forest(result: AuditResult) -> Drawing | None:
    """The differences to the baseline, one line per recipe and view; None where there is only one."""
    every = settings_of(result)
    shown = [s for s in SERIES if s.arm in arms_of(result) and s.points in points_of(result)]
    marks = [(y, s, m) for y, e in enumerate(every) for s in shown if _known(m := change(result, s.arm, s.points, e))]
    if len(every) < 2 or not marks:
        return None
    what = "; ".join(f"{every[y].name}: {s.name} {told(m)}" for y, s, m in marks if m is not None)
    rates = {m.metric for _, _, m in marks if m is not None}
    percent = rates == {"tpr_difference"}

    def draw(axes: Axes) -> list[Key]:
        axes.axvline(0, color=GREY, lw=0.9, ls=(0, (1, 2)), zorder=1)
        for y, s, m in marks:
            if m is not None:
                _mark(axes, y + 0.22 * (shown.index(s) - (len(shown) - 1) / 2), s, m, 100 if percent else 1)
        axes.set_ylim(len(every) - 0.5, -0.5)
        axes.yaxis.set_major_locator(FixedLocator(range(len(every))))
        axes.set_yticklabels(_lines(every))
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.grid(axis="x", color="#e6e9ee", lw=0.8)
        axes.set_axisbelow(True)
        axes.set_xlabel(_change_name(result, percent))
        return [(_key(s), s.name) for s in shown]

    rows = max(len(every), 3)
    label = f"Change against the {baseline_of(result)} arm. {what}."
    return both_shapes(draw, (FLAT, NARROW), "forest", label, 0.17 * rows, 8.2)


def sweep(result: AuditResult) -> Drawing | None:
    """The targets' TPR of each arm against what was swept, evenly spaced; None without a sweep."""
    values, every = sweep_of(result), settings_of(result)
    if not values or not every:
        return None
    fpr = next(iter(rates_of(result)), None)
    metric, name = ("auc", "AUC") if fpr is None else ("tpr", f"TPR at {100 * fpr:g}% FPR")
    key = plain(result.config.get("sweep") or "the swept value")
    lines = {a: [cell(result, metric, a, "targets", every[0], fpr, at) for at in values] for a in arms_of(result)}
    spoken = "; ".join(
        f"{key} {at:g}, {arm}: {told(m)}" for arm, row in lines.items() for at, m in zip(values, row) if _known(m) and m
    )

    def draw(axes: Axes) -> list[Key]:
        keys = [
            (_line(axes, arm, i - (len(lines) - 1) / 2, row, 1 if fpr is None else 100), arm)
            for i, (arm, row) in enumerate(lines.items())
        ]
        step = -(-len(values) // LABELS)
        axes.xaxis.set_major_locator(FixedLocator(range(0, len(values), step)))
        axes.set_xticklabels([f"{at:g}" for at in values[::step]])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlim(-0.4, len(values) - 0.6)
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_locator(MaxNLocator(5))
        if fpr is not None:
            axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}%"))
        axes.grid(axis="y", color="#e6e9ee", lw=0.8)
        axes.set_axisbelow(True)
        axes.set_xlabel(safe(key))
        axes.set_ylabel(name)
        return list(reversed(keys))

    return both_shapes(draw, (FLAT, NARROW), "sweep", f"{name} of the targets. {spoken}.", 0.95)


def _known(m: Measurement | None) -> bool:
    return m is not None and m.value is not None


def _mark(axes: Axes, y: float, s: Series, m: Measurement, scale: float) -> None:
    value = scale * (m.value or 0.0)
    if m.low is not None and m.high is not None:
        axes.plot([scale * m.low, scale * m.high], [y, y], color=s.color, lw=1.6, zorder=2)
    axes.plot([value], [y], ls="", marker=s.mark, ms=6, mec=s.color, mfc=_face(s), mew=1.5, zorder=3)


def _key(s: Series) -> Line2D:
    return Line2D([], [], color=s.color, lw=1.6, marker=s.mark, ms=6, mec=s.color, mfc=_face(s), mew=1.5)


def _face(s: Series) -> str:
    return s.color if s.filled else "white"


def _line(axes: Axes, arm: str, place: float, row: list[Measurement | None], scale: float) -> Line2D:
    """One arm of the sweep, moved a little sideways so that intervals do not cover each other."""
    color, line, width = LINES[arm]
    at = [(x + 0.07 * place, m) for x, m in enumerate(row) if m is not None and m.value is not None]
    for x, m in at:
        if m.low is not None and m.high is not None:
            axes.plot([x, x], [scale * m.low, scale * m.high], color=color, lw=1.3, zorder=2)
    (drawn,) = axes.plot(
        [x for x, _ in at], [scale * (m.value or 0.0) for _, m in at],
        color=color, ls=line, lw=width, marker="o", ms=5, zorder=3,
    )  # fmt: skip
    return drawn


def _lines(every: tuple[Setting, ...]) -> list[str]:
    """Names of the rows: what all of them share is left out."""
    views, recipes = len({s.view for s in every}) > 1, len({s.recipe for s in every}) > 1
    parts = [[s.recipe or ""] * recipes + [s.view or ""] * views for s in every]
    return ["\n".join(safe(name) for name in row) for row in parts]


def _change_name(result: AuditResult, percent: bool) -> str:
    fpr = next(iter(rates_of(result)), None)
    return f"change of TPR at {100 * fpr:g}% FPR, pp" if percent and fpr else f"change, {attack_of(result)}"
