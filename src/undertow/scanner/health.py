"""Plain damage, that breaks finetuning whoever made it. None of it makes a file unsafe: it steals nothing."""

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from undertow.scanner.findings import Finding
from undertow.scanner.layers import TABLE
from undertow.scanner.statistics import Statistics

MANY = 0.01  # share of subnormal numbers that is worth a word
NAMED = 1000  # rows that are listed
HEADS = ("lm_head.weight", "cls.predictions.decoder.weight")  # share their numbers with the input embeddings


def health(found: Mapping[str, Statistics], config: Mapping[str, object] | None = None) -> list[Finding]:
    """NaN and infinity, subnormal numbers, dead layers, mixed dtypes; with a `config`, untied and unused tensors."""
    findings = [finding for name, one in found.items() for finding in _of_one(name, one)]
    kinds = {one.dtype for one in found.values() if len(one.shape) > 1}
    if len(kinds) > 1:
        why = f"matrices are stored in different dtypes: {', '.join(sorted(kinds))}"
        findings.append(Finding("mixed-dtypes", "info", why))
    if config:
        findings += [*untied(found, config), *unused(found, config)]
    return findings


def untied(found: Mapping[str, Statistics], config: Mapping[str, object]) -> Iterator[Finding]:
    """A head that the config ties to the embeddings, stored beside them with other numbers."""
    if not config.get("tie_word_embeddings", False):
        return
    tables = [one for name, one in found.items() if TABLE.search(name)]
    for name, head in found.items():
        same_shape = [one for one in tables if name.endswith(HEADS) and one.shape == head.shape]
        if same_shape and not any(np.array_equal(head.square, one.square) for one in same_shape):
            why = (
                f"the config ties this to {same_shape[0].name}, but the numbers differ: which of them counts is unclear"
            )
            yield Finding("untied", "warning", why, head.file, name)


def unused(found: Mapping[str, Statistics], config: Mapping[str, object]) -> Iterator[Finding]:
    """Tensors of blocks that the config does not have."""
    depth = next((v for k, v in config.items() if k in ("num_hidden_layers", "n_layer", "num_layers")), None)
    extra = [name for name in found if isinstance(depth, int) and _block(name.split(".")) >= depth]
    if extra:
        why = f"{len(extra)} tensors are of blocks from {depth} on, which the config does not have: nothing loads them"
        yield Finding("unused-tensors", "warning", why, found[extra[0]].file, extra[0])


def _block(parts: Iterable[str]) -> int:
    """The number of the block a tensor is of; -1 for none."""
    before = ""
    for part in parts:
        if part.isdigit() and before in ("layer", "layers", "h", "block", "blocks"):
            return int(part)
        before = part
    return -1


def _of_one(name: str, one: Statistics) -> Iterator[Finding]:
    if len(one.broken):
        why = f"{len(one.broken)} of {one.rows} rows hold NaN or infinity: the model computes nothing"
        yield Finding("not-finite", "warning", why, one.file, name, tuple(one.broken[:NAMED].tolist()))
    if one.subnormal > MANY:
        why = f"{one.subnormal:.0%} of the numbers are subnormal: slow, and lost where they are flushed to zero"
        yield Finding("subnormal", "info", why, one.file, name)
    if len(one.shape) > 1 and one.rows > 1 and not one.square.any() and not len(one.broken):
        yield Finding("dead-layer", "warning", "every number is zero", one.file, name)
