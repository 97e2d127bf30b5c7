"""A comparison as one self-contained HTML page: pictures side by side, one table for each later run, a frontier."""

from collections.abc import Sequence

from matplotlib.axes import Axes

from undertow.audits.comparing import Comparison, best_changes
from undertow.audits.finished_run import FinishedRun
from undertow.report.best import best_at
from undertow.report.compare.text import moved
from undertow.report.drawing import BLUE, HALF, NARROW, Drawing, Key, both_shapes, safe
from undertow.report.figures import roc
from undertow.report.parts import templates

MARKS = "osD^vP*X"
RANKED = ("mia", "tmi", "score", "model", "lm")


def page(runs: Sequence[FinishedRun], found: Sequence[Comparison]) -> str:
    """The HTML page; everything is escaped, nothing is requested."""
    env = templates()
    env.filters["moved"] = moved
    pictures = [(run.name, roc(run.result)) for run in runs if run.result is not None and run.audit in RANKED]
    shown = [(name, _beside(drawing, i)) for i, (name, drawing) in enumerate(pictures) if drawing is not None]
    template = env.get_template("compare.html")
    return template.render(runs=runs, found=found, best=best_changes, pictures=shown, frontier=frontier(runs))


def _beside(drawing: Drawing, index: int) -> Drawing:
    """The narrow shape at every width, so that its text is read beside another; ids are made its own."""
    own = drawing.narrow.replace("roc-narrow", f"roc-{index}-narrow").replace("shape-narrow", "shape-beside")
    return Drawing(own, "", drawing.label)


def frontier(runs: Sequence[FinishedRun]) -> Drawing | None:
    """Leak (AUC of the best attack) against utility, a point a run; None for fewer than three runs that have both."""
    points = [(run.name, *both) for run in runs if (both := leak_and_utility(run)) is not None]
    if len(points) < 3:
        return None

    def draw(axes: Axes) -> list[Key]:
        marks: list[Key] = []
        for i, (name, leak, worth) in enumerate(points):
            (mark,) = axes.plot([worth], [leak], marker=MARKS[i % len(MARKS)], color=BLUE, ms=9, ls="none")
            marks.append((mark, safe(name)))
        axes.margins(0.15)
        axes.set_xlabel("utility: accuracy on test records")
        axes.set_ylabel("leak: AUC of the best attack")
        return marks

    what = "; ".join(f"{name}: AUC {leak:.3f}, accuracy {worth:.3f}" for name, leak, worth in points)
    return both_shapes(draw, (HALF, NARROW), "frontier", f"Leak against utility. {what}.", 0.8)


def leak_and_utility(run: FinishedRun) -> tuple[float, float] | None:
    """AUC of the best attack, and accuracy on test records, where the run has both."""
    if run.result is None or run.audit not in RANKED:
        return None
    best = best_at(run.result)
    worth = next((x for name, x in run.result.utility.items() if "accuracy" in name and "test" in name), None)
    return None if best is None or best.m.value is None or worth is None else (best.m.value, float(worth))
