"""The content-addressed store: safetensors and JSON, whole or not there, never a pickle."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from undertow.storage.files import write_atomic
from undertow.types import Array, Params, StoreError

DIGEST = "sha256"


@dataclass(frozen=True)
class DiskStore:
    """One file per entry under `root`; written beside, then renamed."""

    root: Path

    def has(self, key: str) -> bool:
        """Whether a whole entry is there; a torn one (power loss) counts as absent and is made again."""
        return _is_whole(self._path(key, ".safetensors"))

    def get(self, key: str) -> Params:
        path = self._path(key, ".safetensors")
        try:
            raw = path.read_bytes()
            header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
            body = memoryview(raw)[8 + int.from_bytes(raw[:8], "little") :]
            if hashlib.sha256(body).hexdigest() != header["__metadata__"][DIGEST]:
                raise ValueError("its content does not match its checksum")
            return {name: np.array(value) for name, value in load(raw).items()}
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise StoreError(f"stored entry {path} cannot be read ({error}): delete that file and run again") from error

    def put(self, key: str, arrays: Mapping[str, Array]) -> None:
        whole = {name: np.asarray(value, order="C") for name, value in arrays.items()}
        plain = save(whole)
        body = plain[8 + int.from_bytes(plain[:8], "little") :]
        raw = save(whole, metadata={DIGEST: hashlib.sha256(body).hexdigest()})
        write_atomic(self._path(key, ".safetensors"), raw)

    def get_note(self, key: str) -> dict[str, Any] | None:
        path = self._path(key, ".json")
        try:
            note = json.loads(path.read_text(encoding="utf8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise StoreError(f"stored note {path} cannot be read ({error}): delete that file and run again") from error
        if not isinstance(note, dict):
            raise StoreError(f"stored note {path} is not a JSON object: delete that file and run again")
        return note

    def put_note(self, key: str, note: Mapping[str, Any]) -> None:
        text = json.dumps(note, indent=1, sort_keys=True, allow_nan=False)
        write_atomic(self._path(key, ".json"), text.encode())

    def _path(self, key: str, suffix: str) -> Path:
        return self.root / key[:2] / (key + suffix)


@dataclass(frozen=True, eq=False)
class MemoryStore:
    """The same in a dictionary, for tests."""

    arrays: dict[str, Params] = field(default_factory=dict)
    notes: dict[str, dict[str, Any]] = field(default_factory=dict)

    def has(self, key: str) -> bool:
        return key in self.arrays

    def get(self, key: str) -> Params:
        if key not in self.arrays:
            raise StoreError(f"no entry {key} is in this store")
        return {name: value.copy() for name, value in self.arrays[key].items()}

    def put(self, key: str, arrays: Mapping[str, Array]) -> None:
        self.arrays[key] = {name: np.array(value) for name, value in arrays.items()}

    def get_note(self, key: str) -> dict[str, Any] | None:
        return self.notes.get(key)

    def put_note(self, key: str, note: Mapping[str, Any]) -> None:
        self.notes[key] = dict(note)


def remove_leftovers(root: Path) -> None:
    """Delete half-written files of processes that are gone (killed while writing)."""
    for part in root.rglob(".*.part"):
        pid = part.name.split(".")[-2]
        if pid.isdigit() and not Path("/proc", pid).exists() and Path("/proc/self").exists():
            part.unlink(missing_ok=True)


def _is_whole(path: Path) -> bool:
    """A safetensors file says in its header how long it is; a torn one is shorter."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 + length:
                return False
            header = json.loads(file.read(length))
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        return size == 8 + length + max(ends, default=0)
    except FileNotFoundError:
        return False
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
