"""A configuration and the folder it lies in, and how a rule says what it found there."""

from collections.abc import Collection
from dataclasses import dataclass

from undertow.opening.loaders.targets import judge
from undertow.opening.reading import Reading

SHOWN = 5  # findings of one kind in one file


@dataclass(frozen=True)
class Place:
    """One text that a loader reads."""

    reading: Reading  # of the file
    name: str  # of the text: the file's own, or that of a member
    text: str
    beside: Collection[str] = ()  # modules that lie in the folder: stems of .py files, names of packages
    marks: frozenset[str] = frozenset()  # kinds of models that the text names, of those that some rules ask for

    def unsafe(self, kind: str, text: str) -> None:
        self._say(kind, text, True)

    def unknown(self, kind: str, text: str) -> None:
        self._say(kind, text, False)

    def warn(self, kind: str, text: str) -> None:
        if self._few(kind):
            self.reading.say(kind, "warning", self._where(text))

    def target(self, kind: str, name: str, where: str, loader: str, known: bool = True) -> None:
        """Say what a name in the configuration leads to: dangerous and beside are unsafe, foreign is unknown.

        `known`: parts of known libraries pass; else they are as unknown as others.
        """
        what = judge(name, self.beside)
        shown = f"{where} names {name[:120]!a}"
        if known and what == "library":
            return
        if what == "dangerous":
            self.unsafe(kind, f"{shown}, which may run commands or code when {loader}")
        elif what == "beside":
            self.unsafe(kind, f"{shown}, code that lies beside it and runs when {loader}")
        else:
            self.unknown(kind, f"{shown}, of no library that is known; it is imported when {loader}")

    def _say(self, kind: str, text: str, critical: bool) -> None:
        self.reading.doubt(kind)
        if self._few(kind):
            self.reading.say(kind, "critical" if critical else "warning", self._where(text))

    def _where(self, text: str) -> str:
        return text if self.name == self.reading.path.name else f"{self.name[:120]!a} in it: {text}"

    def _few(self, kind: str) -> bool:
        return sum(found.kind == kind for found in self.reading.findings) < SHOWN
