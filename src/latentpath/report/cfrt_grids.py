"""Prints CFRT tables on the terminal for `latentpath cfrt`."""

from collections.abc import Sequence

import pandas as pd
from rich.markup import escape
from rich.table import Table

from latentpath.metrics.measures import figure
from latentpath.report.cells import Row
from latentpath.report.terminal import wide_console

_SHOWN = (
    "cfrt_released",
    "cfrt_strict",
    "flipped",
    "dominant_images",
    "others_kept",
    "class_kept",
    "all_strict",
    "already_present",
)


def print_cfrt(
    tables: Sequence[pd.DataFrame], comparison: pd.DataFrame, notes: Sequence[str], *, threshold: float
) -> None:
    """`tables` of `cfrt_table` with a column source, `comparison` of `compare_with_published`, sentences."""
    console = wide_console(140)
    for table in tables:
        console.print(_grid(table, threshold))
    for why, where in _reasons(pd.concat(tables)).items():
        console.print(escape(f"n/a: {why} ({where})"), style="dim")
    if not comparison.empty:
        console.print(_comparison(comparison))
    for note in notes:
        console.print(escape(note))


def _grid(table: pd.DataFrame, threshold: float) -> Table:
    records = table.to_dict("records")
    first = records[0]
    strong = f"strong end {_span(first['positions'])}; threshold {threshold:g}"
    title = f"{first['source']}: {first['method']}; {strong}"
    grid = Table(title=escape(title), title_justify="left")
    for name in ("class", "attribute"):
        grid.add_column(name, no_wrap=True)
    for name in ("seeds", *(figure(key).label for key in _SHOWN)):
        grid.add_column(name, justify="right")
    for row in records:
        cells = [_cell(row, key) for key in _SHOWN]
        grid.add_row(escape(row["class"]) or "-", escape(row["attribute"]), f"{row['n_seeds']:,}", *cells)
    return grid


def _comparison(comparison: pd.DataFrame) -> Table:
    title = "CFRT as published and here. The notebooks are the authors' own and hold the released definition"
    grid = Table(title=title, title_justify="left")
    for name in ("method", "class", "attribute"):
        grid.add_column(name)
    for name in ("poster", "notebook", "released", "- poster", "- notebook", "strict", "- poster"):
        grid.add_column(name, justify="right")
    grid.add_column("who reproduces the poster")
    for row in comparison.to_dict("records"):
        grid.add_row(
            row["method"],
            escape(row["class"]) or "-",
            escape(row["attribute"]),
            f"{row['poster']:.2f}",
            f"{row['notebook']:.3f}",
            _number(row["released"]),
            _number(row["released_minus_poster"], "+.3f"),
            _number(row["released_minus_notebook"], "+.4f"),
            _number(row["strict"]),
            _number(row["strict_minus_poster"], "+.3f"),
            row["reproduces_poster"] or "-",
        )
    return grid


def _cell(row: Row, key: str) -> str:
    low, high = row.get(f"{key}_low", float("nan")), row.get(f"{key}_high", float("nan"))
    interval = "" if low != low else f"\n[dim]{low:.2f}-{high:.2f}[/dim]"
    return _number(row[key]) + interval


def _number(value: float, style: str = ".3f") -> str:
    return "n/a" if value != value else format(value, style)


def _span(positions: Sequence[int]) -> str:
    """Format positions as '5, 10, 15' or '30..49'."""
    first, last = positions[0], positions[-1]
    if len(positions) > 3 and list(positions) == list(range(first, last + 1)):
        return f"{first}..{last}"
    return ", ".join(map(str, positions))


def _reasons(table: pd.DataFrame) -> dict[str, str]:
    """Return {why a figure is undefined: where}, with each reason once."""
    found: dict[str, list[str]] = {}
    for row in table.to_dict("records"):
        for part in row["reason"].split("; "):
            key, _, why = part.partition(": ")
            if key in _SHOWN and row[key] != row[key]:
                place = " ".join(filter(None, (figure(key).label, row["class"], row["attribute"])))
                found.setdefault(why, []).append(place)
    return {
        why: ", ".join(where[:3]) + (f" and {len(where) - 3} more" if len(where) > 3 else "")
        for why, where in found.items()
    }
