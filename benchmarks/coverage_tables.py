"""The tables of coverage.py, and which of its cells are doubtful."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import beta

NOMINAL, LEAK = 0.95, 0.025
FEW = 10.0  # degrees of freedom
Audits = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Row:
    """One interval over the audits of one design and effect."""

    cell: str
    effect: str
    name: str
    audits: int
    held: int  # intervals that hold the truth
    truth: float
    half: float  # median half-width
    ideal: float  # 1.96 standard deviations over the audits
    df: float  # median degrees of freedom

    @property
    def coverage(self) -> float:
        """Share of audits whose interval holds the truth."""
        return self.held / self.audits

    def exact(self, error: float) -> tuple[float, float]:
        """Clopper and Pearson's interval of the coverage, two-sided at `error`."""
        return exact(self.held, self.audits, error)


def exact(hits: int, n: int, error: float) -> tuple[float, float]:
    """Clopper and Pearson's interval of a proportion, two-sided at `error`."""
    low = beta.ppf(error / 2, hits, n - hits + 1) if hits else 0.0
    high = beta.isf(error / 2, hits + 1, n - hits) if hits < n else 1.0
    return float(low), float(high)


def rows(audits: Audits) -> Iterator[Row]:
    """Every interval of every design and effect."""
    found: dict[tuple[str, str, str], list[list[float]]] = defaultdict(list)
    for a in audits:
        for name, numbers in a["rows"].items():
            found[a["cell"], a["effect"], name].append(numbers)
    for (cell, effect, name), numbers in found.items():
        value, low, high, df, guess = np.array(numbers).T
        shadowed = "loss" not in name.split()[0]
        moved = shadowed and cell.split()[0] in ("alike", "propensity", "four")  # .5 is not chance there
        truth = guess.mean() if effect == "null" and not moved and " - " not in name else value.mean()
        truth = 0.0 if name.startswith("arms") else truth
        held = int(((low <= truth) & (truth <= high)).sum())
        half, ideal = float(np.median(high - low)) / 2, 1.96 * float(value.std())
        yield Row(cell, effect, name, len(value), held, float(truth), half, ideal, float(np.median(df)))


def doubtful(audits: Audits) -> set[tuple[str, str]]:
    """Designs and effects where some interval's own 95 % interval of the coverage lies below .95."""
    return {(r.cell, r.effect) for r in rows(audits) if r.exact(0.05)[1] < NOMINAL}


def tables(audits: Audits, again: Audits) -> str:
    """All tables, as Markdown: the rerun cells take the place of their first run."""
    rerun = {(r.cell, r.effect): True for r in rows(again)}
    final = [r for r in rows(audits) if (r.cell, r.effect) not in rerun] + list(rows(again))
    each = 0.05 / len(final)
    below = [r for r in final if r.exact(each)[1] < NOMINAL]
    wide = float(np.median([r.half / r.ideal for r in final if r.ideal > 0]))
    doubt = sorted({(r.cell, r.effect) for r in final if r.exact(0.05)[1] < NOMINAL} - set(rerun))
    lines = [
        f"{len(final)} cells, {len(audits) + len(again):,} audits; over all of them the intervals hold the truth in "
        f"{sum(r.held for r in final) / sum(r.audits for r in final):.3f}. Cells whose exact interval "
        f"(Bonferroni over all cells) lies below .95: {len(below)}. Median half-width: {wide:.2f} times 1.96 standard "
        "deviations.",
        "",
        *(f"- {_line(r)}" for r in below),
        "",
        f"Designs and effects with a cell whose own 95 % interval lies below .95, not yet rerun: {len(doubt)} (with "
        f"{len(final)} cells, chance alone gives about {0.025 * len(final):.0f} such cells).",
        "",
        "Coverage, lowest to highest over the attacks; * where the median degrees of freedom of one are below ten:",
        "",
        "| design | effect | " + " | ".join(_metrics(final)) + " |",
        "|---" * (2 + len(_metrics(final))) + "|",
    ]
    lines += list(_summary(final))
    shown = ["Audits that show a leak, with Clopper and Pearson's interval (Bonferroni over the designs):", ""]
    return "\n".join([*lines, "", *shown, *_leaks([*audits, *again]), "", "All cells:", "", *_full(final)])


def _metrics(final: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(_metric(r.name) for r in final))


def _metric(name: str) -> str:
    for label in ("AUC, difference", "TPR@1%, difference", "AUC", "balanced accuracy", "TPR@1%"):
        if name.endswith(label):
            return label
    return name


def _summary(final: Sequence[Row]) -> Iterator[str]:
    """Lowest to highest coverage over the attacks of each design, effect and number."""
    by: dict[tuple[str, str], dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for r in final:
        by[r.cell, r.effect][_metric(r.name)].append(r)
    for (cell, effect), found in by.items():
        cells = [_range(found.get(m, [])) for m in _metrics(final)]
        yield f"| {cell} | {effect} | {' | '.join(cells)} |"


def _range(some: Sequence[Row]) -> str:
    if not some:
        return ""
    values = [r.coverage for r in some]
    few = "*" if min(r.df for r in some) < FEW else ""
    return f"{min(values):.3f}-{max(values):.3f}{few}".replace("0.", ".")


def _leaks(audits: Audits) -> Iterator[str]:
    """How often a leak was shown, by design and effect."""
    shown: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for a in audits:
        shown[a["cell"]][a["effect"]].append(a["leak"][0])
    effects = list(dict.fromkeys(a["effect"] for a in audits))
    yield "| design | " + " | ".join(effects) + " |"
    yield "|---" * (1 + len(effects)) + "|"
    for cell, by in shown.items():
        cells = [_share(by[e], 0.05 / len(shown)) if e in by else "" for e in effects]
        yield f"| {cell} | {' | '.join(cells)} |"


def _share(found: Sequence[bool], error: float) -> str:
    low, high = exact(sum(found), len(found), error)
    return f"{sum(found)}/{len(found)} [{low:.3f}, {high:.3f}]"


def _full(final: Sequence[Row]) -> Iterator[str]:
    yield "| design | effect | number | audits | truth | coverage | half-width | 1.96 sd | median df |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for r in final:
        yield _line(r)


def _line(r: Row) -> str:
    return (
        f"| {r.cell} | {r.effect} | {r.name} | {r.audits} | {r.truth:.4f} | {r.coverage:.3f} | {r.half:.4f} | "
        f"{r.ideal:.4f} | {r.df:.0f} |"
    )
