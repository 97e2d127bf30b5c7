"""The figures of a DP audit: every bound against the claim, and the headline against the number of runs."""

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from undertow.report.dp.verdict import ceiling_of, headline_of, point_of
from undertow.report.drawing import BLUE, GREEN, GREY, INK, NARROW, RED, Drawing, Key, Shape, both_shapes, safe
from undertow.types import AuditResult, Measurement

FLAT = Shape("wide", 760, 260, 10.5, True)
COLOURS = {
    "none": GREEN,
    "credible": GREY,
    "gdp": BLUE,
    "claimed-pld": BLUE,
    "gaussian-scores": BLUE,
    "final-iterate": BLUE,
}
NAMES = {
    "credible": "credible bound,\nnot proved",
    "none": "lower bound,\nnothing assumed",
    "gdp": "lower bound,\nGaussian",
    "claimed-pld": "lower bound,\nclaimed curve",
    "gaussian-scores": "lower bound,\nGaussian scores",
    "final-iterate": "lower bound,\nfinal weights",
}


def against_claim(result: AuditResult) -> Drawing | None:
    """A bar for each lower bound of the headline's access, with claim, ceiling and point estimate."""
    main = headline_of(result)
    if main is None or main.epsilon is None:
        return None
    rows = [m for m in result.measurements if m.metric == "epsilon_lower" and m.view == main.view and m.at is None]
    rows = sorted((m for m in rows if m.value is not None), key=lambda m: m.value or 0.0, reverse=True)
    point = point_of(result, main)
    ceiling, claim = ceiling_of(result, main), main.epsilon

    def draw(axes: Axes) -> list[Key]:
        for y, m in enumerate(rows):
            axes.barh(y, m.value or 0.0, 0.6, color=COLOURS.get(_kind(m), GREY), zorder=2)
            axes.text((m.value or 0.0) + 0.01 * claim, y, f"{m.value:.2f}", va="center", color=INK, zorder=4)
        axes.axvline(claim, color=RED, lw=1.6, zorder=3)
        if ceiling < 0.98 * claim:
            axes.axvline(ceiling, color=RED, lw=1.4, ls=(0, (4, 3)), zorder=3)
        if point is not None and point.value is not None:
            axes.axvline(point.value, color=GREY, lw=1.4, ls=(0, (1, 2)), zorder=1)
        axes.set_yticks(range(len(rows)), [safe(m.bound or "") + "\n(headline)" * bool(m.headline) for m in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlim(0, 1.25 * max(claim, *(m.value or 0.0 for m in rows)))
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("epsilon")
        return _legend(rows, ceiling < 0.98 * claim, point is not None)

    spoken = "; ".join(f"{m.bound} {m.value:.2f}" for m in rows)
    label = f"Lower bounds against the claimed epsilon {claim:.2f}: {spoken}."
    return both_shapes(draw, (FLAT, NARROW), "against-claim", label, max(0.12 * len(rows), 0.3), 11.0)


def _legend(rows: list[Measurement], ceiling: bool, point: bool) -> list[Key]:
    kinds = list(dict.fromkeys(_kind(m) for m in rows))
    keys: list[Key] = [(Rectangle((0, 0), 1, 1, fc=COLOURS.get(k, GREY)), NAMES.get(k, k)) for k in kinds]
    keys.append((Line2D([], [], color=RED, lw=1.6), "claimed"))
    if ceiling:
        keys.append((Line2D([], [], color=RED, lw=1.4, ls=(0, (4, 3))), "most this access\ncan show"))
    if point:
        keys.append((Line2D([], [], color=GREY, lw=1.4, ls=(0, (1, 2))), "point estimate"))
    return keys


def against_runs(result: AuditResult) -> Drawing | None:
    """The headline bound after the first so many runs; None where there were too few to draw a line."""
    main = headline_of(result)
    rows = sorted((m for m in result.measurements if m.at is not None and m.metric == "epsilon_lower"), key=_at)
    if main is None or main.epsilon is None or len(rows) < 2:
        return None
    runs = int(result.config.get("runs", 0)) * (1 if result.config.get("one_run") else 2)
    places = [*(m.at or 0.0 for m in rows), float(runs)]
    values = [*(m.value or 0.0 for m in rows), main.value or 0.0]
    ceiling, claim = ceiling_of(result, main), main.epsilon

    def draw(axes: Axes) -> list[Key]:
        axes.plot(places, values, color=BLUE, marker="o", ms=4.5, lw=1.8, zorder=3)
        axes.axhline(claim, color=RED, lw=1.6)
        keys: list[Key] = [(Line2D([], [], color=BLUE, marker="o", ms=4.5, lw=1.8), "lower bound")]
        keys.append((Line2D([], [], color=RED, lw=1.6), "claimed"))
        if ceiling < 0.98 * claim:
            axes.axhline(ceiling, color=RED, lw=1.4, ls=(0, (4, 3)))
            keys.append((Line2D([], [], color=RED, lw=1.4, ls=(0, (4, 3))), "most this access\ncan show"))
        axes.set_xscale("log")
        axes.set_xticks(places, [f"{x:,.0f}" for x in places])
        axes.minorticks_off()
        axes.set_ylim(0, 1.15 * max(claim, *values))
        axes.set_xlabel("training runs")
        axes.set_ylabel("epsilon")
        axes.grid(color="#e6e9ee", lw=0.8)
        axes.set_axisbelow(True)
        return keys

    label = "Lower bound by training runs: " + ", ".join(f"{x:,.0f}: {v:.2f}" for x, v in zip(places, values)) + "."
    return both_shapes(draw, (FLAT, NARROW), "against-runs", label, 0.9)


def _kind(m: Measurement) -> str:
    """Pooled bounds and those from one run are coloured by what they assume; a credible bound is none of them."""
    return "credible" if m.bound == "joint-beta" else m.assumes or ""


def _at(m: Measurement) -> float:
    return m.at or 0.0
