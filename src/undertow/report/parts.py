"""What the pages of all audits are made of: key figures, the templates, and how a result was made."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from undertow.report.drawing import Drawing
from undertow.report.words import interval, needs_interval, plain, seconds, suffix, unbroken, value
from undertow.types import SCHEMA, AuditResult


@dataclass(frozen=True)
class Card:
    """One key figure."""

    name: str
    value: str
    interval: str
    note: str
    ranged: bool = True  # False: no interval is due


def templates() -> Environment:
    """The pages, everything escaped."""
    env = Environment(
        loader=PackageLoader("undertow.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters |= {
        "number": value,
        "interval": interval,
        "figure": _figure,
        "header": _header,
        "suffix": suffix,
        "unbroken": unbroken,
        "dotted": _dotted,
    }
    env.tests["percent"] = lambda m: m.metric != "auc"
    env.tests["ranged"] = needs_interval
    return env


def _figure(drawing: Drawing) -> Markup:
    """Both shapes; the style sheet shows one. The SVG was written by matplotlib, which escapes its texts."""
    return Markup(drawing.wide + drawing.narrow)


def _header(label: str) -> tuple[str, str]:
    """A column's name and its second line."""
    return ("TPR", f"at {label.removeprefix('TPR@')} FPR") if "@" in label else (label, "")


def how_made(result: AuditResult) -> dict[str, Any]:
    """Utility, time, data, configuration and environment, as the templates name them."""
    return {
        "utility": [(_spaced(key), _measured(key, x)) for key, x in result.utility.items()],
        "timing": [(_spaced(key), seconds(float(x))) for key, x in result.timing.items()],
        "total": seconds(float(sum(result.timing.values()))),
        "data": list(_flat(result.data)),
        "environment": [("result schema", SCHEMA), *_flat(result.environment)],
        "config": list(_flat(result.config)),
    }


def _flat(mapping: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """A nested mapping as dotted keys and texts."""
    for key, x in mapping.items():
        if isinstance(x, Mapping):
            yield from _flat(x, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", plain(x)


def _dotted(key: str) -> Markup:
    """A dotted key that may break after a dot."""
    return Markup("<wbr>").join(part + "." for part in key.split(".")[:-1]) + Markup("<wbr>") + key.split(".")[-1]


def _spaced(key: str) -> str:
    return key.replace("_", " ")


def _measured(key: str, x: float) -> str:
    return f"{100 * x:.1f}%" if "accuracy" in key and 0 <= x <= 1 else plain(float(x))
