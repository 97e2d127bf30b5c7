"""Which files a path names: one file, or a folder and what lies in it. Links are followed only inside a hub cache."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from undertow.opening.hub import fetched
from undertow.opening.opened import Limits
from undertow.opening.source import Refused, Source, open_regular

SKIPPED = frozenset({".git", ".cache", "__pycache__"})


@dataclass(frozen=True)
class Listed:
    """A file that was found: open, or why not."""

    path: Path
    source: Source | None
    refused: Refused | None = None


def listed(path: str | Path, limits: Limits, notes: list[str], origin: dict[str, str]) -> Iterator[Listed]:
    """Every file of a path, a folder, or a Hugging Face repository id that is no path, in order of name.

    `notes` receives what was left out, `origin` the repository and commit of what was downloaded. BadInput where there
    is no such path; MissingExtra where the path is a repository id and huggingface_hub is absent.
    """
    root = Path(path)
    if not os.path.lexists(root):
        found = fetched(str(path), limits)
        root = found.folder
        notes += found.notes
        origin |= {"repository": found.repository, "commit": found.commit}
        yield from (Listed(root / name, None, refused) for name, refused in found.left_out)
    if root.is_dir() and not root.is_symlink():
        yield from _inside(root, limits, notes)
    else:
        yield _opened(root)


def each(paths: Iterable[Path]) -> Iterator[Listed]:
    """The files at `paths`, opened."""
    return (_opened(path) for path in paths)


def _inside(root: Path, limits: Limits, notes: list[str]) -> Iterator[Listed]:
    count = 0
    closed: list[OSError] = []
    for place, folders, names in os.walk(root, followlinks=False, onerror=closed.append):
        here = Path(place)
        links = [name for name in folders if (here / name).is_symlink()]
        if len(here.relative_to(root).parts) >= limits.depth and folders:
            yield Listed(here, None, Refused("limit", f"folders deeper than {limits.depth} were not opened"))
            folders.clear()
        if SKIPPED & set(folders):
            notes.append(f"{here}: {', '.join(sorted(SKIPPED & set(folders)))} was not looked into")
        folders[:] = sorted(set(folders) - SKIPPED - set(links))
        for name in sorted([*names, *links]):
            count += 1
            if count > limits.files:
                yield Listed(here, None, Refused("limit", f"it holds more than {limits.files:,} files"))
                return
            yield _opened(here / name)
    for error in closed:
        why = Refused("unreadable", f"this folder cannot be listed: {error.strerror}")
        yield Listed(Path(error.filename or root), None, why)


def _opened(path: Path) -> Listed:
    try:
        source = open_regular(_blob(path) or path)
        return Listed(path, replace(source, path=str(path)))  # findings name the file as it was asked for
    except Refused as refused:
        return Listed(path, None, refused)


def _blob(path: Path) -> Path | None:
    """Where a link of the hub's cache leads: from .../snapshots/REVISION/... to .../blobs/HASH, nowhere else."""
    if not path.is_symlink():
        return None
    place = Path(os.path.abspath(path))
    for root in place.parents:
        if root.name == "snapshots" and not (root.parent / "blobs").is_symlink():
            target = Path(os.path.normpath(place.parent / os.readlink(path)))
            return target if target.parent == root.parent / "blobs" else None
    return None
