"""The paper that figures are drawn on: matplotlib draws, nothing is drawn by hand, no global state is touched.

Each figure comes in two shapes, for a desk and for a phone, so that its text is readable on both.
"""

import io
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

# Okabe and Ito's palette without its yellows, which are too pale on white.
BLUE, RED, GREEN, PURPLE, INK, GREY = "#0072B2", "#D55E00", "#009E73", "#AA4499", "#222222", "#767676"
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
Key = tuple[Artist, str]  # a line of the legend
MARGIN = 5.6  # left of the axes, in font sizes: room for the numbers and the axis's name


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


def log_axis(axes: Axes, floor: float) -> None:
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


def both_shapes(
    draw: Callable[[Axes], list[Key]],
    shapes: tuple[Shape, Shape],
    name: str,
    label: str,
    stretch: float,
    margin: float = MARGIN,
) -> Drawing:
    """A figure in both shapes; `stretch` scales the height of the axes, `margin` is left of them, in font sizes."""
    wide, narrow = (_render(draw, shape, f"{name}-{shape.name}", stretch, margin) for shape in shapes)
    return Drawing(wide, narrow, label)


def _render(draw: Callable[[Axes], list[Key]], shape: Shape, name: str, stretch: float, margin: float) -> str:
    salt = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    sizes = {"font.size": shape.font, "axes.labelsize": shape.font, "legend.fontsize": shape.font}
    ticks = {"xtick.labelsize": shape.font - 0.5, "ytick.labelsize": shape.font - 0.5}
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a user's matplotlibrc must not change the report
        style: dict[Any, Any] = {**STYLE, **sizes, **ticks, "svg.hashsalt": salt}
        matplotlib.rcParams.update(style)
        return _svg(_layout(draw, shape, stretch, margin), salt)


def _layout(draw: Callable[[Axes], list[Key]], shape: Shape, stretch: float, margin: float) -> Figure:
    """Axes and legend placed by hand in points, so that neither overlaps the other at any font."""
    figure = Figure(figsize=(shape.width / 72, 1))
    axes = figure.add_axes((0, 0, 1, 1))
    keys = draw(axes)
    lines = sum(text.count("\n") + 1 for _, text in keys)
    row = shape.font * 1.28
    legend = 0.0 if shape.beside else lines * row + len(keys) * row * 0.35 + 10
    left, bottom, top = margin * shape.font, 4.2 * shape.font, 8.0
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


def safe(name: str) -> str:
    """A name that the drawing's font has glyphs for; a legend hides a leading underscore."""
    clean = "".join(c if c.isprintable() and ord(c) < 0x250 else "?" for c in name)
    short = clean if len(clean) <= 26 else clean[:23] + "..."
    return short if not short.startswith("_") else " " + short
