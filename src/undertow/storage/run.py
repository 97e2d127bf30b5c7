"""The run folder: whose it is, and what machine filled it."""

import json
import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from undertow.storage.files import storage_errors, write_atomic
from undertow.storage.store import DiskStore, remove_leftovers
from undertow.types import StoreError

MARKER = "undertow.json"
RUN_SCHEMA = "undertow.run/1"
PACKAGES = ("numpy", "scipy", "safetensors", "torch", "scikit-learn")


def open_run(out: Path, audit: str) -> None:
    """Make `out` the run folder of `audit`, or continue the run it holds.

    Raises StoreError where it holds something else: nobody's files are ever mixed or overwritten.
    """
    marker = out / MARKER
    if marker.is_file():
        held = _read_marker(marker)
        if held != audit:
            raise StoreError(f"{out} holds a run of {held!r}, not {audit!r}; choose another --out")
        return
    with storage_errors(out):
        if out.is_dir() and any(out.iterdir()):
            raise StoreError(f"{out} is not empty and is no run of undertow; choose another --out, or an empty folder")
        if out.exists() and not out.is_dir():
            raise StoreError(f"{out} is a file; --out names a folder")
        out.mkdir(parents=True, exist_ok=True)
    write_atomic(marker, (json.dumps({"schema": RUN_SCHEMA, "audit": audit}) + "\n").encode())


def open_store(root: Path) -> DiskStore:
    """The store at `root`, leftovers of killed writers removed."""
    with storage_errors(root):
        root.mkdir(parents=True, exist_ok=True)
        remove_leftovers(root)
    return DiskStore(root)


def environment() -> dict[str, Any]:
    """Versions, machine, and the git commit of the working folder where there is one."""
    found: dict[str, Any] = {
        "undertow": version("undertow"),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count() or 1,
    }
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "absent"
    found["device"] = _device()
    commit = _git_commit()
    return {**found, "git_commit": commit} if commit else found


def _device() -> str:
    torch = sys.modules.get("torch")  # never imported just to ask: `score` needs none
    return "cuda" if torch is not None and torch.cuda.is_available() else "cpu"


def _git_commit() -> str | None:
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _read_marker(marker: Path) -> str:
    try:
        held = json.loads(marker.read_text(encoding="utf8"))
        if held["schema"] != RUN_SCHEMA:
            raise ValueError(f"schema {held['schema']!r}")
        return str(held["audit"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{marker} cannot be read as a run of undertow ({error}); choose another --out") from error
