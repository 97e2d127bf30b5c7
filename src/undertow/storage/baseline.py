"""A baseline: findings of an earlier scan that do not count, each bound to the bytes that it was about.

An entry is a rule, a severity, a file by its path in what is scanned, and the SHA-256 of that file. Where a finding
depends on more than one file (code beside a configuration, the shards of a model), the entry holds a digest of those,
too. So a changed file, or one finding more in the same file, is new. Rules that cannot be ignored are never in it.
"""

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple, get_args

from undertow.opening.opened import OpenedFile, verdict_of
from undertow.scanner.findings import NO_WEIGHTS, Finding, Severity
from undertow.scanner.rules import Rule, by_code, by_kind
from undertow.storage.files import write_atomic
from undertow.types import BadInput

SCHEMA = "undertow.baseline/1"  # the number rises when a reader of the old one would misread
MOST = 64 << 20  # bytes of a baseline that are read
UNREAD = "not-fully-read"  # kind of what is said of a file that is not complete, by no finding of its own
HEX = re.compile(r"[0-9a-f]{64}")
SHARD = re.compile(r"-\d{5}-of-\d{5}(?=\.)")
OF_THE_FOLDER = ("UT507", "UT508", "UT509", "UT510")  # beside UT2: findings about a file that depend on its neighbours
OF_THE_PARENT = (
    "UT409",
    "UT411",
    "UT412",
    "UT413",
    "UT414",
    "UT421",
)  # findings that depend on the parent
NOTE = "(known: it is in the baseline)"


@dataclass(frozen=True, order=True)
class Entry:
    """One finding that is known."""

    file: str  # its path in what was scanned, with /
    sha256: str  # of that file
    code: str
    severity: str
    tensor: str = ""
    context: str = ""  # digest of whatever else the finding depends on


@dataclass(frozen=True)
class Baseline:
    """The findings that are known; an entry that stands there twice stands for two findings."""

    entries: tuple[Entry, ...]
    path: str = ""


class Compared(NamedTuple):
    """Findings and files after a baseline: what is known is information, and no doubt of its file any more."""

    findings: list[Finding]
    files: tuple[OpenedFile, ...]
    known: tuple[Entry, ...]  # entries that stood for a finding


class Scope:
    """The files of one scanned path, by which its findings become entries."""

    def __init__(self, root: str, files: Sequence[OpenedFile], findings: Sequence[Finding]) -> None:
        self.files = {file.path: file for file in files}
        self.names = {path: _relative(path, root) for path in self.files}
        self.compiled = _compiled(root)
        self.loose = {
            path for path, file in self.files.items()
            if file.kind == NO_WEIGHTS or verdict_of(file, findings) != "safe"
        }  # fmt: skip

    def entry(self, found: Finding) -> Entry | None:
        """The entry of a finding; None where it must count, or is not about bytes that are known."""
        rule, file = by_kind().get(found.kind), self.files.get(found.file)
        if found.severity == "info" or rule is None or rule.fixed or file is None or not HEX.fullmatch(file.sha256):
            return None
        context = self._context(found, rule)
        if context is None:
            return None
        return Entry(self.names[file.path], file.sha256, rule.code, found.severity, found.tensor, context)

    def _context(self, found: Finding, rule: Rule) -> str | None:
        """Digest of what a finding depends on beside its file; "" for nothing, None where that was not read."""
        others: Iterable[str] = ()
        hidden: Sequence[tuple[str, str]] = ()
        if rule.code.startswith("UT2") or rule.code in OF_THE_FOLDER:
            others, hidden = self.loose, self.compiled
        elif rule.code.startswith("UT4"):
            others = (path for path in self.files if _together(path, found.file))
        parts = sorted((self.names[path], self.files[path].sha256) for path in others if path != found.file)
        parts += hidden
        if not all(digest for _, digest in parts):
            return None
        said = found.explanation if rule.code in OF_THE_PARENT else ""
        return sha256(json.dumps([parts, said]).encode()).hexdigest() if parts or said else ""

    def unread(self, findings: Iterable[Finding]) -> list[Finding]:
        """A finding for each file that is not complete and says so by none of its own."""
        named = {found.file for found in findings if found.severity != "info"}
        return [Finding(UNREAD, "warning", "", path) for path, file in self.files.items()
                if not file.complete and path not in named]  # fmt: skip


def entries_of(root: str, findings: Sequence[Finding], files: Sequence[OpenedFile]) -> tuple[list[Entry], int]:
    """The entries of a scan of `root`, and how many critical findings and warnings cannot be known."""
    scope = Scope(root, files, findings)
    counted = [found for found in (*findings, *scope.unread(findings)) if found.severity != "info"]
    entries = [scope.entry(found) for found in counted]
    return [entry for entry in entries if entry], sum(entry is None for entry in entries)


