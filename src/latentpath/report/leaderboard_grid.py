"""Prints a leaderboard on the terminal."""

from rich.console import Console

from latentpath.report.cells import Table
from latentpath.report.leaderboard import Board
from latentpath.report.terminal import print_table

# Columns that only the files have: a terminal is narrow.
_IN_FILES = ("from step", "LPIPS at 50 %", "selectivity", "strict CFRT", "U-Net rows an image")
_IN_FILES += ("seconds an image", "settings", "seeds")


def print_board(board: Board, table: Table) -> None:
    """Print the table of a board, what identifies it, its notes, and the command of each row."""
    print_table(table.without(_IN_FILES), columns=200)
    console = Console(markup=False)
    console.print("; ".join(f"{name}: {text}" for name, text in board.facts.items()), style="dim")
    for note in board.notes:
        console.print(note)
    if board.commands:
        console.print("Each row again, with this method alone:")
    for method in board.table["method"]:
        if command := board.commands.get(method):
            console.print(command, soft_wrap=True, highlight=False)
