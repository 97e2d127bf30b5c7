"""Chat templates: parsed by Jinja's own parser, never rendered. What they reach for, and when they add text."""

import re
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

from undertow.opening.loaders.conditions import conditions
from undertow.opening.loaders.place import Place
from undertow.opening.loaders.texts import Pairs, parse, tables

if TYPE_CHECKING:
    from jinja2 import Environment, nodes

LONGEST = 1 << 18  # characters of a template
KEYS = ("chat_template", "chat_templates", "default_chat_template", "prompt_template", "custom_chat_template")
SUFFIXES = (".jinja", ".jinja2", ".j2")
FRAMES_WORDS = """
    mro func_globals func_code func_closure im_func im_self gi_frame gi_code cr_frame cr_code ag_frame ag_code
    tb_frame tb_next f_back f_globals f_locals f_builtins f_code co_code environment_class template_class
"""
FRAMES = frozenset(FRAMES_WORDS.split())  # attributes of functions, generators and frames that lead to the interpreter
NAMES = frozenset({"self", "cycler", "joiner", "lipsum", "range", "dict", "namespace", "raise_exception",
                   "strftime_now"})  # fmt: skip
WORDS = re.compile(r"__(?:class|globals|builtins|import|subclasses|init|mro|base|bases|dict|getattribute|code|reduce)")
BY_ATTRIBUTE = frozenset({"map", "selectattr", "rejectattr", "groupby", "sort", "sum", "unique", "min", "max"})


def check_templates(place: Place) -> None:
    """Every chat template of one text: a .jinja file, or a value of a configuration."""
    name = place.name.split("/")[-1]
    if name.lower().endswith(SUFFIXES):
        _check(place, "it", place.text)
        return
    if not name.endswith(".json") or "template" not in place.text:
        return
    try:
        found = list(tables(parse(place.text)))
    except ValueError:
        return
    for path, table in found:
        for key, value in table:
            if key in KEYS or (key == "template" and path.startswith(KEYS)):
                for text in _texts(value):
                    _check(place, f"{path}.{key}" if path else key, text)


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Pairs):
        yield from (item for _, item in value if isinstance(item, str) and ("{{" in item or "{%" in item))
    elif isinstance(value, list):
        for item in value:
            if isinstance(item, str):
                yield item


def _check(place: Place, where: str, text: str) -> None:
    if len(text) > LONGEST:
        place.unknown("template-doubt", f"the chat template {where} has more than {LONGEST:,} characters")
        return
    from jinja2.parser import Parser

    try:
        tree = Parser(environment(), text).parse()  # Environment.parse compiles and runs a line to dress its errors
        for kind, line, what in _judge(tree):
            said = f"line {line} of the chat template {where} {what}"
            (place.unsafe if kind == "template-escape" else place.unknown)(kind, said)
        for line, what in conditions(tree):
            place.warn("template-condition", f"line {line} of the chat template {where} {what}")
    except (RecursionError, MemoryError):
        place.unknown("template-doubt", f"the chat template {where} is nested too deeply to be parsed")
    except Exception as error:  # jinja2's own errors, and what odd text makes its lexer raise
        said = ascii(str(error))[1:-1][:120]
        place.unknown("template-doubt", f"the chat template {where} cannot be parsed ({said})")


@cache
def environment() -> "Environment":
    """Jinja's syntax as transformers sets it up, with its tags; nothing is ever rendered with it."""
    from jinja2 import Environment
    from jinja2.ext import Extension

    class Blocks(Extension):
        """Tags of transformers and vLLM: a block whose content is output as it is."""

        tags = {"generation"}

        def parse(self, parser: Any) -> Any:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    return Environment(trim_blocks=True, lstrip_blocks=True, extensions=[Blocks, "jinja2.ext.loopcontrols"])


