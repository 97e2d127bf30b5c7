"""A scan as one self-contained HTML page: no script, no request, every name escaped."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullLocator

from undertow.report.drawing import GREY, HALF, NARROW, RED, Drawing, Key, both_shapes
from undertow.report.parts import templates
from undertow.report.scan.text import SENTENCES, rows_of
from undertow.scanner.findings import Finding, ScanResult, Severity, Verdict
from undertow.types import Array

DRAWN = 1000  # rows in a picture; of more, every so many of those that are not named
HEADLINES: dict[Verdict, str] = {
    "safe": "Nothing in these files speaks against finetuning from them.",
    "unsafe": "Do not finetune private data from this: {count} critical finding{s}, below.",
    "unknown": "Not everything could be read or examined, so nothing is said: unknown is not safe.",
}
STATES: dict[Verdict, str] = {"safe": "quiet", "unsafe": "suspicious", "unknown": "unknown"}
MARKS: dict[Severity, str] = {"critical": "fail", "warning": "open", "info": "pass"}


@dataclass(frozen=True)
class Shown:
    """One finding, and the lengths of its layer's rows with its own marked."""

    finding: Finding
    mark: str
    rows: str
    picture: Drawing | None


def page(result: ScanResult, norms: Mapping[tuple[str, str], Array], environment: Mapping[str, str]) -> str:
    """One self-contained HTML page of a scan; `norms` are row lengths by (file, tensor), for the pictures."""
    critical = sum(found.severity == "critical" for found in result.findings)
    headline = HEADLINES[result.verdict].format(count=critical, s="" if critical == 1 else "s")
    return (
        templates()
        .get_template("scan.html")
        .render(
            result=result,
            state=STATES[result.verdict],
            headline=headline,
            sentence="" if result.verdict == "unsafe" else SENTENCES[result.verdict],
            shown=[_shown(i, found, norms) for i, found in enumerate(result.findings)],
            settings=[(key, str(value)) for key, value in result.settings.items()],
            environment=list(environment.items()),
        )
    )


def _shown(index: int, found: Finding, norms: Mapping[tuple[str, str], Array]) -> Shown:
    lengths = norms.get((found.file, found.tensor))
    wanted = lengths is not None and found.rows and found.severity == "critical"
    drawn = _picture(index, found, lengths) if wanted and lengths is not None else None
    return Shown(found, MARKS[found.severity], rows_of(found), drawn)


def _picture(index: int, found: Finding, lengths: Array) -> Drawing:
    """Row lengths in the order of the file, on a log axis; the finding's own rows in red."""
    named = np.zeros(len(lengths), bool)
    named[[row for row in found.rows if row < len(lengths)]] = True
    others = np.flatnonzero(~named)
    others = others[:: max(1, len(others) // DRAWN)]
    least = lengths[lengths > 0].min(initial=1.0)

    def draw(axes: Axes) -> list[Key]:
        (usual,) = axes.plot(others, np.maximum(lengths[others], least), ".", ms=3, color=GREY, alpha=0.7)
        (marked,) = axes.plot(np.flatnonzero(named), np.maximum(lengths[named], least), ".", ms=5, color=RED)
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda length, _: f"{length:g}"))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("row")
        axes.set_ylabel("length")
        return [(marked, "named rows"), (usual, "other rows")]

    label = f"Lengths of {len(lengths)} rows; {int(named.sum())} are named by the finding"
    return both_shapes(draw, (HALF, NARROW), f"rows-{index}", label, 0.6, margin=7)
