"""Canaries in a stream of rows. Needs torch, and datasets for streams of Hugging Face."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch.utils.data import IterableDataset

from undertow.types import Array


class StreamWithCanaries(IterableDataset[Mapping[str, Any]]):
    """The rows of a stream; before row `places[i]` comes canary i. What is left comes at the end."""

    def __init__(self, rows: Any, canaries: Sequence[Mapping[str, Any]], places: Array) -> None:
        super().__init__()
        self.rows, self.canaries, self.places = rows, canaries, places  # places (k,) int, sorted

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        return _merge(self.rows, self.canaries, self.places)


def _merge(rows: Any, canaries: Sequence[Mapping[str, Any]], places: Array) -> Iterator[Mapping[str, Any]]:
    come = 0
    for at, row in enumerate(rows):
        while come < len(canaries) and places[come] <= at:
            yield canaries[come]
            come += 1
        yield row
    yield from canaries[come:]


def stream_with(rows: Any, canaries: Sequence[Mapping[str, Any]], places: Array) -> Any:
    """A stream of the kind given: `datasets.IterableDataset` (as TRL takes) or torch's."""
    if not hasattr(rows, "column_names") or not hasattr(rows, "take"):
        return StreamWithCanaries(rows, canaries, places)
    from datasets import IterableDataset as Stream  # type: ignore[import-not-found, unused-ignore]

    return Stream.from_generator(lambda: _merge(rows, canaries, places), features=rows.features)
