"""Figures as SVG strings: matplotlib draws, nothing is drawn by hand, no global state is touched.

Each figure comes in two shapes, for a desk and for a phone, so that its text is readable on both.
"""

import io
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from undertow.metrics import roc_curve, tpr_band
from undertow.report.rows import Row, controls, of_kind, realistic, scores_of
from undertow.rng import stream
from undertow.types import Array, AuditResult, Scores

# Okabe and Ito's palette without its yellows, which are too pale on white.
BLUE, RED, GREEN, PURPLE, INK, GREY = "#0072B2", "#D55E00", "#009E73", "#AA4499", "#222222", "#767676"
ATTACKS_SHOWN = 3
POINTS = 240  # of a curve: the grid is even in log FPR, where it is read
STYLE = {
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",  # ships with matplotlib, so the layout is the same everywhere
    "text.parse_math": False,  # an attack's name is text, even with two dollar signs
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#9aa1ab",
    "axes.labelcolor": INK,
    "xtick.color": "#4a5160",
    "ytick.color": "#4a5160",
    "axes.linewidth": 0.8,
    "legend.frameon": False,
}

LineStyle = str | tuple[int, tuple[float, ...]]


@dataclass(frozen=True)
class Drawing:
    """One figure in two shapes, and what it shows for those who cannot see it."""

    wide: str  # SVG
    narrow: str  # SVG
    label: str


@dataclass(frozen=True)
class Shape:
    """The paper a figure is drawn on; 1 point is about 1 CSS pixel when shown."""

    name: str
    width: float  # points
    height: float  # points of the axes
    font: float  # points
    beside: bool  # legend beside the axes, else below


WIDE = Shape("wide", 760, 370, 10.5, True)
HALF = Shape("wide", 470, 270, 12, False)
NARROW = Shape("narrow", 340, 260, 11, False)


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
    curves = tuple(_curves(result))
    if not curves:
        return None
    floor = 1 / max(int((~curve.scores.member).sum()) for curve in curves)
    lines = {id(c): _line(result, c, floor) for c in curves}
    what = ", ".join(f"{c.row.attack} (AUC {_auc(c.row):.3f})" for c in curves)
    label = (
        "ROC curves on logarithmic axes: true positive rate against false positive rate from "
        f"{100 * floor:.2g} % to 100 %, for {what}; the diagonal is guessing."
    )

    def draw(axes: Axes) -> list[tuple[Line2D, str]]:
        handles = [_draw_curve(axes, c, lines[id(c)], floor) for c in curves]
        (guess,) = axes.plot([floor, 1], [floor, 1], color=GREY, lw=0.9, ls=(0, (1, 2)), zorder=1)
        _log_axis(axes, floor)
        axes.set_xlabel("false positive rate: share of non-members accused")
        axes.set_ylabel("true positive rate: members found")
        names = [f"{_safe(c.row.attack)}\n{c.role}AUC {_auc(c.row):.3f}" for c in curves]
        return [*zip(handles, names), (guess, "guessing, AUC 0.5")]

    return _both_shapes(draw, (WIDE, NARROW), "roc", label, 1.0)


def histogram(result: AuditResult, row: Row) -> Drawing | None:
    """Scores of members against those of non-members, pooled over models; None without scores.

    The outermost bars also count what lies beyond the central 98% of all scores.
    """
    scores = scores_of(result, row)
    if scores is None or scores.member.all() or not scores.member.any():
        return None
    values, member = scores.values.ravel(), scores.member.ravel()
    edges = _edges(values)
    clipped = np.clip(values, edges[0], edges[-1])
    inside, outside = (100 * np.histogram(clipped[m], edges)[0] / m.sum() for m in (member, ~member))
    label = (
        f"Histogram of the scores of {row.attack}: median {np.median(values[member]):.3g} for members, "
        f"{np.median(values[~member]):.3g} for non-members; higher means member."
    )

    def draw(axes: Axes) -> list[tuple[Line2D, str]]:
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

    return _both_shapes(draw, (HALF, NARROW), f"hist-{row.attack}", label, 0.72)


def _curves(result: AuditResult) -> Iterator[Curve]:
    """A readable few: the best attacks, the best baseline, the bound, the best attack's control."""
    choice = realistic(result)
    styles: list[tuple[str, LineStyle, float]] = [
        (BLUE, "-", 2.4),
        (RED, (0, (6, 1.6)), 1.7),
        (GREEN, (0, (6, 1.5, 1.3, 1.5)), 1.7),
    ]
    shown = [row for row in choice if row.kind == "attack"][:ATTACKS_SHOWN] or list(choice[:ATTACKS_SHOWN])
    for i, (row, (color, line, width)) in enumerate(zip(shown, styles)):
        yield from _curve(result, row, color, line, width, i == 0, "")
    baseline = next((row for row in choice if row.kind == "baseline" and row not in shown), None)
    yield from _curve(result, baseline, PURPLE, (0, (1.5, 1.4)), 1.9, False, "baseline, ")
    yield from _curve(result, of_kind(result, "bound"), INK, (0, (9, 2)), 1.5, True, "upper bound, ")
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
    if row is not None and scores is not None and not scores.member.all() and scores.member.any():
        yield Curve(row, scores, color, line, width, band, role)


