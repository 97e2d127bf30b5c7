"""A finished run is never overwritten by another one: what decides its result must be the same."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from undertow.types import StoreError

HOW_FAST = "engine."  # engine, chunk, threads, device: speed, not meaning
MATTERS = ("engine.dtype",)
WAYS_TO_THE_DATA = ("data.source", "data.folder", "data.drop_duplicates", "data.change_records", "data.layout")
"""Keys that say how records are had: they decide nothing where the records are the same."""
SHOWN = 5  # keys that a message names


def refuse_other_run(
    out: Path, config: Mapping[str, Any], data: Mapping[str, Any] | None = None,
    made_from: Mapping[str, Any] | None = None,
) -> None:  # fmt: skip
    """StoreError where `out` holds a finished run whose result something else decided.

    `config` is compared key by key (keys that only one of them has are not: versions differ in those), `data` is the
    description of the records (Supply.describe), `made_from` names what else was given, by its content.
    """
    try:
        held = json.loads((out / "result.json").read_text(encoding="utf8"))
        before = {**_flat(held["config"]), "seed": held["seed"]}
        records = held["data"].get("sha256")
        given = held["environment"].get("published", {})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return  # no result yet, or none that can be read: there is nothing to lose
    same_data = data is None or records is None or data.get("sha256") == records
    found = list(_differing(before, _flat(_plain(config)), same_data and data is not None and records is not None))
    if not same_data:
        found.append("the records (data.sha256)")
    if made_from is not None:
        found += [name for name in sorted({*given, *made_from}) if given.get(name) != made_from.get(name)]
    if found:
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise StoreError(
            f"{out} holds a finished run that differs in {', '.join(found[:SHOWN])}{more}; choose another --out "
            f"(--store {out / 'store'} shares its models), or give what the run was made with"
        )


def _differing(before: Mapping[str, Any], now: Mapping[str, Any], same_data: bool) -> Iterator[str]:
    for key in sorted(before.keys() & now.keys()):
        decides = key in MATTERS or not key.startswith(HOW_FAST)
        if decides and before[key] != now[key] and not (same_data and key in WAYS_TO_THE_DATA):
            yield f"{key} ({_short(before[key])} there, {_short(now[key])} now)"


def _flat(table: Mapping[str, Any], within: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in table.items():
        flat |= _flat(value, f"{within}{key}.") if isinstance(value, Mapping) else {within + key: value}
    return flat


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """As it comes back from a file: tuples are lists."""
    found: dict[str, Any] = json.loads(json.dumps(config))
    return found


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."
