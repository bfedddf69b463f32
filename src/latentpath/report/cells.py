"""Tables of the page as plain data: each cell has a text and its exact value, or a reason why it is n/a."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

Row = Mapping[Any, Any]  # Any: a row of a table as pandas gives it, by the names of its columns


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    value: the unrounded number; low, high: its 95 % interval; bar: share in [0, 1] drawn below; reason: why
    it is n/a; tint: its colour, in [-1, 1]; tooltip: shown when the pointer is over the cell.
    """

    text: str
    value: float | None = None
    bar: float | None = None
    reason: str = ""
    header: bool = False
    rowspan: int = 1
    low: float | None = None
    high: float | None = None
    tint: float | None = None
    tooltip: str = ""

    @property
    def interval(self) -> str:
        """The interval as '0.72–0.90', with as many digits as the text, or '' if there is none."""
        if self.low is None or self.high is None:
            return ""
        digits = len(self.text.partition(".")[2])
        ends = [f"{round(end, digits) + 0.0:.{digits}f}".replace("-", "−") for end in (self.low, self.high)]
        return (" to " if "−" in ends[0] + ends[1] else "–").join(ends)


@dataclass(frozen=True)
class Table:
    """A table of cells.

    head: the names of its columns. groups: rows, with a line between two groups. name: the name of its files,
    without suffix.
    """

    caption: str
    head: list[str]
    groups: list[list[list[Cell]]] = field(default_factory=list)
    name: str = ""

    @property
    def barred(self) -> bool:
        """Whether any cell has a bar."""
        return any(cell.bar is not None for group in self.groups for row in group for cell in row)

    @property
    def reasons(self) -> list[str]:
        """The distinct reasons of the n/a cells in reading order, for the footnotes a, b, c, ..."""
        cells = (cell for group in self.groups for row in group for cell in row)
        return list(dict.fromkeys(cell.reason for cell in cells if cell.reason))

    @property
    def numeric(self) -> list[bool]:
        """Whether a column holds numbers, n/a and blanks only."""
        rows = [row for group in self.filled() for row in group]
        columns = [[row[i][0] for row in rows] for i in range(len(self.head))]
        return [
            all(not c.header and (c.value is not None or c.reason or not c.text) for c in cells)
            for cells in columns
        ]

    def without(self, names: Collection[str]) -> Table:
        """Return the table without the columns `names`; no cell may span rows."""
        kept = [k for k, name in enumerate(self.head) if name not in names]
        groups = [[[row[k] for k in kept] for row in group] for group in self.groups]
        return replace(self, head=[self.head[k] for k in kept], groups=groups)

    def mark(self, cell: Cell) -> str:
        """Return the letter of the cell's footnote."""
        return self.letter(self.reasons.index(cell.reason))

    @staticmethod
    def letter(index: int) -> str:
        """Return the letter of the footnote with this index: a, b, ..., z, aa, bb, ..."""
        return chr(ord("a") + index % 26) * (index // 26 + 1)

    def filled(self) -> list[list[list[tuple[Cell, bool]]]]:
        """Fill every column of every row, repeating cells that span rows; True marks a cell's first row."""
        groups = []
        for group in self.groups:
            rows: list[list[tuple[Cell, bool]]] = []
            hanging: dict[int, tuple[Cell, int]] = {}  # column: cell that reaches down, rows left
            for row in group:
                cells, line = iter(row), []
                for column in range(len(self.head)):
                    cell, left = hanging.get(column, (None, 0))
                    if cell is None or left == 0:
                        cell, left = next(cells), 0
                        line.append((cell, True))
                        hanging[column] = (cell, cell.rowspan - 1)
                    else:
                        line.append((cell, False))
                        hanging[column] = (cell, left - 1)
                rows.append(line)
            groups.append(rows)
        return groups


def number(
    value: float | None,
    reason: str = "",
    *,
    digits: int = 2,
    bar: bool = False,
    ends: Sequence[float | None] = (None, None),
    tooltip: str = "",
) -> Cell:
    """Return a cell with a number and its interval, or 'n/a' with its reason."""
    if value is None or value != value:
        return Cell("n/a", reason=reason or "not in this run's artefacts")
    value = float(value)
    share = min(max(value, 0.0), 1.0) if bar else None
    known = [float(end) for end in ends if end is not None and end == end]
    low, high = known if len(known) == 2 else (None, None)
    text = f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")
    return Cell(text, value=value, bar=share, low=low, high=high, tooltip=tooltip)


def difference(
    value: float | None,
    reason: str = "",
    *,
    digits: int = 2,
    tint: float | None = None,
    ends: Sequence[float | None] = (None, None),
    tooltip: str = "",
) -> Cell:
    """Return a cell with a signed difference, in a colour of strength `tint`, cut to [-1, 1]; None: none."""
    cell = number(value, reason, digits=digits, ends=ends, tooltip=tooltip)
    if cell.value is None:
        return cell
    return replace(cell, text=signed(cell.value, digits), tint=tint and max(-1.0, min(1.0, tint)))


def signed(value: float, digits: int = 2) -> str:
    """Format a number with its sign: +0.25, −0.30, 0.00."""
    rounded = round(value, digits) + 0.0
    return f"{rounded:+.{digits}f}".replace("-", "−") if rounded else f"{0:.{digits}f}"


def count(value: float | None) -> Cell:
    """Return a cell with a whole number; n/a for None."""
    if value is None:
        return Cell("n/a", reason="not in this run's artefacts")
    return Cell(f"{int(value):,}", value=float(value))


def header(text: str, rowspan: int = 1) -> Cell:
    """Return a cell that heads a row, or `rowspan` rows."""
    return Cell(text, header=True, rowspan=rowspan)


def lookup(tree: object, *keys: object) -> Any:  # Any: values of JSON
    """Return the value under `keys`, one level of the tree each, or None if a key is missing."""
    for key in keys:
        if not isinstance(tree, Mapping):
            return None
        tree = tree.get(str(key))
    return tree
