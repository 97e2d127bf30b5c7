"""What an audit is: one value, from which its command, its plan, its run folder and its page follow.

Nothing here prints. The built-in audits stand in `workflows/audits.py`; other packages add theirs by entry points
"undertow.audits".
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from undertow.engine.executor import choose_executor
from undertow.types import AuditResult, Measurement, MissingExtra, Progress

if TYPE_CHECKING:
    from undertow.audits.chain import Host
    from undertow.report.reading import Pictures, Reading


@dataclass(frozen=True)
class Request:
    """Where an audit runs and what it leaves behind."""

    out: Path
    store: Path | None = None  # default: OUT/store
    workers: int = 1
    include_examples: bool = False  # show the audited records in the report
    progress: Progress | None = None

    def inside(self, name: str) -> "Request":
        """The same, one folder deeper, with the store kept where it is."""
        return replace(self, out=self.out / name, store=self.store or self.out / "store")


@dataclass(frozen=True)
class Given:
    """Where a configuration comes from; the later wins: a preset, the keys of a file, options."""

    preset: str | None = None
    file: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)  # nested, as in the file


@dataclass(frozen=True)
class Option:
    """An option of one audit's command: what it sets in the configuration."""

    name: str  # as it is typed, without dashes
    help: str  # a sentence: what it does, its unit, its default
    kind: type = str  # int | float | str | bool | Path
    sets: str | Callable[[Any], Mapping[str, Any]] = ""  # a dotted key, or the keys that a value sets; "": the name
    many: bool = False  # several values, separated by commas
    least: int | None = None  # the smallest number that is taken


@dataclass(frozen=True, eq=False)
class Table:
    """An audit that is ready to be played: nothing is refused any more, and nothing is written yet."""

    config: Any  # the configuration, a frozen dataclass with a `seed`
    records: Mapping[str, Any]  # name, sizes and content hashes of the records (Supply.describe)
    held: Any = None  # what `play` needs besides
    notes: tuple[str, ...] = ()  # what was done to the records


@dataclass(frozen=True, eq=False)
class Played:
    """What came of it."""

    result: AuditResult
    keep: Callable[[Path], Sequence[Measurement]] | None = None
    """Writes the private files (checkpoints, keys) into the run folder; returns what is measured on those."""


def no_pictures(result: AuditResult, run: Path, include_examples: bool) -> "Pictures":
    """No record is shown."""
    del result, run, include_examples
    from undertow.report.reading import Pictures

    return Pictures()


@dataclass(frozen=True, eq=False)
class Audit:
    """A kind of audit. Functions first: each of these can be called alone."""

    name: str  # of the command: undertow audit NAME
    about: str  # one sentence: the question that it answers
    configure: Callable[[Given], Any]  # a checked configuration; ConfigError for what cannot mean anything
    load: Callable[[Any], Table]  # the records; whatever can be refused is refused here, before a file is written
    play: Callable[[Table, "Host"], Played]  # resumes from the host's store
    cost: Callable[[Table, int], Sequence[str]] | None = None  # lines of --plan, for so many workers; None: unknown
    presets: Callable[[], Sequence[str]] = tuple  # lines of --list-presets
    options: tuple[Option, ...] = ()  # besides those that every audit has
    gate: str = "tpr@0.1%>0.01"  # an example of --fail-if
    pictures: Callable[[AuditResult, Path, bool], "Pictures"] = no_pictures  # what the page may show of the records
    read: "Reading | None" = None  # how the result is read; None: its built-in reading, or its numbers alone


def run_audit(audit: Audit, config: Any, request: Request) -> AuditResult:
    """Run an audit into its folder: result.json, scores, records.csv, report.html. Rerunning resumes.

    Raises ConfigError, BadInput, StoreError, MissingExtra or WorkerDied; whatever was finished is kept.
    """
    from undertow.storage.results import save_result
    from undertow.storage.run import open_run

    table = audit.load(config)
    open_run(request.out, audit.name)
    refuse_other(table, request.out)
    played = audit.play(table, host_of(request))
    rows = played.keep(request.out) if played.keep is not None else ()
    result = replace(played.result, measurements=(*played.result.measurements, *rows))
    save_result(result, request.out)
    write_report(result, request.out, audit.pictures(result, request.out, request.include_examples))
    return result


def plan_audit(audit: Audit, config: Any, workers: int = 1) -> tuple[str, ...]:
    """What an audit will train and about how long that takes, in lines; nothing is written."""
    table = audit.load(config)
    lines = ("what it costs is not known beforehand",) if audit.cost is None else tuple(audit.cost(table, workers))
    first, *rest = (*lines, *table.notes)
    return (f"{audit.name}: {first}", *(f"  {line}" for line in rest))


def refuse_other(table: Table, out: Path) -> None:
    """StoreError where `out` holds the finished result of another configuration, or of other records."""
    from undertow.audits.leakage import plain
    from undertow.storage.finished import refuse_other_run

    refuse_other_run(out, plain(table.config), table.records)


def host_of(request: Request) -> "Host":
    """The store, the workers and the environment of a request; the store's folder is made."""
    from undertow.audits.chain import Host
    from undertow.storage.run import environment, open_store

    store = open_store(request.store or request.out / "store")
    executor = choose_executor(request.workers)
    return Host(store, executor, {**environment(), "workers": request.workers}, request.progress)


def nowhere() -> "Host":
    """A host in memory, for what is only planned or checked."""
    from undertow.audits.chain import Host
    from undertow.engine.executor import Serial
    from undertow.storage.store import MemoryStore

    return Host(MemoryStore(), Serial())


def write_report(result: AuditResult, out: Path, pictures: "Pictures | None" = None) -> None:
    """`report.html` beside the result; records are shown only where pictures are given."""
    from undertow.report.reading import page_of
    from undertow.storage.files import write_atomic

    write_atomic(out / "report.html", page_of(result, pictures).encode())


def write_index(results: Mapping[str, AuditResult], out: Path) -> None:
    """One page over several audits, linking to theirs."""
    from undertow.report.html import index_page
    from undertow.storage.files import write_atomic

    pages = {f"{name}/report.html": result for name, result in results.items()}
    write_atomic(out / "report.html", index_page(pages).encode())


def duration(seconds: float) -> str:
    """About how long, for people.

    >>> duration(0.2), duration(70), duration(1234), duration(9000)
    ('1 second', '70 seconds', '21 minutes', '2.5 hours')
    """
    if seconds < 90:
        whole = max(1, round(seconds))
        return f"{whole} second{'s' * (whole > 1)}"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


def need_torch() -> None:
    """Refuse early, with the pip command, where the training extra is absent."""
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise MissingExtra("torch", "train") from error
