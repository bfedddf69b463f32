"""Prints a leaderboard on the terminal."""

from rich.markup import escape
from rich.table import Table as RichTable

from latentpath.report.cells import Table
from latentpath.report.leaderboard import Board
from latentpath.report.terminal import wide_console

# Columns that only the files have: a terminal is narrow.
_IN_FILES = ("from step", "LPIPS at 50 %", "U-Net rows an image", "seconds an image", "settings", "seeds")


def print_board(board: Board, table: Table) -> None:
    """Print the table of a board, what identifies it, and its notes."""
    console = wide_console(200)
    grid = RichTable(title=escape(table.caption), title_justify="left")
    shown = [k for k, name in enumerate(table.head) if name not in _IN_FILES]
    for name in (table.head[k] for k in shown):
        grid.add_column(escape(name), justify="left" if name == "method" else "right")
    for cells in ([row[k] for k in shown] for row in table.groups[0]):
        grid.add_row(*(escape(f"{c.text}\n({c.interval})" if c.interval else c.text) for c in cells))
    console.print(grid)
    said = [row[k].reason for row in table.groups[0] for k in shown]
    for reason in dict.fromkeys(filter(None, said)):
        console.print(escape(f"n/a: {reason}"), style="dim")
    console.print(escape("; ".join(f"{name}: {text}" for name, text in board.facts.items())), style="dim")
    for note in board.notes:
        console.print(escape(note))
    if board.commands:
        console.print("Each row again, with this method alone:")
    for method in board.table["method"]:
        if command := board.commands.get(method):
            console.print(escape(command), soft_wrap=True, highlight=False)
