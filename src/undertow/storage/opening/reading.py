"""What is known of one file while it is read."""

from dataclasses import dataclass, field
from pathlib import Path

from undertow.scanner.findings import Finding, Severity
from undertow.scanner.tensors import Tensor
from undertow.storage.opening.source import Source


@dataclass
class Reading:
    """What was found in one file so far."""

    path: Path
    kind: str = "unknown"
    complete: bool = True
    source: Source | None = None
    scratch: Source | None = None  # inflated bytes of it
    tensors: dict[str, Tensor] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def say(self, kind: str, severity: Severity, text: str) -> None:
        self.findings.append(Finding(kind, severity, f"{self.path.name}: {text}", str(self.path)))

    def stop(self, kind: str, text: str, severity: Severity = "warning") -> None:
        """Say it, and that the file was not read to its end."""
        self.complete = False
        self.say(kind, severity, text)
