"""The console on which tables are printed."""

from rich.console import Console


def wide_console(columns: int) -> Console:
    """Return a console, of at least `columns` columns where the output goes to a file."""
    console = Console()
    return console if console.is_terminal else Console(width=max(console.width, columns))
