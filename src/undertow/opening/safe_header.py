"""The header of a safetensors file, checked by our own rules: nothing is left to the reader's mood.

The format is https://github.com/huggingface/safetensors (8 bytes of length, JSON, the numbers). Refused are headers
that are cut, too long, not UTF-8, not JSON, deeply nested, with a key twice, with fields that the format does not
have; tensors that overlap, leave holes, reach beyond the file or stop before its end, or whose shape and bytes differ.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from undertow.opening.blocks import WIDTHS, stored_tensor
from undertow.opening.inside.safe import Entry, entries_of, header_length, strict
from undertow.opening.inside.stream import Malformed, TooMuch
from undertow.opening.opened import DEFAULT, Limits
from undertow.opening.source import Refused, Source
from undertow.scanner.tensors import Tensor


def safetensors_header(source: Source, limits: Limits = DEFAULT) -> tuple[tuple[Entry, ...], dict[str, str]]:
    """Tensors in the order of the file, and the metadata; Refused("malformed", why) where anything is off."""
    with _refused():
        length = header_length(source.read(0, min(8, source.size)), source.size, limits.header_bytes)
        return entries_of(source.read(8, length), source.size, limits.header_tokens)


def safetensors(source: Source, limits: Limits = DEFAULT) -> tuple[dict[str, Tensor], dict[str, str], list[Entry]]:
    """Tensors by name, metadata, and the tensors whose type is not read here."""
    entries, said = safetensors_header(source, limits)
    found = {e.name: stored_tensor(e.name, e.dtype, e.shape, source, e.begin) for e in entries if e.dtype in WIDTHS}
    return found, said, [entry for entry in entries if entry.dtype not in WIDTHS]


def strict_json(raw: bytes, limits: Limits) -> Any:
    """The JSON in `raw`; Refused where a key comes twice, a text is not Unicode, or it nests or grows too far."""
    with _refused():
        return strict(raw, limits.header_tokens)


@contextmanager
def _refused() -> Iterator[None]:
    try:
        yield
    except Malformed as error:
        raise Refused("malformed", f"as safetensors it is malformed: {error}") from error
    except TooMuch as error:
        raise Refused("limit", str(error)) from error
