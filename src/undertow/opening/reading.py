"""What is known of one file while it is read."""

from dataclasses import dataclass, field
from pathlib import Path

from undertow.opening.source import Source
from undertow.scanner.findings import Finding, Severity
from undertow.scanner.tensors import Tensor


@dataclass
class Reading:
    """What was found in one file so far."""

    path: Path
    kind: str = "unknown"
    doubts: list[str] = field(default_factory=list)  # kinds of what keeps it from being fully known
    source: Source | None = None
    scratch: Source | None = None  # inflated bytes of it
    tensors: dict[str, Tensor] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    texts: list[tuple[str, str]] = field(default_factory=list)  # (name, text) of configurations that lie in it
    external: list[tuple[str, str, tuple[int, ...], str, int]] = field(default_factory=list)
    """Tensors in files beside it: (name, type, shape, the file, offset in bytes)."""

    @property
    def complete(self) -> bool:
        """Whether it was read and understood to its end."""
        return not self.doubts

    def say(self, kind: str, severity: Severity, text: str) -> None:
        self.findings.append(Finding(kind, severity, f"{self.path.name}: {text}", str(self.path)))

    def stop(self, kind: str, text: str, severity: Severity = "warning") -> None:
        """Say it, and that the file was not read to its end."""
        self.doubt(kind)
        self.say(kind, severity, text)

    def doubt(self, kind: str) -> None:
        """Note that it is not fully known, for a reason that is said elsewhere."""
        if kind not in self.doubts:
            self.doubts.append(kind)
