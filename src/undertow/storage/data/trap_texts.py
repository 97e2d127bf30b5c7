"""Labelled texts for the data-trap audit: TREC and banking77 by name, or the user's own jsonl or csv."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from undertow.audits.datatrap.settings import TrapData
from undertow.audits.datatrap.supply import TrapSupply
from undertow.rng import stream
from undertow.storage.data.tokens import FastTokens, padded
from undertow.storage.files import read_text
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
        words=tokens.words,
    )  # fmt: skip


def labelled(settings: TrapData) -> Labelled:
    """The texts of these settings with their labels, each text once."""
    path, column = Path(settings.source), "label"
    if settings.source in KNOWN:
        if not settings.folder:
            raise ConfigError(f"data.source = {settings.source!r} needs --data, the folder that holds its file")
        path, column = _known(settings)
    if ".csv" not in path.suffixes and ".jsonl" not in path.suffixes:
        raise ConfigError(f"data.source = {settings.source!r}: texts come as trec, banking77, a .jsonl or a .csv file")
    rows = list(csv.DictReader(io.StringIO(read_text(path)))) if ".csv" in path.suffixes else _objects(path)
    once: dict[str, str] = {}
    for line, row in enumerate(rows, 1):
        text, label = row.get("text"), row.get(column)
        if not text or not str(text).strip() or label is None:
            raise BadInput(
                f"{path}, record {line}: 'text' and {column!r} are needed; it has {', '.join(map(str, row))}"
            )
        once.setdefault(str(text).strip(), str(label))
    if len(set(once.values())) < 2:
        raise BadInput(f"{path}: texts of at least two labels are needed")
    name = settings.source if settings.source in KNOWN else path.name.partition(".")[0]
    return Labelled(name, tuple(once), tuple(once.values()))


def _known(settings: TrapData) -> tuple[Path, str]:
    file, column = KNOWN[settings.source]
    for folder in (Path(settings.folder), Path(settings.folder) / "text"):
        if (folder / file).is_file():
            return folder / file, column
    raise BadInput(f"--data {settings.folder}: no {file} there, nor in its folder text")


def _objects(path: Path) -> Sequence[Mapping[str, object]]:
    rows = []
    for line, raw in enumerate(read_text(path).split("\n"), 1):
        if raw.strip():
            try:
                row = json.loads(raw)
            except (ValueError, RecursionError) as error:
                raise BadInput(f"{path}, line {line}: no JSON ({error})") from error
            if not isinstance(row, dict):
                raise BadInput(f"{path}, line {line}: each line must be one JSON object")
            rows.append(row)
    return rows
