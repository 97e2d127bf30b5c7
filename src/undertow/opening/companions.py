"""What lies beside weights: signatures."""

from collections.abc import Sequence

from undertow.opening.reading import Reading
from undertow.opening.signature import SIGNATURE


def signature_notes(readings: Sequence[Reading]) -> list[str]:
    """A signature that was not checked is said so; its check needs to be told whose it should be."""
    found = [reading.path for reading in readings if reading.path.name == SIGNATURE]
    return [
        f"signature {path}: not verified; name its signer (--public-key, or --identity and --issuer)" for path in found
    ]
