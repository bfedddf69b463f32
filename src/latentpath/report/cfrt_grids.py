"""Prints CFRT tables on the terminal for `latentpath cfrt`."""

from collections.abc import Sequence

import pandas as pd
from rich.console import Console

from latentpath.metrics.measures import figure
from latentpath.report.cells import Cell, Table, count, difference, header, number
from latentpath.report.terminal import print_table

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
    """Print each table of `cfrt_table`, which here has a column `source`, then the comparison and the notes.

    comparison: of `compare_with_published`, may be empty. notes: sentences.
    """
    for table in tables:
        print_table(_figures(table, threshold), columns=160)
    if not comparison.empty:
        print_table(_comparison(comparison), columns=160)
    for note in notes:
        Console().print(note, markup=False, soft_wrap=True)


def _figures(table: pd.DataFrame, threshold: float) -> Table:
    rows, group = table.to_dict("records"), []
    for row in rows:
        reasons = dict(part.split(": ", 1) for part in row["reason"].split("; ") if part)
        cells = [
            number(
                row[key], reasons.get(key, ""), digits=3, ends=(row.get(f"{key}_low"), row.get(f"{key}_high"))
            )
            for key in _SHOWN
        ]
        names = [header(row["class"] or "-"), header(row["attribute"])]
        group.append([*names, count(row["n_seeds"]), *cells])
    strong = f"strong end {_span(rows[0]['positions'])}; threshold {threshold:g}"
    caption = f"{rows[0]['source']}: {rows[0]['method']}; {strong}"
    return Table(caption, ["class", "attribute", "seeds", *(figure(key).label for key in _SHOWN)], [group])


def _comparison(comparison: pd.DataFrame) -> Table:
    head = [
        "method",
        "class",
        "attribute",
        "poster",
        "notebook",
        "released",
        "- poster",
        "- notebook",
        "strict",
    ]
    group = []
    for row in comparison.to_dict("records"):
        names = [header(row["method"]), header(row["class"] or "-"), header(row["attribute"])]
        published = [number(row["poster"]), number(row["notebook"], digits=3)]
        released = [number(row["released"], digits=3), difference(row["released_minus_poster"], digits=3)]
        strict = [number(row["strict"], digits=3), difference(row["strict_minus_poster"], digits=3)]
        here = [*released, difference(row["released_minus_notebook"], digits=4), *strict]
        group.append([*names, *published, *here, Cell(row["reproduces_poster"] or "-")])
    caption = (
        "CFRT as published and here. The notebooks are the authors' own and hold the released definition"
    )
    return Table(caption, [*head, "- poster", "who reproduces the poster"], [group])


def _span(positions: Sequence[int]) -> str:
    """Format positions as '5, 10, 15' or '30..49'."""
    first, last = positions[0], positions[-1]
    if len(positions) > 3 and list(positions) == list(range(first, last + 1)):
        return f"{first}..{last}"
    return ", ".join(map(str, positions))
