"""A design for trainings that are run elsewhere: who is a member of what, as npz, and whether signals fit it.

member (M, N) bool, models 2k and 2k + 1 are opposites; seeds (M,) int, one for each training; design, its name;
group (N,), where records belong together
"""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from undertow.audits.membership.evidence import SignalSet, truth
from undertow.engine.pairs import DESIGN, design_name, misfit, pairs, training_seeds
from undertow.storage.files import read_bytes, read_npz, read_text, write_atomic
from undertow.types import Array, BadInput, ConfigError


@dataclass(frozen=True, eq=False)
class Dealt:
    """A design that was written to a file."""

    name: str  # of the file
    member: Array  # (M, N) bool
    group: Array | None = None


def write_design(out: Path, records: int | None, shadows: int, seed: int, groups: Path | None) -> Dealt:
    """Deal complementary pairs and write them; ConfigError or BadInput in one line where that cannot be."""
    group = None if groups is None else read_groups(groups)
    if records is None and group is None:
        raise ConfigError("--records is missing: how many records there are (or --groups, with one group per record)")
    count = len(group) if records is None and group is not None else int(records or 0)
    if group is not None and len(group) != count:
        raise BadInput(f"--groups {groups}: {len(group)} groups for {count} records; give one line per record")
    if out.suffix != ".npz":
        raise ConfigError(f"--out {out}: the design is an npz; name it so, {out.with_suffix('.npz').name}")
    member = pairs(seed, count, shadows, group)
    seeds = np.array(training_seeds(seed, shadows), np.int64)
    arrays: dict[str, Any] = {
        "member": member,
        "seeds": seeds,
        "design": np.array(design_name(member)),
        "seed": np.array(seed),
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    if out.exists() and out.read_bytes() != buffer.getvalue() and not _same(out, member):
        raise BadInput(f"--out {out} is there already and holds something else; it is not overwritten")
    write_atomic(out, buffer.getvalue())
    return Dealt(out.name, member, group)


def read_design(path: Path) -> Dealt:
    """The design in a file of `undertow design`; BadInput where it is none, or was changed."""
    read_bytes(path)
    arrays = read_npz(path)
    name, member = arrays.get("design"), arrays.get("member")
    if name is None or member is None or not str(name).startswith(f"{DESIGN}:"):
        raise BadInput(f"{path} is no design; write one: undertow design --records N --shadows M --out design.npz")
    if member.dtype != bool or member.ndim != 2 or str(name) != design_name(member):
        raise BadInput(f"{path}: member is not what was dealt (its checksum differs); write the design again")
    return Dealt(path.name, member, arrays.get("group"))


def fitted(signals: SignalSet, dealt: Dealt) -> SignalSet:
    """The signals with the design's membership (and groups, where they have none); BadInput where they do not fit."""
    arrays: Mapping[str, Array] = signals.arrays
    given = arrays.get("member")
    models = _models(signals) if given is None else None
    if given is None:
        if models is None or models > len(dealt.member):
            raise BadInput(f"{signals.name}: it is of {models} models, {dealt.name} of {len(dealt.member)}")
        member = dealt.member[:models]
    else:
        member, _ = truth(np.atleast_2d(given))
        wrong = misfit(member, dealt.member)
        if wrong:
            raise BadInput(f"{signals.name}: member {wrong} ({dealt.name})")
    group = {} if dealt.group is None or "group" in arrays else {"group": dealt.group}
    note = f"The membership is that of {dealt.name}: {len(member)} of its {len(dealt.member)} models."
    return replace(signals, arrays={**arrays, "member": member, **group}, notes=(*signals.notes, note))


def read_groups(path: Path) -> Array:
    """One group per record: an npz with `group`, a csv with a column `group`, or one name a line; (N,) text."""
    if read_bytes(path)[:2] == b"PK":
        arrays = read_npz(path)
        if "group" not in arrays or arrays["group"].ndim != 1:
            raise BadInput(f"--groups {path}: key 'group' (N,) is missing; found: {', '.join(arrays) or 'nothing'}")
        return arrays["group"].astype(str)
    lines = read_text(path).splitlines()
    table = list(csv.reader(lines))
    heads = [cell.strip().lower() for cell in (table or [[]])[0]]
    if "group" in heads:
        place = heads.index("group")
        cells = [row[place].strip() if place < len(row) else "" for row in table[1:]]
    else:
        cells = [line.strip() for line in lines]
    empty = next((i for i, cell in enumerate(cells) if not cell), None)
    if empty is not None or not cells:
        raise BadInput(f"--groups {path}: record {empty or 0} has no group; give one per record")
    return np.array(cells)


def _models(signals: SignalSet) -> int | None:
    for key in ("logits", "probabilities", "values"):
        if key in signals.arrays and signals.arrays[key].ndim > 1:
            return len(signals.arrays[key])
    return None


def _same(path: Path, member: Array) -> bool:
    try:
        return np.array_equal(read_design(path).member, member)
    except BadInput:
        return False
