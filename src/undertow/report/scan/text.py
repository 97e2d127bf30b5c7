"""A scan as lines of text: one for each file, then what was found, then what was not tested."""

from collections.abc import Collection, Iterator, Mapping

from undertow.report.words import one_line, wrapped
from undertow.scanner.coverage import Coverage
from undertow.scanner.findings import Finding, ScannedFile, ScanResult, Verdict
from undertow.scanner.rules import code_of

WIDTH = 88
ROWS = 12  # of a finding, that are named
HASH = 12  # digits of a hash that are shown
COLOURS = {"safe": "\033[32m", "unsafe": "\033[31m", "unknown": "\033[33m", "critical": "\033[31m"}
NOTHING_SCANNED = "nothing scanned: no file there holds weights"
SENTENCES: dict[Verdict, str] = {
    "safe": "Opened without executing, enough of the parameters examined, no evidence above the threshold. "
    "This is no proof of innocence: what could not be tested is listed.",
    "unsafe": "Do not finetune private data from this.",
    "unknown": "Not everything could be read or examined, so nothing is said about it. Unknown is not safe.",
}


def summary(result: ScanResult, colour: bool = False, weights: Collection[str] | None = None) -> str:
    """The scan as text; colour only where the caller knows that it is wanted. Ends without a newline.

    `weights`: files that hold any; safe files that do not are counted, not listed. None: all are listed.
    """
    listed = [file for file in result.files if weights is None or file.path in weights or file.verdict != "safe"]
    lines = [_file(file, colour) for file in listed]
    left = len(result.files) - len(listed)
    lines += [f"and {left} file{'s' * (left > 1)} without weights"] if left else []
    parts = [_source(result)] if _source(result) else []
    parts += ["\n".join(lines)] if lines else []
    parts += ["\n".join(_finding(found, colour)) for found in result.findings]
    if result.not_tested:
        parts.append("NOT TESTED\n" + "\n".join(wrapped(one, WIDTH, "- ", "  ") for one in result.not_tested))
    parts += ["\n".join(coverage_lines(result.coverage))] if result.coverage and result.coverage.total else []
    parts += [wrapped(_baseline(result), WIDTH, "", "")] if _baseline(result) else []
    sentence = wrapped(SENTENCES[result.verdict], WIDTH, "", "")
    parts.append(f"VERDICT: {_paint(result.verdict, result.verdict, colour)}\n{sentence}")
    return "\n\n".join(parts)


def rows_of(found: Finding, most: int = ROWS) -> str:
    """The rows of a finding, the first few by number.

    >>> rows_of(Finding("data-trap", "critical", "", rows=(1, 2, 3, 9)), most=3)
    '4 rows: 1, 2, 3, ...'
    """
    if not found.rows:
        return ""
    more = ", ..." if len(found.rows) > most else ""
    return f"{len(found.rows)} row{'s' * (len(found.rows) > 1)}: {', '.join(map(str, found.rows[:most]))}{more}"


def coverage_lines(seen: Coverage) -> list[str]:
    """The share of the parameters that was examined, then each kind of layer.

    >>> coverage_lines(Coverage({"matrix": (5, 10), "bias or gain": (2, 2)}))
    ['COVERAGE 7 of 12 parameters examined (58.3 %)', '  bias or gain: 2 of 2', '  matrix: 5 of 10']
    """
    return [
        f"COVERAGE {seen}",
        *(f"  {kind}: {done:,} of {all_:,}" for kind, (done, all_) in sorted(seen.kinds.items())),
    ]


def _source(result: ScanResult) -> str:
    """Which commit of which repository was scanned; "" for files that were here."""
    source = result.settings.get("source")
    if not isinstance(source, Mapping):
        return ""
    return f"{one_line(str(source.get('repository')))} at commit {one_line(str(source.get('commit')))}"


def _baseline(result: ScanResult) -> str:
    """What the baseline took out of the verdict; "" where there was none."""
    counts = result.settings.get("baseline")
    if not isinstance(counts, Mapping):
        return ""
    said = f"BASELINE {one_line(str(counts.get('file')))}: {counts.get('known')} findings are known and do not count"
    return f"{said}; {counts.get('gone')} of its entries stand for nothing any more" if counts.get("gone") else said


def _file(file: ScannedFile, colour: bool) -> str:
    said = file.sha256[:HASH] or ("not hashed" if file.verdict == "safe" else "not read")
    return f"{_paint(f'{file.verdict:<8}', file.verdict, colour)} {one_line(file.path)}  {said}"


def _finding(found: Finding, colour: bool) -> Iterator[str]:
    where = " ".join(part for part in (found.file, found.tensor) if part)
    name = _paint(found.severity.upper(), found.severity, colour)
    yield f"{name} {code_of(found.kind)} {one_line(found.kind)}: {one_line(where)}".rstrip(": ")
    yield wrapped(one_line(found.explanation), WIDTH, "  ", "  ")
    numbers = [rows_of(found), "" if found.score is None else f"score {found.score:.3g}"]
    if any(numbers):
        yield wrapped("; ".join(filter(None, numbers)), WIDTH, "  ", "  ")


def _paint(text: str, what: str, colour: bool) -> str:
    return f"{COLOURS[what]}{text}\033[0m" if colour and what in COLOURS else text
