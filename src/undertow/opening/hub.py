"""A repository of the Hugging Face hub: one pinned commit, its weights and configurations only, headers first."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from undertow.opening.opened import Limits
from undertow.opening.sniff import WEIGHTS
from undertow.opening.source import Refused
from undertow.types import BadInput, MissingExtra

REPOSITORY = re.compile(r"(?P<name>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@(?P<revision>[\w./-]+))?\Z")
CONFIGS = (".json", ".yaml", ".yml", ".cfg", ".toml", ".jinja", ".py", ".sig", ".index")
NAMED = ("MLmodel", "merges.txt")
CODE = (".so", ".pyd", ".dll", ".dylib")


@dataclass(frozen=True)
class Fetched:
    """A folder of a repository, and what of the repository is not in it."""

    folder: Path
    repository: str
    commit: str  # 40 hexadecimal digits
    left_out: tuple[tuple[str, Refused], ...] = ()  # (name of the file, why)
    notes: tuple[str, ...] = ()


def fetched(name: str, limits: Limits) -> Fetched:
    """The weights and configurations of ORG/NAME or ORG/NAME@REVISION; from the cache where there is no network.

    The revision is resolved to a commit first, and everything is of that commit. The header of each safetensors file
    is read before its numbers are: a file whose header is false is not downloaded. Files beyond `limits.download`
    bytes together are left out, with a reason, so the verdict cannot be safe. BadInput where there is no such
    repository; MissingExtra without huggingface_hub.
    """
    match = REPOSITORY.match(name)
    if not match:
        raise BadInput(f"{name}: no such file or folder")
    try:
        import huggingface_hub as hub
    except ImportError as error:
        raise MissingExtra("huggingface_hub", "data") from error
    repository, revision = match["name"], match["revision"]
    try:
        return _from_hub(hub, repository, revision, limits)
    except Exception as error:  # the client raises its own, its transport's and the system's
        try:
            folder = Path(hub.snapshot_download(repository, revision=revision, local_files_only=True))
        except Exception:
            said = next(iter(str(error).splitlines()), "") or type(error).__name__
            raise BadInput(f"{name!r} is no path here and cannot be downloaded from huggingface.co ({said})") from error
        note = f"whether {repository} holds more or newer files: it was read from the cache, without the network"
        return Fetched(folder, repository, folder.name, notes=(note,))


def _from_hub(hub: Any, repository: str, revision: str | None, limits: Limits) -> Fetched:
    api = hub.HfApi()
    said = api.model_info(repository, revision=revision, files_metadata=True)
    commit = str(said.sha)
    files = {str(one.rfilename): int(one.size or 0) for one in said.siblings or ()}
    wanted, left_out, total = [], [], 0
    for name in sorted(files, key=lambda name: (_is_weight(name), name)):  # configurations first, then weights
        if PurePosixPath(name).suffix.lower() in CODE:
            left_out.append((name, Refused("shared-library", "it is a compiled library, which was not downloaded")))
        if not (_is_weight(name) or _is_config(name)):
            continue
        if total + files[name] > limits.download:
            why = f"with it, more than {limits.download:,} bytes would be downloaded"
            left_out.append((name, Refused("limit", f"{why}, so it was not")))
            continue
        if name.endswith(".safetensors") and (fault := _false_header(api, repository, name, commit)):
            left_out.append((name, Refused("malformed", f"its header is false, so it was not downloaded: {fault}")))
            continue
        total += files[name]
        wanted.append(name)
    folder = Path(hub.snapshot_download(repository, revision=commit, allow_patterns=_literally(wanted)))
    return Fetched(folder, repository, commit, tuple(left_out))


def _is_weight(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in WEIGHTS


def _is_config(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix.lower() in CONFIGS or path.name in NAMED


def _literally(names: Sequence[str]) -> list[str]:
    """Patterns of fnmatch that match these names and nothing else."""
    return [re.sub(r"([*?\[])", r"[\1]", name) for name in names] or ["*.none"]


def _false_header(api: Any, repository: str, name: str, commit: str) -> str:
    """What is wrong with the header of a safetensors file, read by a request for its first bytes; "" for nothing."""
    try:
        api.parse_safetensors_file_metadata(repository, name, revision=commit)
    except Exception as error:
        if type(error).__name__ == "SafetensorsParsingError":
            return next(iter(str(error).splitlines()), "")[:200]
    return ""
