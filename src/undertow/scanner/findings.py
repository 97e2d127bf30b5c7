"""What a scan says: findings, files, one verdict. Unknown is never safe."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from undertow.scanner.coverage import Coverage

Verdict = Literal["safe", "unsafe", "unknown"]
Severity = Literal["info", "warning", "critical"]  # only critical findings make a file unsafe
NO_WEIGHTS = "other"  # kind of a file that holds no weights
WORST: tuple[Verdict, ...] = ("safe", "unknown", "unsafe")  # later wins


@dataclass(frozen=True)
class Finding:
    """One piece of evidence."""

    kind: str  # e.g. "data-trap", "pickle-code", "malformed", "not-finite"
    severity: Severity
    explanation: str  # one sentence a user can act on
    file: str = ""
    tensor: str = ""
    rows: tuple[int, ...] = ()
    score: float | None = None  # of the test behind it; larger is worse
    known: bool = False  # a baseline holds it: it is information now, and does not count


@dataclass(frozen=True)
class ScannedFile:
    """One file that was looked at."""

    path: str
    sha256: str  # "" where it could not be read
    verdict: Verdict
    kind: str = ""  # by content: "safetensors", "pickle", ...; NO_WEIGHTS where it holds none


@dataclass(frozen=True)
class ScanResult:
    """The answer to `is it safe to finetune from this?`

    safe: opened without executing, enough of the parameters examined (`coverage`), nothing critical found. unknown: not
    fully parsed or read, or not enough examined.
    """

    verdict: Verdict
    findings: tuple[Finding, ...] = ()
    not_tested: tuple[str, ...] = ()  # checks that could not run, each with its reason
    files: tuple[ScannedFile, ...] = ()
    settings: Mapping[str, object] = field(default_factory=dict)  # thresholds and the false-alarm rate they state
    coverage: Coverage | None = None  # parameters that were examined, and all; None where no numbers were read


def worst(verdicts: list[Verdict]) -> Verdict:
    """The verdict of the whole: unsafe before unknown before safe; of nothing, unknown."""
    return max(verdicts, key=WORST.index, default="unknown")
