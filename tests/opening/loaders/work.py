"""Work that can be counted, in place of time: calls, with regular expressions matched by a matcher written in Python.

The matcher backtracks as sre does, so an expression that takes quadratic time takes a quadratic number of calls.
"""

import re
import sys
from collections.abc import Callable, Iterator
from re import _constants as op
from re import _parser  # type: ignore[attr-defined]
from types import ModuleType

SINGLE = (op.LITERAL, op.NOT_LITERAL, op.ANY, op.IN)


def calls(work: Callable[[], object]) -> int:
    """How many functions are entered while `work` runs: those of Python (a generator, whenever it goes on) and of C."""
    count = 0

    def seen(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(seen)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def slowly(module: ModuleType, change: Callable[[ModuleType, str, object], None]) -> None:
    """Give every expression of a module its slow twin, by `change(module, name, twin)`."""
    for name, value in list(vars(module).items()):
        if isinstance(value, re.Pattern):
            change(module, name, Twin(value))
    if getattr(module, "re", None) is re:
        change(module, "re", Expressions())


class Expressions:
    """The functions of `re` that take an expression as text."""

    M = re.M

    def __getattr__(self, name: str) -> Callable[..., object]:
        return lambda pattern, *rest: getattr(Twin(re.compile(pattern)), name)(*rest)


class Twin:
    """Answers as the expression does, after its matcher did all the work in Python."""

    def __init__(self, pattern: "re.Pattern[str]") -> None:
        self.pattern = pattern
        self.tree = list(_parser.parse(pattern.pattern, pattern.flags & ~re.UNICODE.value))
        self.sets: dict[int, re.Pattern[str]] = {}

    def __getattr__(self, name: str) -> Callable[..., object]:
        def answer(*args: object) -> object:
            text = next(one for one in reversed(args) if isinstance(one, str))
            self.walk(text, name in ("search", "match"), name == "match")
            return getattr(self.pattern, name)(*args)

        return answer

    def walk(self, text: str, once: bool, here: bool) -> list[tuple[int, int]]:
        """The places of all matches, or of the first."""
        found, at = [], 0
        while at <= len(text):
            end = next(self.run(self.tree, 0, text, at), None)
            if end is not None:
                found.append((at, end))
            if here or (once and found):
                break
            at = at + 1 if end is None else max(end, at + 1)
        return found

    def run(self, tree: list[object], i: int, text: str, at: int) -> Iterator[int]:
        """Ends of matches of tree[i:] from `at` on, in the order in which sre tries them."""
        if i == len(tree):
            yield at
            return
        for end in self.one(*tree[i], text, at):
            yield from self.run(tree, i + 1, text, end)

    def one(self, what: object, how: object, text: str, at: int) -> Iterator[int]:
        if what in SINGLE:
            if at < len(text) and self.fits(what, how, text[at]):
                yield at + 1
        elif what in (op.MAX_REPEAT, op.MIN_REPEAT):
            least, most, body = how
            yield from self.repeat(list(body), least, most, text, at, what is op.MAX_REPEAT)
        elif what is op.SUBPATTERN:
            yield from self.run(list(how[3]), 0, text, at)
        elif what is op.BRANCH:
            for branch in how[1]:
                yield from self.run(list(branch), 0, text, at)
        elif what is op.AT:
            begin = at == 0 or (bool(self.pattern.flags & re.M) and text[at - 1] == "\n")
            if (at == len(text)) if how is op.AT_END_STRING else begin:
                yield at
        elif what in (op.ASSERT, op.ASSERT_NOT):
            behind = how[0] < 0
            start = at - how[1].getwidth()[0] if behind else at
            met = start >= 0 and next(self.run(list(how[1]), 0, text, start), None) is not None
            if met == (what is op.ASSERT):
                yield at
        else:
            raise NotImplementedError(what)

    def repeat(
        self, body: list[object], least: int, most: object, text: str, at: int, greedy: bool, count: int = 0
    ) -> Iterator[int]:
        if len(body) == 1 and body[0][0] in SINGLE and greedy:  # without a recursion, as in sre
            ends = [at]
            while len(ends) <= int(most) and ends[-1] < len(text) and self.fits(*body[0], text[ends[-1]]):
                ends.append(ends[-1] + 1)
            yield from (self.tried(end) for end in reversed(ends[least:]))
            return
        if count >= least and not greedy:
            yield at
        if count < int(most):
            for end in self.run(body, 0, text, at):
                if end > at:
                    yield from self.repeat(body, least, most, text, end, greedy, count + 1)
        if count >= least and greedy:
            yield at

    def tried(self, end: int) -> int:
        return end

    def fits(self, what: object, how: object, letter: str) -> bool:
        if what is op.LITERAL:
            return ord(letter) == how
        if what is op.NOT_LITERAL:
            return ord(letter) != how
        if what is op.ANY:
            return letter != "\n"
        negated = how[0][0] is op.NEGATE
        return any(self.member(*one, letter) for one in how[negated:]) != negated

    def member(self, what: object, how: object, letter: str) -> bool:
        if what is op.LITERAL:
            return ord(letter) == how
        if what is op.RANGE:
            return bool(how[0] <= ord(letter) <= how[1])
        sort, wanted = CATEGORIES[how]
        flags = self.pattern.flags & re.ASCII
        return (re.match(sort, letter, flags) is not None) == wanted


CATEGORIES = {
    op.CATEGORY_SPACE: (r"\s", True),
    op.CATEGORY_NOT_SPACE: (r"\s", False),
    op.CATEGORY_WORD: (r"\w", True),
    op.CATEGORY_NOT_WORD: (r"\w", False),
    op.CATEGORY_DIGIT: (r"\d", True),
    op.CATEGORY_NOT_DIGIT: (r"\d", False),
}
