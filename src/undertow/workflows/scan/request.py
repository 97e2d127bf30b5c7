"""How to scan, and what a scan returns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from undertow.opening import Limits, Signer
from undertow.opening.loaders.policy import Policy
from undertow.scanner import ENOUGH, ScanResult
from undertow.scanner.rules import by_kind
from undertow.types import Array, ConfigError, Params, Progress

if TYPE_CHECKING:
    from undertow.storage.baseline import Baseline, Entry
    from undertow.workflows.prove import Proving


@dataclass(frozen=True)
class ScanRequest:
    """How to scan."""

    parent: str | Path | Params | None = None  # a trusted checkpoint of the same kind
    prove: "Proving | None" = None
    allow: Sequence[str] = ()  # kinds of findings about weights that are accepted
    limits: Limits = field(default_factory=Limits)
    pictures: bool = False
    progress: Progress | None = None
    signer: Signer | None = None  # who must have signed the folder
    coverage: float = ENOUGH  # share of the parameters that must have been examined for a verdict of safe
    policy: Policy = field(default_factory=Policy)  # which rules count, and how much
    baseline: "Baseline | None" = None  # findings of an earlier scan, which do not count
    remember: bool = False  # whether entries for a baseline are wanted

    def __post_init__(self) -> None:
        for kind in self.allow:
            if kind not in by_kind():
                near = get_close_matches(kind, by_kind(), 1) or ["data-trap"]
                raise ConfigError(f"--allow {kind}: there is no such kind of finding; did you mean {near[0]}?")


@dataclass(frozen=True, eq=False)
class Scan:
    """A result, and what its page draws."""

    result: ScanResult
    weights: frozenset[str]  # files that the verdict is about: those with weights, and whatever is not safe
    norms: Mapping[tuple[str, str], Array] = field(default_factory=dict)  # row lengths by (file, tensor)
    entries: "tuple[Entry, ...]" = ()  # what a baseline of this scan holds
    lasting: int = 0  # findings that no baseline can hold
    known: "frozenset[Entry]" = frozenset()  # entries of the baseline that were found again
