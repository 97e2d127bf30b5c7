"""What lies beside weights: code that a loader could be told to run, and signatures."""

import json
from collections.abc import Sequence

from undertow.storage.opening.reading import Reading
from undertow.storage.opening.signature import SIGNATURE

LONGEST = 16 << 20  # of a configuration, in bytes
ASKING = ("auto_map", "trust_remote_code", "custom_pipelines")  # keys by which a configuration names code


def check_companion(reading: Reading) -> None:
    """Say where a file is code, or a configuration that names code: from_pretrained runs it with trust_remote_code."""
    if reading.path.suffix.lower() in (".py", ".pyc", ".so", ".pyd"):
        reading.say("code", "warning", "it is code; a loader that is told trust_remote_code=True would run such files")
    if reading.path.name.endswith("config.json") and reading.source and reading.source.size <= LONGEST:
        try:
            table = json.loads(reading.source.read(0, reading.source.size))
        except (ValueError, RecursionError):
            reading.say("malformed", "warning", "it is no JSON")
            return
        named = [key for key in ASKING if isinstance(table, dict) and table.get(key)]
        if named:
            reading.say("code", "warning", f"it names code of its own ({named[0]}), run under trust_remote_code=True")


def signature_notes(readings: Sequence[Reading]) -> list[str]:
    """A signature that was not checked is said so; its check needs to be told whose it should be."""
    found = [reading.path for reading in readings if reading.path.name == SIGNATURE]
    return [
        f"signature {path}: not verified; name its signer (--public-key, or --identity and --issuer)" for path in found
    ]
