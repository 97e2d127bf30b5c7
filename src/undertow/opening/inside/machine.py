"""The state of a pickle machine that calls nothing: stack, marks, memo, and what it found.

Every global must be on the list of `allowed`; what the rules there do not know is refused.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from .opcodes import Blob
from .stream import Malformed, Stream, TooMuch
from .values import Foreign, Global, Kind, Opaque, Record

CODE, OBJECT, MALFORMED = "pickle-code", "pickle-object", "malformed"
WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,39}\Z")  # of a value of an enumeration
SHOWN = 20  # findings of one file


@dataclass
class Budget:
    """What all pickles of one file may take together."""

    opcodes: int
    stack: int
    text: int


@dataclass
class Report:
    """Findings of one file: (kind, severity, text); `complete` as of the file."""

    complete: bool = True
    findings: list[tuple[str, str, str]] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)  # kinds of what keeps the file from being complete

    def say(self, kind: str, severity: str, text: str) -> None:
        found = (kind, severity, text)
        if found not in self.findings and len(self.findings) < SHOWN:
            self.findings.append(found)

    def stop(self, kind: str, text: str, severity: str = "warning") -> None:
        self.complete = False
        if kind not in self.doubts:
            self.doubts.append(kind)
        self.say(kind, severity, text)


Rule = Callable[["Machine", tuple[object, ...]], object]


class Machine:
    """One pickle. `rules`: what each allowed global does when called (None: it is only a name)."""

    def __init__(
        self,
        stream: Stream,
        report: Report,
        budget: Budget,
        rules: dict[tuple[str, str], Rule | None],
        build: Rule,
        persistent: Callable[[object], object] | None = None,
        inert: Callable[[Global], str] = lambda _: "",
    ) -> None:
        self.stream, self.report, self.budget = stream, report, budget
        self.rules, self.build, self.persistent, self.inert = rules, build, persistent, inert
        self.stack: list[object] = []
        self.below: list[list[object]] = []  # stacks under the marks
        self.memo: dict[int, object] = {}
        self.literals: list[bytes | Blob] = []  # bytes in which another pickle may hide
        self.held = self.spent = 0
        self.calls = 0  # of what was refused
        self.after_build: Callable[[Machine, Record, int], int] | None = None  # reads what follows some objects

    def spend(self, size: int) -> None:
        """Count bytes that a rule copied."""
        self.spent += size
        if self.spent > self.budget.text:
            raise TooMuch(f"a pickle of it has more than {self.budget.text:,} bytes of text")

    # the stack

    def push(self, value: object) -> None:
        self.held += 1
        self.stack.append(value)

    def pop(self) -> object:
        if not self.stack:
            raise Malformed("a pickle of it takes from an empty stack")
        self.held -= 1
        return self.stack.pop()

    def top(self) -> object:
        if not self.stack:
            raise Malformed("a pickle of it takes from an empty stack")
        return self.stack[-1]

    def marked(self) -> list[object]:
        """Everything above the last mark, which goes too."""
        if not self.below:
            raise Malformed("a pickle of it lacks a mark")
        items, self.stack = self.stack, self.below.pop()
        self.held -= len(items)
        return items

    # globals and calls

    def find(self, module: object, name: object) -> object:
        """The description of a global: itself where it is on the list, else a finding and an Opaque."""
        if not (isinstance(module, str) and isinstance(name, str)):
            self.report.stop(CODE, "it imports under a name that is no text", "critical")
            return Opaque("global")
        found = Global(module, name)
        if (module, name) in self.rules:
            return found
        known = self.inert(found)
        if known == "foreign":
            self.report.stop(OBJECT, f"it names {found}, of no library that is known, which loading it would import")
            return Foreign(str(found))
        if known == "object":
            self.report.stop(OBJECT, f"it holds an object of {found}, which was not built")
        elif not known:
            self.report.stop(CODE, f"loading it would import and may run {found}", "critical")
        return Kind(str(found)) if known else Opaque(str(found))

    def call(self, function: object, args: object, new: bool = False) -> object:
        """What the rules say of a call; an Opaque where its function was refused. `new`: by __new__, of a class."""
        if isinstance(function, Opaque):
            self.calls += 1
            return function
        if isinstance(function, Foreign) and not _makes_data(function, args, new):
            self.calls += 1
            self.report.stop(CODE, f"loading it would import and may run {function.what}", "critical")
        if isinstance(function, Kind):
            return Record(function, list(args) if isinstance(args, tuple) else [args])
        rule = self.rules.get((function.module, function.name)) if isinstance(function, Global) else None
        if rule is None or not isinstance(args, tuple):
            raise Malformed(f"a pickle of it calls {function if isinstance(function, Global) else 'no function'}")
        return rule(self, args)


def _makes_data(function: Foreign, args: object, new: bool) -> bool:
    """Whether what is done with an unknown class makes an object of it, as pickle does for plain classes and enums.

    A class without arguments; a class by __new__, with plain arguments; a member of an enumeration by its value, which
    is a number or one word. Functions, and all other arguments, may be calls that do something.
    """
    name = function.what.rpartition(".")[2]
    if not isinstance(args, tuple) or not name.lstrip("_")[:1].isupper():
        return new and args == ()
    if new:
        return not any(isinstance(arg, Opaque | Global | Kind) for arg in args)
    if len(args) == 1:
        return type(args[0]) is int or (isinstance(args[0], str) and WORD.match(args[0]) is not None)
    return not args
