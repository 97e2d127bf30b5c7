"""Labelled texts for the data-trap audit: TREC and banking77 by name, or the user's own jsonl or csv."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from undertow.audits.datatrap.settings import TrapData
from undertow.audits.datatrap.supply import TrapSupply
from undertow.rng import stream
from undertow.sources.records.records_text import text_records
from undertow.sources.records.text_files import WHAT, holds_texts
from undertow.sources.records.tokens import FastTokens, padded
from undertow.types import BadInput, ConfigError, Examples

KNOWN: Mapping[str, tuple[str, str]] = {  # name: its file, the column of its labels
    "trec": ("trec.csv.gz", "fine"),
    "banking77": ("banking77.csv.gz", "intent"),
}


@dataclass(frozen=True)
class Labelled:
    """Different texts, each with its label."""

    name: str
    texts: tuple[str, ...]
    labels: tuple[str, ...]
    notes: tuple[str, ...] = ()


def load_trap_texts(settings: TrapData, seed: int, tokens: FastTokens) -> TrapSupply:
    """The texts split at random into the attacker's, the victim's and those that test, cut to `settings.tokens`.

    A text counts once, and so do texts that are the same once they are cut. Raises BadInput where there are too few,
    ConfigError where a named set has no folder.
    """
    found = labelled(settings)
    ids = padded(tokens.encode(found.texts), settings.tokens)
    names, labels = np.unique(found.labels, return_inverse=True)
    _, different = np.unique(ids, axis=0, return_index=True)
    order = stream(seed, "datatrap", "split").permutation(np.sort(different))
    sizes = (settings.auxiliary, settings.victim, settings.test)
    if len(order) < settings.auxiliary + settings.victim + 1:
        raise BadInput(
            f"{found.name}: {len(order)} different texts are too few for data.auxiliary = {sizes[0]}, "
            f"data.victim = {sizes[1]} and some that test"
        )
    parts = np.split(order[: sum(sizes)], np.cumsum(sizes)[:-1])
    auxiliary, victim, test = (Examples(ids[rows], labels[rows].astype(np.int64), found.name) for rows in parts)
    return TrapSupply(
        found.name, auxiliary, victim, test, classes=len(names), ids=tuple(f"{found.name}-{i}" for i in parts[1]),
        words=tokens.words, notes=found.notes, labels={str(name): i for i, name in enumerate(names)},
    )  # fmt: skip


def labelled(settings: TrapData) -> Labelled:
    """The texts of these settings with their labels, each text once."""
    path, column = Path(settings.source), "label"
    if settings.source in KNOWN:
        if not settings.folder:
            raise ConfigError(f"data.source = {settings.source!r} needs --data, the folder that holds its file")
        path, column = _known(settings)
    if not holds_texts(path):
        raise ConfigError(f"data.source = {settings.source!r}: texts come as trec, banking77, or {WHAT}")
    found = text_records(path, settings.field, label=column)
    if len(set(found.labels)) < 2:
        raise BadInput(f"{path}: texts of at least two labels are needed")
    name = settings.source if settings.source in KNOWN else found.name
    return Labelled(name, tuple(text.strip() for text in found.texts), found.labels, found.notes)


def _known(settings: TrapData) -> tuple[Path, str]:
    file, column = KNOWN[settings.source]
    for folder in (Path(settings.folder), Path(settings.folder) / "text"):
        if (folder / file).is_file():
            return folder / file, column
    raise BadInput(f"--data {settings.folder}: no {file} there, nor in its folder text")
