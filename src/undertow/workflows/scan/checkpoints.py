"""The models in what was opened: files that belong together, their tensors and their configuration."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from undertow.opening import Opened, open_checkpoint
from undertow.scanner import Finding, Tensor, of_arrays
from undertow.scanner.rules import code_of
from undertow.types import BadInput, Params

Tensors = Mapping[str, Tensor]
SHARD = re.compile(r"-\d{5}-of-\d{5}(?=\.)")
CONFIG_BYTES = 1 << 20


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The files of a path that make one model: one file, or the shards of one."""

    files: tuple[str, ...]
    tensors: Tensors
    config: Mapping[str, object] | None  # of config.json beside them


def checkpoints_of(opened: Opened) -> Iterator[Checkpoint]:
    """What belongs together: shards that are numbered alike are one model, and the .npy of a folder, whose names are
    those of the tensors; every other file is one by itself. Of two tensors of one name, none hides the other."""
    groups: dict[str, list[Tensor]] = {}
    for tensor in opened.tensors.values():
        alone = Path(tensor.file).suffix == ".npy"
        key = str(Path(tensor.file).parent / "*.npy") if alone else SHARD.sub("", tensor.file)
        groups.setdefault(key, []).append(_after_file(tensor) if alone else tensor)
    for tensors in groups.values():
        files = tuple(sorted({tensor.file for tensor in tensors}))
        by_name: dict[str, Tensor] = {}
        for tensor in tensors:
            name = tensor.name
            while name in by_name:
                name += "#"
            by_name[name] = tensor if name == tensor.name else tensor.renamed(name)
        yield Checkpoint(files, by_name, config_beside(Path(files[0]).parent))


def _after_file(tensor: Tensor) -> Tensor:
    """A tensor of a .npy, named after its file; arrays in an array of objects keep their names too."""
    stem, (_, _, inner) = Path(tensor.file).stem, tensor.name.partition("array.")
    return tensor.renamed(f"{stem}.{inner.removeprefix('0.')}" if inner else stem)


@contextmanager
def trusted(parent: str | Path | Params | None) -> Iterator[Tensors | None]:
    """The tensors of a trusted parent; BadInput where it holds none or was not fully read."""
    if parent is None or isinstance(parent, Mapping):
        yield None if parent is None else of_arrays(parent)
        return
    try:
        place = open_checkpoint(parent)
    except BadInput as error:
        raise BadInput(f"--parent {error}") from error
    with place as opened:
        broken = [found.explanation for found in opened.findings if _breaks(found)]
        if broken or not opened.tensors:
            raise BadInput(f"--parent {parent}: {broken[0] if broken else 'it holds no weights'}")
        yield opened.tensors


def _breaks(found: Finding) -> bool:
    """Whether a finding about a trusted parent is about its weights; what its configuration would run is not."""
    return found.severity == "critical" or (found.severity == "warning" and code_of(found.kind)[:3] in ("UT1", "UT5"))


def arrays_of(tensors: Tensors) -> Params:
    """All tensors in memory, in their own shapes."""
    return {name: tensor.whole() for name, tensor in tensors.items()}


def config_beside(folder: Path) -> Mapping[str, object] | None:
    """The config.json beside the weights, if it is a small table."""
    path = folder / "config.json"
    try:
        if not path.is_file() or path.stat().st_size > CONFIG_BYTES:
            return None
        found: Any = json.loads(path.read_text(encoding="utf8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
