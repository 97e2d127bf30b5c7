"""Answers of a served model, kept by what was asked: a rerun asks nothing twice, a kill loses at most one line."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from undertow.storage.files import storage_errors

PRIVATE = 0o600  # who asks about records knows them


@dataclass(eq=False)
class AnswersFile:
    """A growing file of JSON lines {"asked": hash, "answer": ...}; a torn last line is passed over."""

    path: Path
    held: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        with storage_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            raw = self.path.read_bytes() if self.path.is_file() else b""
            if raw and not raw.endswith(b"\n"):  # a writer was killed: what it began is cut off
                raw = raw[: raw.rfind(b"\n") + 1]
                self.path.write_bytes(raw)
            self.path.touch(PRIVATE)
        for line in raw.splitlines():
            try:
                row = json.loads(line)
                self.held[row["asked"]] = row["answer"]
            except (ValueError, KeyError, TypeError):
                continue

    def add(self, found: dict[str, Any]) -> None:
        """Keep these answers; they are on disk when this returns."""
        lines = "".join(json.dumps({"asked": key, "answer": answer}) + "\n" for key, answer in found.items())
        with storage_errors(self.path), self.path.open("a", encoding="utf8") as file:
            file.write(lines)
        self.held |= found