def _line(result: AuditResult, curve: Curve, floor: float) -> tuple[Array, Array, Array | None, Array | None]:
    """FPR grid (G,), TPR there (G,), and the band's limits, each (G,) or None.

    TPR at the largest threshold whose FPR does not exceed the grid's: nothing is interpolated.
    """
    grid = np.geomspace(floor, 1, POINTS)
    fpr, tpr = roc_curve(curve.scores.values, curve.scores.member)
    y = tpr[np.searchsorted(fpr, grid * (1 + 1e-9), side="right") - 1]
    if not curve.band:
        return grid, y, None, None
    rng = stream(result.seed, "report", "band", curve.row.attack, curve.row.group or "")
    low, high = tpr_band(curve.scores, grid, rng)
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


def _log_axis(axes: Axes, floor: float) -> None:
    """Both axes from the floor to 1, ticks at the decades, labels in percent."""
    decades = [10.0**k for k in range(-9, 1) if 10.0**k >= floor * 0.999]
    for axis, scale, limit in (
        (axes.xaxis, axes.set_xscale, axes.set_xlim),
        (axes.yaxis, axes.set_yscale, axes.set_ylim),
    ):
        scale("log")
        limit(floor, 1)
        axis.set_major_locator(FixedLocator(decades))
        axis.set_major_formatter(FuncFormatter(lambda rate, _: f"{100 * rate:g}%"))
        axis.set_minor_locator(NullLocator())
    axes.grid(color="#e6e9ee", lw=0.8)
    axes.set_axisbelow(True)


def _edges(values: Array, bars: int = 40) -> Array:
    low, high = np.quantile(values, [0.01, 0.99])
    if not high > low:
        low, high = float(values.min()), float(values.max())
    if not high > low:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, bars + 1)


def _both_shapes(
    draw: Callable[[Axes], list[tuple[Line2D, str]]],
    shapes: tuple[Shape, Shape],
    name: str,
    label: str,
    stretch: float,
) -> Drawing:
    wide, narrow = (_render(draw, shape, f"{name}-{shape.name}", stretch) for shape in shapes)
    return Drawing(wide, narrow, label)


def _render(draw: Callable[[Axes], list[tuple[Line2D, str]]], shape: Shape, name: str, stretch: float) -> str:
    """One shape of a figure; `stretch` scales the height of the axes."""
    salt = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    sizes = {"font.size": shape.font, "axes.labelsize": shape.font, "legend.fontsize": shape.font}
    ticks = {"xtick.labelsize": shape.font - 0.5, "ytick.labelsize": shape.font - 0.5}
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a user's matplotlibrc must not change the report
        matplotlib.rcParams.update({**STYLE, **sizes, **ticks, "svg.hashsalt": salt})
        return _svg(_layout(draw, shape, stretch), salt)


def _layout(draw: Callable[[Axes], list[tuple[Line2D, str]]], shape: Shape, stretch: float) -> Figure:
    """Axes and legend placed by hand in points, so that neither overlaps the other at any font."""
    figure = Figure(figsize=(shape.width / 72, 1))
    axes = figure.add_axes((0, 0, 1, 1))
    keys = draw(axes)
    lines = sum(text.count("\n") + 1 for _, text in keys)
    row = shape.font * 1.28
    legend = 0.0 if shape.beside else lines * row + len(keys) * row * 0.35 + 10
    left, bottom, top = 5.6 * shape.font, 4.2 * shape.font, 8.0
    right = 0.27 * shape.width if shape.beside else 1.6 * shape.font
    height = shape.height * stretch
    total = bottom + height + top + legend
    figure.set_size_inches(shape.width / 72, total / 72)
    axes.set_position((left / shape.width, (bottom + legend) / total, 1 - (left + right) / shape.width, height / total))
    anchor = ((shape.width - right + 14) / shape.width, 1 - top / total) if shape.beside else (0.02, legend / total)
    figure.legend(
        [handle for handle, _ in keys],
        [text for _, text in keys],
        loc="upper left",
        bbox_to_anchor=anchor,
        handlelength=3.2,
        labelspacing=0.5,
        borderaxespad=0,
        borderpad=0,
    )
    return figure


def _svg(figure: Figure, prefix: str) -> str:
    """The figure as one <svg> element for inlining: no prolog, no metadata, every id prefixed."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    root = ElementTree.fromstring(buffer.getvalue())
    for parent in list(root.iter()):
        for child in [c for c in parent if c.tag.endswith("}metadata")]:
            parent.remove(child)
    for element in root.iter():
        element.tag = element.tag.split("}")[-1]
        element.attrib = {key.split("}")[-1]: _renamed(key, text, prefix) for key, text in element.attrib.items()}
    width, height = (root.attrib.pop(side).removesuffix("pt") for side in ("width", "height"))
    root.attrib |= {"xmlns": "http://www.w3.org/2000/svg", "width": width, "height": height}
    root.attrib["style"] = f"max-width: {1.3 * float(width):.0f}px"  # larger, and its text would shout
    root.attrib |= {"class": f"shape-{prefix.rsplit('-', 1)[-1]}", "aria-hidden": "true"}
    return ElementTree.tostring(root, encoding="unicode")


def _renamed(key: str, text: str, prefix: str) -> str:
    """An attribute's text with ids and references prefixed, so that inlined figures do not collide."""
    if key == "id":
        return f"{prefix}-{text}"
    if key.endswith("href"):
        return re.sub(r"^#", f"#{prefix}-", text)
    return re.sub(r"url\(#", f"url(#{prefix}-", text)


def _safe(name: str) -> str:
    """A name that the drawing's font has glyphs for; a legend hides a leading underscore."""
    clean = "".join(c if c.isprintable() and ord(c) < 0x250 else "?" for c in name)
    short = clean if len(clean) <= 26 else clean[:23] + "..."
    return short if not short.startswith("_") else " " + short


def _auc(row: Row) -> float:
    return 0.5 if row.auc is None or row.auc.value is None else row.auc.value