def compared(
    baseline: Baseline | None, root: str, findings: Sequence[Finding], files: Sequence[OpenedFile]
) -> Compared:
    """What of a scan of `root` is known. Nothing else changes: a finding that has no entry counts as before."""
    scope = Scope(root, files, findings)
    left, known = Counter(baseline.entries if baseline else ()), []
    after: list[Finding] = []
    for found in (*findings, *scope.unread(findings)):
        entry = scope.entry(found)
        if entry is None or not left[entry]:
            after += [found] if found.kind != UNREAD else []
            continue
        left[entry] -= 1
        known.append(entry)
        text = found.explanation or "not fully parsed or read"
        after.append(replace(found, severity="info", known=True, explanation=f"{text} {NOTE}"))
    return Compared(after, tuple(_settled(file, after) for file in files), tuple(known))


def _settled(file: OpenedFile, findings: Iterable[Finding]) -> OpenedFile:
    """A file without the doubts that are known and of which nothing new is said."""
    mine = [found for found in findings if found.file == file.path]
    fresh = {found.kind for found in mine if found.severity != "info"}
    known = {found.kind for found in mine if found.known}
    left = tuple(kind for kind in file.doubts if kind in fresh or not (kind in known or UNREAD in known))
    return replace(file, doubts=left, complete=not left) if left != file.doubts else file


def _compiled(root: str) -> list[tuple[str, str]]:
    """What a scan leaves out and Python may run in place of a .py beside it: the files of __pycache__."""
    found = sorted(Path(root).rglob("__pycache__/*")) if os.path.isdir(root) else []
    names = [(path, path.relative_to(root).as_posix()) for path in found]
    return [(name, sha256(path.read_bytes()).hexdigest() if path.is_file() else "") for path, name in names]


def _relative(path: str, root: str) -> str:
    """The path within what was scanned: a folder, one file, or a commit in the cache of the hub."""
    place = Path(path)
    if os.path.isdir(root) and place.is_relative_to(root):
        return place.relative_to(root).as_posix()
    parts = place.parts
    if not os.path.lexists(root) and "snapshots" in parts:
        return "/".join(parts[parts.index("snapshots") + 2 :])
    return place.name


def _together(path: str, other: str) -> bool:
    """Whether two files may make one model, or are a model and its configuration: what findings about numbers see."""
    one, two = Path(path), Path(other)
    if one.parent != two.parent:
        return False
    return (
        SHARD.sub("", path) == SHARD.sub("", other) or one.suffix == two.suffix == ".npy" or one.name == "config.json"
    )


def outside(baseline: Path, paths: Iterable[str | Path]) -> None:
    """BadInput where a baseline lies in a folder that is scanned: whoever writes that folder could write it."""
    place = Path(os.path.realpath(baseline))
    for path in paths:
        if os.path.isdir(path) and place.is_relative_to(os.path.realpath(path)):
            raise BadInput(f"{baseline} lies in {path}, which is scanned: keep a baseline outside of what it is about")


def write_baseline(path: Path, entries: Iterable[Entry], version: str) -> None:
    """Write entries, in order; `version` is Undertow's."""
    table = {"schema": SCHEMA, "undertow": version, "entries": [asdict(entry) for entry in sorted(entries)]}
    write_atomic(path, (json.dumps(table, indent=1) + "\n").encode())


def read_baseline(path: Path) -> Baseline:
    """The baseline in a file; BadInput, in one line, where it is none or holds what no baseline may hold."""
    try:
        if path.stat().st_size > MOST:
            raise BadInput(f"--baseline {path} is larger than {MOST:,} bytes, so it was not read")
        found = json.loads(path.read_text(encoding="utf8"))
    except OSError as error:
        raise BadInput(f"--baseline {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise BadInput(f"--baseline {path} is no JSON: write it with --write-baseline") from error
    schema = found.get("schema") if isinstance(found, dict) else None
    if schema != SCHEMA:
        raise BadInput(f"--baseline {path} has the schema {str(schema)[:60]!r}, not {SCHEMA!r}: write it anew "
                       "with --write-baseline")  # fmt: skip
    listed = found.get("entries")
    if not isinstance(listed, list):
        raise BadInput(f"--baseline {path} has no list of entries: write it anew with --write-baseline")
    return Baseline(tuple(_entry(item, i, path) for i, item in enumerate(listed)), str(path))


def _entry(item: object, number: int, path: Path) -> Entry:
    names = {field.name for field in fields(Entry)}
    if not isinstance(item, Mapping) or set(item) != names or not all(isinstance(text, str) for text in item.values()):
        raise BadInput(f"--baseline {path}: entry {number} must have the texts {', '.join(sorted(names))}")
    entry = Entry(**item)
    rule = by_code().get(entry.code)
    if rule is None:
        raise BadInput(f"--baseline {path}: entry {number} names {entry.code[:20]!r}, which is no rule of a scan")
    if rule.fixed:
        raise BadInput(
            f"--baseline {path}: entry {number} names {rule.code} {rule.kind}, which always counts; remove it"
        )
    if not HEX.fullmatch(entry.sha256) or not (entry.context == "" or HEX.fullmatch(entry.context)):
        raise BadInput(f"--baseline {path}: entry {number} has no SHA-256 of 64 hexadecimal digits")
    if entry.severity not in get_args(Severity):
        raise BadInput(f"--baseline {path}: entry {number} has the severity {entry.severity[:20]!r}")
    return entry
