"""Prints the tables of the page on the terminal."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable
from rich.text import Text

from latentpath.report.cells import Cell, Table


def print_table(table: Table, *, columns: int = 80) -> None:
    """Print a table, with intervals below their numbers and the reasons of n/a below the table.

    columns: the least width if the output goes to a file.
    """
    console = Console()
    if not console.is_terminal:
        console = Console(width=max(console.width, columns))
    grid = RichTable(title=escape(table.caption), title_justify="left")
    for name, numeric in zip(table.head, table.numeric, strict=True):
        grid.add_column(escape(name), justify="right" if numeric else "left", no_wrap=not numeric)
    for group in table.filled():
        for row in group:
            grid.add_row(*(_shown(table, cell) if first else "" for cell, first in row))
        grid.add_section()
    console.print(grid)
    for index, reason in enumerate(table.reasons):
        console.print(f"n/a [{table.letter(index)}]: {reason}", style="dim", markup=False)


def _shown(table: Table, cell: Cell) -> Text:
    mark = f" [{table.mark(cell)}]" if cell.reason else ""
    interval = f"\n{cell.interval}" if cell.interval else ""
    return Text.assemble(cell.text, (mark + interval, "dim"))
