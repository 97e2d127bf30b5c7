"""Every text of a path against every rule, once all its files are known: some rules ask what lies beside a file."""

from collections.abc import Callable, Sequence
from pathlib import Path

from undertow.opening.loaders.folder_places import check_code, modules
from undertow.opening.loaders.place import Place
from undertow.opening.loaders.tables import check_json
from undertow.opening.loaders.templates import check_templates
from undertow.opening.loaders.yamls import BY_NAME, check_yaml
from undertow.opening.opened import Clock
from undertow.opening.reading import Reading
from undertow.opening.source import Source

LONGEST = 16 << 20  # of a configuration, in bytes
KEPT = 128 << 20  # of all of them together
TABLES = (".json", ".jsonl", ".webmanifest")
WORDS = (".yaml", ".yml", ".cfg", ".jinja", ".jinja2", ".j2", ".toml")
NOT_THESE = ("tokenizer.json", "vocab.json", "added_tokens.json", "merges.txt")  # large, and no loader acts on them


def keep_text(reading: Reading, source: Source, clock: Clock) -> None:
    """Keep the text of a configuration, for the rules that are checked when the whole path is known."""
    path = reading.path
    wanted = path.suffix.lower() in (*TABLES, *WORDS) or path.name in BY_NAME
    if not wanted or path.name in NOT_THESE or reading.kind not in ("other", "json"):
        return
    if source.size > LONGEST:
        if path.name.endswith("config.json") or path.suffix.lower() in WORDS:
            reading.stop("limit", f"it is a configuration of more than {LONGEST >> 20} MiB, which is not examined")
        return
    clock.kept += source.size
    if clock.kept > KEPT:
        reading.stop("limit", f"the configurations of this path are more than {KEPT >> 20} MiB, so it was not examined")
        return
    raw = source.read(0, source.size)
    reading.texts.append((path.name, raw.decode("utf-8-sig", "replace")))


def check_loaders(readings: Sequence[Reading]) -> None:
    """Add what the rules say of every reading."""
    beside = modules([reading.path for reading in readings])
    weighed = {reading.path.parent for reading in readings if reading.tensors or reading.path.name == "config.json"}
    for reading in readings:
        here = beside.get(reading.path.parent, frozenset())
        check_code(reading, weighed)
        for name, text in reading.texts:
            _guarded(_check, Place(reading, name, text, here))
        for key, value in reading.metadata.items():
            if "_target_" in value or "class_path" in value:
                _guarded(_metadata, Place(reading, f"metadata {key[:60]}", value, here))
        reading.texts.clear()


def _guarded(rule: Callable[[Place], None], place: Place) -> None:
    """The last net: whatever a text does to its rules, the scan goes on, and the file is unknown."""
    try:
        rule(place)
    except Exception as error:
        place.unknown("unreadable", f"its rules failed on it ({type(error).__name__}), so nothing is known of it")


def _check(place: Place) -> None:
    name = place.name.split("/")[-1]
    suffix = Path(name).suffix.lower()
    if suffix in TABLES:
        check_json(place)
    elif name in BY_NAME:
        BY_NAME[name](place)
    elif suffix in (".yaml", ".yml"):
        check_yaml(place)
    check_templates(place)


def _metadata(place: Place) -> None:
    """The metadata of safetensors, which some libraries parse and instantiate."""
    check_json(place)
    check_yaml(place)
