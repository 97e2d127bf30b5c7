"""A page as lines that a person can compare: an element or a text a line, by depth; a figure is a line of counts."""

from collections import Counter
from html.parser import HTMLParser

VOID = {"meta", "br", "img", "hr", "input", "link", "col"}
SHOWN = {"id", "class", "aria-label", "href", "alt", "scope"}
SILENT = {"style", "script"}


class Outline(HTMLParser):
    """Lines of `tag#id.class name=value`, and of text, in the order of the page."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.open: list[str] = []
        self.figure: Counter[str] = Counter()

    def put(self, text: str) -> None:
        self.lines.append("  " * len(self.open) + text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if "svg" in self.open:
            self.figure[tag] += 1
        else:
            told = {
                name: value for name, value in attrs if name in ("id", "class", "aria-label", "href", "alt", "scope")
            }
            self.put(" ".join([tag, *(f"{name}={value}" for name, value in told.items())]))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open.pop() != tag:
            pass
        if tag == "svg":
            self.put("figure: " + ", ".join(f"{n} {name}" for name, n in sorted(self.figure.items())))
            self.figure.clear()

    def handle_data(self, data: str) -> None:
        text = " ".join(data.split())
        if text and not SILENT & set(self.open):
            self.put("| " + text)


def outline(html: str) -> str:
    """The elements and texts of a page, a line each; styles are left out, figures are counted."""
    reader = Outline()
    reader.feed(html)
    return "\n".join(reader.lines) + "\n"