def _judge(tree: "nodes.Template") -> Iterator[tuple[str, int, str]]:
    """(kind, line, what) of everything that a chat template has no reason to do."""
    from jinja2 import nodes

    for node in tree.find_all(nodes.Node):
        line = getattr(node, "lineno", 0) or 0
        if isinstance(node, nodes.Include | nodes.Import | nodes.FromImport | nodes.Extends):
            yield "template-escape", line, "reads another template"
        elif isinstance(node, nodes.Getattr) and _private(node.attr):
            yield "template-escape", line, f"reaches for the attribute {node.attr[:40]!a}"
        elif isinstance(node, nodes.Getitem):
            yield from _key(node.arg, line)
        elif isinstance(node, nodes.Filter | nodes.Test):
            yield from _filter(node, line)
        elif isinstance(node, nodes.Call):
            yield from _call(node, line)
        elif isinstance(node, nodes.Const) and isinstance(node.value, str) and WORDS.search(node.value):
            yield "template-escape", line, f"holds the text {node.value[:40]!a}"
        elif isinstance(node, nodes.Name) and (node.name.startswith("__") or node.name == "self"):
            yield "template-escape", line, f"reads the name {node.name[:40]!a}"


def _private(name: object) -> bool:
    return isinstance(name, str) and (name.startswith("_") or name in FRAMES)


def _key(argument: Any, line: int) -> Iterator[tuple[str, int, str]]:
    from jinja2 import nodes

    if isinstance(argument, nodes.Const) and _private(argument.value):
        yield "template-escape", line, f"reaches for {str(argument.value)[:40]!a}"
    elif _builds_text(argument):
        yield "template-doubt", line, "looks something up under a name that it puts together"


def _builds_text(node: Any) -> bool:
    """Whether an expression makes a text of parts: that is how a forbidden name is hidden."""
    from jinja2 import nodes

    if isinstance(node, nodes.Concat):
        return True
    if isinstance(node, nodes.Add | nodes.Mod | nodes.Mul):
        return any(isinstance(one.value, str) for one in node.find_all(nodes.Const))
    return isinstance(node, nodes.Filter) and node.name in ("join", "format", "replace", "reverse", "lower", "attr")


def _filter(node: Any, line: int) -> Iterator[tuple[str, int, str]]:
    from jinja2 import nodes

    arguments = [*node.args, *(one.value for one in node.kwargs)]
    if node.name == "attr":
        plain = [one for one in arguments if isinstance(one, nodes.Const)]
        if len(plain) < len(arguments) or any(_private(one.value) for one in plain):
            yield "template-escape", line, "reaches for an attribute by its name (|attr)"
    elif node.name in BY_ATTRIBUTE:
        for one in arguments:
            parts = str(one.value).split(".") if isinstance(one, nodes.Const) else []
            if any(_private(part) for part in parts) or "attr" in parts:
                yield "template-escape", line, f"reaches for an attribute by |{node.name}"
            elif _builds_text(one):
                yield "template-doubt", line, f"gives |{node.name} a name that it puts together"


def _call(node: Any, line: int) -> Iterator[tuple[str, int, str]]:
    from jinja2 import nodes

    called = node.node
    if isinstance(called, nodes.Getattr) and called.attr in ("format", "format_map"):
        plain = isinstance(called.node, nodes.Const) and not re.search(r"[.\[]\s{0,20}_", str(called.node.value))
        if not plain:
            yield "template-doubt", line, f"formats a text by .{called.attr}, which reaches attributes"
    if isinstance(called, nodes.Name) and called.name in DANGEROUS:
        yield "template-escape", line, f"calls {called.name}"
    if isinstance(called, nodes.Getattr) and called.attr in DANGEROUS_METHODS:
        yield "template-escape", line, f"calls .{called.attr}()"
    if isinstance(called, nodes.Name) and called.name == "range":
        for one in node.args:
            if isinstance(one, nodes.Const) and isinstance(one.value, int) and abs(one.value) > 100_000:
                yield "template-doubt", line, "counts further than any chat goes"


DANGEROUS = frozenset({"open", "exec", "eval", "compile", "getattr", "globals", "vars", "input", "breakpoint", "lipsum",
                       "import_module", "url_for", "get_flashed_messages"})  # fmt: skip
DANGEROUS_METHODS = frozenset({"popen", "system", "mro", "eval", "exec", "check_output", "read_text", "write_text",
                               "from_string", "get_template"})  # fmt: skip
