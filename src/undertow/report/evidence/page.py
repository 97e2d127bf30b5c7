"""The evidence document as one self-contained HTML page, and as a section of a model card in Markdown."""

from collections.abc import Iterator, Mapping
from typing import Any

from undertow.report.parts import templates
from undertow.report.words import one_line, plain


def page(pack: Mapping[str, Any]) -> str:
    """The HTML page of an evidence document; everything is escaped, nothing is requested."""
    env = templates()
    env.filters |= {"told": told, "where": where, "ends": ends}
    return env.get_template("evidence.html").render(pack=pack)


def told(x: Any) -> str:
    """A number, a text or a list, for a reader."""
    if isinstance(x, list):
        return "; ".join(plain(part) if not isinstance(part, Mapping) else str(part.get("path", part)) for part in x)
    return (
        f"{x:,}" if isinstance(x, int) and not isinstance(x, bool) else f"{x:.4g}" if isinstance(x, float) else plain(x)
    )


def where(row: Mapping[str, Any]) -> str:
    """What sets a row apart from others of its attack."""
    return ", ".join(str(row[key]) for key in ("group", "points", "recipe", "view", "bound") if row.get(key))


def ends(row: Mapping[str, Any]) -> str:
    """The interval, or that there is none; a missing value's reason."""
    if row["value"] is None:
        return str(row.get("reason", "not resolved"))
    return "no interval" if row["low"] is None or row["high"] is None else f"[{told(row['low'])}, {told(row['high'])}]"


def markdown(pack: Mapping[str, Any]) -> str:
    """A section for a model card."""
    return "\n".join(_lines(pack)) + "\n"


def _lines(pack: Mapping[str, Any]) -> Iterator[str]:
    made, release = pack["made"], pack["release"]
    yield from ("## Privacy tests", "")
    yield f"Measured with Undertow {made['tool']['version']}, {made['date']}, by {_said(made['by'])}."
    yield from ("", f"- Release context: {_said(release['context'])}", f"- Adversary: {_said(release['attacker'])}")
    yield from (f"- Mitigations: {_said(pack['mitigations'])}", "")
    yield from ("| attack class | status | what was found |", "|---|---|---|")
    for one in pack["classes"]:
        heads = " ".join(found["headline"] for found in one["results"]) or one["reason"]
        yield f"| {_cell(one['name'])} | {one['status'].replace('_', ' ')} | {_cell(heads)} |"
    yield from ("", *(f"- {text}" for text in pack["limits"]))


def _said(x: Mapping[str, Any]) -> str:
    return _cell(str(x["reason"]) if x["value"] is None else told(x["value"]))


def _cell(text: str) -> str:
    """Text that neither ends a cell of a table nor starts markup of its own."""
    return one_line(" ".join(text.split())).replace("|", "\\|").replace("<", "&lt;")
