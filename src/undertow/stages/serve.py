"""The last link where the attacker is shown less than the weights: the same questions to a model in few bits."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from undertow.quantise import quantise
from undertow.stages.query import Query
from undertow.types import ConfigError, Params, Slot, Store

BITS = {"exact": 0, "int8": 8, "int4": 4}  # views of the weights; 0: as they are


@dataclass(frozen=True)
class Serve:
    """`query` asked of each model as it is served: every array named "view/array"."""

    query: Query
    views: tuple[str, ...]  # of BITS
    name: ClassVar[str] = "serve"

    def __post_init__(self) -> None:
        if unknown := set(self.views) - set(BITS):
            raise ConfigError(f"no view {sorted(unknown)[0]!r} of weights; there are: {', '.join(BITS)}")

    @property
    def version(self) -> int:
        return self.query.version * 10 + 1

    @property
    def chunk(self) -> int:
        return self.query.chunk

    def __call__(self, slots: Sequence[Slot], before: Sequence[Params], store: Store) -> list[Params]:
        answers: list[Params] = [{} for _ in slots]
        for view in self.views:
            served = [quantise(state, BITS[view]) if BITS[view] else state for state in before]
            for answer, seen in zip(answers, self.query(slots, served, store), strict=True):
                answer |= {f"{view}/{name}": value for name, value in seen.items()}
        return answers
