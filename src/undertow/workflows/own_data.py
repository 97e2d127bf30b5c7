"""Settings of a demonstration must not reach the records of a user."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from undertow.types import ConfigError
from undertow.workflows.audit import Option

EMBEDDED = "digits"
HELD_OUT, LEAST = 40, 4  # of a poisoning audit's own images: records that are held out, and the fewest candidates
NEUTRAL: Mapping[str, Any] = {
    "label_noise": 0.0, "pool": 0, "other": 0, "draw": 0, "same_labels": False, "noise": 0.0,
}  # fmt: skip
"""Keys of [data] that change records, leave some out or assume something of them, with the value that does not."""


def source_of(*tables: Mapping[str, Any]) -> str:
    """The data.source that the last of these configurations gives; the embedded digits where none does."""
    given = [t["data"]["source"] for t in tables if isinstance(t.get("data"), Mapping) and "source" in t["data"]]
    return str(given[-1]) if given else EMBEDDED


def default_preset(folder: Path) -> str:
    """The preset of a user's folder: `texts` where it holds files of texts, else `folder`."""
    from undertow.sources.records.own_records import STAGES
    from undertow.sources.records.own_texts import text_files

    return "texts" if folder.is_dir() and text_files(folder, STAGES) else "folder"


def given_keys(*tables: Mapping[str, Any]) -> set[str]:
    """The keys of [data] that any of these configurations gives."""
    return {key for table in tables if isinstance(table.get("data"), Mapping) for key in table["data"]}


def fewer(data: Any) -> dict[str, int]:
    """The sizes of a data-trap audit in proportion, where the user's .npz holds fewer different records than that."""
    sizes = {"auxiliary": data.auxiliary, "victim": data.victim, "test": data.test}
    there = _different(Path(data.source))
    wanted = sum(sizes.values())
    return {key: max(1, size * there // wanted) for key, size in sizes.items()} if there < wanted else sizes


def fewer_points(data: Any) -> dict[str, int]:
    """The candidates of a poisoning audit on the user's .npz: as many as there are, less those that train and test."""
    there = len(_records(Path(data.source)))
    most = (there - there // 2 - HELD_OUT) // 2 * 2
    points = data.points if data.points <= most or most < LEAST else most
    return {
        "points": points,
        "targets": min(data.targets, max(2, points // 5)) if points < data.points else data.targets,
    }


def _different(path: Path) -> int:
    from undertow.audits.supply import row_hashes

    return len(set(row_hashes(_records(path).x)))


def _records(path: Path) -> Any:
    from undertow.sources.records.npz_records import npz_examples

    return npz_examples(path)


def refuse_demonstration(
    audit: str, config: Any, preset_name: str | None, changes: Mapping[str, Any], overrides: Mapping[str, Any]
) -> None:
    """ConfigError where settings that were made for the embedded digits would be applied to a user's records.

    That is so where the preset, or the configuration file, is of the digits, and --data names other records.
    """
    source = source_of(changes, overrides)
    table = changes.get("data") if isinstance(changes.get("data"), Mapping) else {}
    of_digits = (preset_name or "").startswith(EMBEDDED) or (table or {}).get("source") == EMBEDDED
    if source == EMBEDDED or not of_digits or getattr(config.data, "pair", "") != "":
        return
    given = overrides.get("data", {})
    data: Any = config.data
    left = [
        f"data.{key} = {getattr(data, key)!r}"
        for key, neutral in NEUTRAL.items()
        if hasattr(data, key) and getattr(data, key) != neutral and key not in given
    ]
    if left:
        raise ConfigError(
            f"{', '.join(left)}: these settings are of the demonstration on the embedded digits, not of --data "
            f"{source}; write settings for your records: undertow init-config {audit} --data {source} > my.toml"
        )


def where(data: Path) -> dict[str, str]:
    """The configuration's word for --data: a file is the records themselves, and so is a folder that holds texts only;
    any other folder is where named datasets lie."""
    if not data.exists():
        raise ConfigError(f"--data {data}: no such file or folder")
    from undertow.sources.records.records_text import KNOWN
    from undertow.sources.records.text_files import holds_texts

    known = data.is_dir() and any((data / one.file).is_file() for one in KNOWN.values())
    records = not data.is_dir() or (holds_texts(data) and not known)
    return {"source" if records else "folder": str(data)}


RECORDS = (
    Option("data", "Your records (.jsonl, .npz), or the folder of named datasets.", Path,
           lambda path: {"data": where(path)}),
    Option("field", "Texts: the field, or column, that holds them (default: text).", str, "data.field"),
)  # fmt: skip
"""Options of audits that take a file of records, or the folder of a named dataset."""
