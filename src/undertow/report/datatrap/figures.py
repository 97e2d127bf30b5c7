"""The figure of a data-trap audit: what the traps of each experiment hold."""

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, MaxNLocator

from undertow.report.datatrap.trapped import broken_of, number, seeds_of
from undertow.report.drawing import BLUE, INK, NARROW, Drawing, Key, Shape, both_shapes, safe
from undertow.report.words import quantity
from undertow.types import AuditResult

FLAT = Shape("wide", 760, 260, 10.5, True)
PARTS = {
    "a record": (BLUE, "white"),
    "one held already": ("#8cc3e6", INK),
    "mixed": ("#b3b9c4", INK),
    "nothing": ("#eaedf1", INK),
}  # name: its colour, that of its number
ROOM = 0.06  # share of the axis that a number needs


def holdings(result: AuditResult) -> Drawing | None:
    """A bar for each experiment: how many traps hold a record, a mixture, nothing; None where that is not known."""
    rows = {seed: parts for seed in seeds_of(result) if (parts := _parts(result, seed)) is not None}
    if not rows:
        return None
    most = max(sum(parts.values()) for parts in rows.values())
    accepted = [number(result, "accepted", seed) for seed in rows]
    broken = broken_of(result) or ()
    names = [safe(f"seed {seed}") + "\nbroke down" * (seed in broken) for seed in rows]

    def draw(axes: Axes) -> list[Key]:
        for y, parts in enumerate(rows.values()):
            _bar(axes, y, parts, most)
        for y, x in enumerate(accepted):
            if x is not None:
                axes.plot([x, x], [y - 0.44, y + 0.44], color=INK, lw=2.2, zorder=4, solid_capstyle="butt")
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlim(0, most)
        axes.yaxis.set_major_locator(FixedLocator(range(len(rows))))
        axes.set_yticklabels(names)
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("traps")
        return _legend(rows, accepted)

    spoken = "; ".join(
        f"seed {seed}: " + ", ".join(f"{name} {quantity(x)}" for name, x in parts.items())
        for seed, parts in rows.items()
    )
    return both_shapes(draw, (FLAT, NARROW), "holdings", f"What the traps hold. {spoken}.", _stretch(len(rows)), 7.0)


def _stretch(rows: int) -> float:
    """Height of the axes: room for two lines of text beside each bar."""
    return max(0.14 * rows, 0.2)


def _parts(result: AuditResult, seed: int | str) -> dict[str, float] | None:
    """How many traps hold what; without the count of distinct records every exact reading counts as one."""
    exact, mixed, none = (number(result, metric, seed) for metric in ("captured_exact", "mixed", "none"))
    if exact is None or mixed is None or none is None or exact + mixed + none <= 0:
        return None
    unique = number(result, "captured_unique", seed)
    distinct = exact if unique is None else unique
    return dict(zip(PARTS, (distinct, exact - distinct, mixed, none), strict=True))


def _bar(axes: Axes, y: int, parts: dict[str, float], most: float) -> None:
    left = 0.0
    for name, width in parts.items():
        fill, ink = PARTS[name]
        axes.barh(y, width, 0.62, left, color=fill, edgecolor="white", lw=0.8, zorder=2)
        if width >= ROOM * most:
            axes.text(left + width / 2, y, quantity(width), color=ink, ha="center", va="center", zorder=3)
        left += width


def _legend(rows: dict[int | str, dict[str, float]], accepted: list[float | None]) -> list[Key]:
    shown = [name for name in PARTS if any(parts[name] for parts in rows.values())]
    keys: list[Key] = [(Rectangle((0, 0), 1, 1, fc=PARTS[name][0], ec="#9aa1ab", lw=0.6), name) for name in shown]
    if any(x is not None for x in accepted):
        keys.append(
            (Line2D([], [], color=INK, lw=0, marker="|", ms=13, mew=2.2), "accepted by the\nadversary's own tests")
        )
    return keys
