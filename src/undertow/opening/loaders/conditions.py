"""Where a chat template adds or changes text only for certain inputs: tests of what a message says, or of the date."""

import re
from collections.abc import Iterator
from typing import Any

# of special tokens and tags, not of words people write
MARKUP = re.compile(r"[<\[{|]|\A\W*\Z|\A/?(no_)?think\Z|\A\W")
LETTERS = re.compile(r"[^\W\d_]{2,}")
SENTENCE = 4  # words of text from which on an insertion is told of
ROLES = frozenset({"user", "assistant", "system", "tool", "developer", "function", "ipython", "observation", "model",
                   "text", "image", "video", "audio", "thinking", "tool_result", "none", "medium", "high",
                   "low"})  # fmt: skip
PLACES = ("content", "text", "query", "prompt", "question", "input", "last_message", "user_message")


def conditions(tree: Any) -> Iterator[tuple[int, str]]:
    """(line, what it does) of each branch that depends on the words of a message, or on the date."""
    from jinja2 import nodes

    names = _aliases(tree)
    for node in tree.find_all((nodes.If, nodes.CondExpr)):
        trigger = _trigger(node.test, names)
        if trigger is None:
            continue
        inserted = _inserted(node)
        words, natural = len(LETTERS.findall(inserted)), not MARKUP.search(trigger)
        if words and (natural or words >= SENTENCE):
            yield node.lineno, f"adds {inserted[:60]!a} only where {trigger[:40]!a} is met"
        elif natural and words == 0 and _changes(node):
            yield node.lineno, f"changes its text only where {trigger[:40]!a} is met"
    for node in tree.find_all(nodes.Filter):
        if node.name == "replace" and node.node is not None and _reads(node.node, names):
            parts = [one.value for one in node.args if isinstance(one, nodes.Const) and isinstance(one.value, str)]
            if any(len(LETTERS.findall(part)) and not MARKUP.search(part) for part in parts):
                yield node.lineno, f"replaces {str(parts)[:60]} in what a message says"
    for node in tree.find_all(nodes.Call):
        called = node.node
        if isinstance(called, nodes.Getattr) and called.attr == "replace" and _reads(called.node, names):
            parts = [one.value for one in node.args if isinstance(one, nodes.Const) and isinstance(one.value, str)]
            if any(len(LETTERS.findall(part)) and not MARKUP.search(part) for part in parts):
                yield node.lineno, f"replaces {str(parts)[:60]} in what a message says"


def _aliases(tree: Any) -> set[str]:
    """Names that are set to what a message says."""
    from jinja2 import nodes

    found = set(PLACES)
    for _ in range(3):
        for node in tree.find_all(nodes.Assign):
            if isinstance(node.target, nodes.Name) and _reads(node.node, found):
                found.add(node.target.name)
            if isinstance(node.target, nodes.NSRef) and _reads(node.node, found):
                found.add(node.target.attr)
    return found


def _reads(node: Any, names: set[str]) -> bool:
    """Whether an expression looks at what a message says."""
    from jinja2 import nodes

    every = [node, *node.find_all((nodes.Getattr, nodes.Getitem, nodes.Name))]
    for one in every:
        if isinstance(one, nodes.Getattr) and one.attr in names:
            return True
        if isinstance(one, nodes.Getitem) and isinstance(one.arg, nodes.Const) and one.arg.value in names:
            return True
        if isinstance(one, nodes.Name) and one.name in names:
            return True
    return False


def _trigger(test: Any, names: set[str]) -> str | None:
    """The words that a test asks a message, or the date, for; None where it asks for none."""
    from jinja2 import nodes

    texts = [one.value for one in test.find_all(nodes.Const) if isinstance(one.value, str)]
    texts += [test.value] if isinstance(test, nodes.Const) and isinstance(test.value, str) else []
    dates = any(isinstance(c.node, nodes.Name) and c.node.name == "strftime_now" for c in test.find_all(nodes.Call))
    compared = isinstance(test, nodes.Compare) or any(True for _ in test.find_all(nodes.Compare))
    if dates and compared:
        return f"the date is {texts[-1] if texts else ''}"
    asked = [text for text in texts if text not in names and text.lower() not in ROLES and LETTERS.search(text)]
    calls = [c.node.attr for c in test.find_all(nodes.Call) if isinstance(c.node, nodes.Getattr)]
    calls += [test.node.attr] if isinstance(test, nodes.Call) and isinstance(test.node, nodes.Getattr) else []
    looks = compared or set(calls) & {"startswith", "endswith", "find", "count", "index", "__contains__", "rfind"}
    return asked[0] if asked and looks and _reads(test, names) else None


def _inserted(node: Any) -> str:
    """The text that a branch outputs or sets, as far as it is written out in it."""
    from jinja2 import nodes

    if isinstance(node, nodes.CondExpr):
        parts = [node.expr1, *([node.expr2] if node.expr2 is not None else [])]
    else:
        parts = [one for one in node.body if not isinstance(one, nodes.If)]
    found: list[str] = []
    for part in parts:
        for one in [part, *part.find_all((nodes.TemplateData, nodes.Const))]:
            if isinstance(one, nodes.TemplateData):
                found.append(one.data)
            elif isinstance(one, nodes.Const) and isinstance(one.value, str) and one.value not in PLACES:
                found.append(one.value)
    return " ".join(re.sub(r"<[^>]{0,100}>|\[/?[A-Z_]+\]", " ", " ".join(found)).split())


def _changes(node: Any) -> bool:
    from jinja2 import nodes

    return isinstance(node, nodes.If) and any(isinstance(one, nodes.Assign | nodes.Output) for one in node.body)
