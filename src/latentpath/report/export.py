"""Converts tables of the page to CSV, LaTeX (booktabs) and Markdown, for copying and as files."""

import csv
import io
import re
from collections.abc import Iterable
from pathlib import Path

from latentpath.report.cells import Cell, Table
from latentpath.runs.files import write_text

_ESCAPED = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "→": r"$\rightarrow$",
    "−": "$-$",
    "–": "--",
    "’": "'",
} | {sign: f"\\{sign}" for sign in "&%$#_{}"}


def to_csv(table: Table) -> str:
    """Return CSV with exact numbers; intervals become columns `<name> low`, `<name> high`; n/a is empty."""
    rows = [[cell for cell, _ in row] for group in table.filled() for row in group]
    ranged = [any(row[i].low is not None for row in rows) for i in range(len(table.head))]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        [
            text
            for name, wide in zip(table.head, ranged, strict=True)
            for text in ([name, f"{name} low", f"{name} high"] if wide else [name])
        ]
    )
    for row in rows:
        line: list[object] = []
        for cell, wide in zip(row, ranged, strict=True):
            line.append(_plain(cell))
            line += ["" if end is None else end for end in (cell.low, cell.high)] if wide else []
        writer.writerow(line)
    return out.getvalue()


def to_markdown(table: Table) -> str:
    """Return a Markdown table with its caption above; intervals in brackets, n/a with the reasons below."""
    lines = [table.caption, "", _piped(table.head), _piped("---" for _ in table.head)]
    for row in (row for group in table.filled() for row in group):
        shown = (cell.text + (f" ({cell.interval})" if cell.interval else "") for cell, _ in row)
        marks = (f" [{table.mark(cell)}]" if cell.reason else "" for cell, _ in row)
        lines.append(_piped(text + mark for text, mark in zip(shown, marks, strict=True)))
    reasons = [f"[{table.letter(i)}] {reason}" for i, reason in enumerate(table.reasons)]
    return "\n".join([*lines, *([""] if reasons else []), *reasons])


def to_latex(table: Table) -> str:
    """Return a LaTeX `table` with `booktabs` rules; n/a is a dash with its reason in a comment."""
    lines = [
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{latex(table.caption)}}}",
        rf"  \label{{tab:{table.name.replace('_', '-')}}}",
        rf"  \begin{{tabular}}{{{''.join('r' if right else 'l' for right in table.numeric)}}}",
        r"    \toprule",
        f"    {' & '.join(map(latex, table.head))} \\\\",
    ]
    for group in table.filled():
        lines.append(r"    \midrule")
        lines += [
            f"    {' & '.join(_typeset(cell) if first else '' for cell, first in row)} \\\\" for row in group
        ]
    lines += [r"    \bottomrule", r"  \end{tabular}"]
    lines += [f"  % n/a: {re.sub(chr(10), ' ', reason)}" for reason in table.reasons]
    return "\n".join([*lines, r"\end{table}", ""])


def write_table_files(tables: Iterable[Table], folder: Path) -> list[Path]:
    """Write `folder`/<name>.csv and .tex for each table; return the files."""
    written = []
    for table in tables:
        for ending, text in ((".csv", to_csv(table)), (".tex", to_latex(table))):
            written.append(folder / f"{table.name}{ending}")
            write_text(written[-1], text)
    return written


def latex(text: str) -> str:
    """Escape the characters in a text that are special in LaTeX."""
    return "".join(_ESCAPED.get(sign, sign) for sign in text)


def _piped(texts: Iterable[str]) -> str:
    return f"| {' | '.join(text.replace('|', chr(92) + '|') for text in texts)} |"


def _plain(cell: Cell) -> object:
    if cell.reason:
        return ""
    return cell.text if cell.value is None else cell.value


def _typeset(cell: Cell) -> str:
    if cell.reason:
        return "--"
    interval = rf" {{\scriptsize ({latex(cell.interval)})}}" if cell.interval else ""
    return latex(cell.text) + interval
