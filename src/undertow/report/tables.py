"""Tables of numbers to be compared, as the pages draw them."""

from dataclasses import dataclass

from undertow.report.words import count
from undertow.types import Measurement

Cells = tuple[Measurement | None, ...]


@dataclass(frozen=True)
class Line:
    """One row of a table."""

    name: str
    cells: Cells
    difference: bool = False  # marked: it is what the rows above amount to

    @property
    def counted(self) -> str:
        """What its numbers were counted over."""
        return ", ".join(dict.fromkeys(count(m.n, m.unit) for m in self.cells if m is not None))


@dataclass(frozen=True)
class Block:
    """Rows under one heading; without a name there is none."""

    name: str
    note: str
    rows: tuple[Line, ...]


@dataclass(frozen=True)
class Table:
    """Numbers to be compared, with the head of each column."""

    corner: str
    columns: tuple[str, ...]
    blocks: tuple[Block, ...]
    name: str = ""
    over: bool = True  # whether a last column says what was counted

    @property
    def short(self) -> bool:
        """Whether its first column is narrow."""
        return all(len(row.name) <= 12 for block in self.blocks for row in block.rows)
