"""A finished run as it is read back from its folder: what is compared, and what is filed as evidence."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from undertow.types import AuditResult


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """One finished audit (`result`), or one scan (`scan`, the JSON of `undertow scan --format json`)."""

    path: Path
    audit: str  # the audit's name, or "scan"
    written: str  # when result.json (or the scan) was last written, ISO 8601, UTC
    sha256: Mapping[str, str]  # file name -> hash
    result: AuditResult | None = None
    scan: Mapping[str, Any] | None = None
    recomputed: int = 0  # AUCs that were computed again from the scores, and agreed

    @property
    def name(self) -> str:
        """The name of the folder (of a scan: of the file), without where it lies."""
        return self.path.resolve().name
