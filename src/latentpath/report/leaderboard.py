"""Draws leaderboards of methods: as Markdown, CSV and one HTML page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from latentpath.metrics import figure
from latentpath.metrics.front_table import AREA
from latentpath.report.cells import Cell, Row, Table, header, number, signed
from latentpath.report.charts import Chart
from latentpath.report.export import to_csv, to_markdown
from latentpath.report.page import fill
from latentpath.report.pictures import words
from latentpath.report.slider import payload
from latentpath.runs.files import write_text
from latentpath.runs.masking import mask_text


@dataclass(frozen=True)
class Board:
    """One leaderboard: the methods that ran on the same images before the same judge.

    table    the rows of `metrics.leaderboard`, with the columns unet_rows and seconds of an image
    facts    what identifies it, in words: runs, judge, seeds, threshold, commit
    charts   the fronts
    commands what makes each method's row again; files show it without the paths `secret`
    """

    name: str
    table: pd.DataFrame
    facts: Mapping[str, str]
    notes: Sequence[str] = ()
    charts: Sequence[Chart] = ()
    commands: Mapping[str, str] = field(default_factory=dict)
    secret: Sequence[str] = ()

    @property
    def shown(self) -> list[str]:
        """The commands without paths of this machine, in the order of the table."""
        of = (self.commands.get(method) for method in self.table["method"])
        return [mask_text(command, self.secret) for command in of if command]


def board_table(board: Board) -> Table:
    """Make the table of a leaderboard, the method with the least leak at an effect of 50 % first."""
    rows = board.table.to_dict("records")
    leak = figure(rows[0]["measure"]).label
    compared = {"at_50": "at 50 %", "at_80": "at 80 %", AREA: "of areas"}
    head = ["", "method", "dial", "from step", "effect", "leak"]
    for name, at in compared.items():
        value = figure(AREA).label if name == AREA else f"leak {at}"
        head += [value, f"difference to swap {at}", f"p {at}"]
    head += ["LPIPS at 50 %", "selectivity", "strict CFRT", "U-Net rows an image", "seconds an image"]
    caption = (
        f"{board.name}: {leak} at equal effect; lower is better, area: higher. Differences are to the swap "
        "on the same seeds; intervals are 95 %; p among all methods and columns of this table"
    )
    table = Table(caption, [*head, "settings", "seeds"], [[]], name=f"leaderboard_{board.name}")
    for place, row in enumerate(rows, start=1):
        reached = row["at_50"] == row["at_50"]
        line = [Cell(str(place) if reached else "–"), header(words(row["method"]))]
        line += [number(row["strength"], digits=2), number(row["swap_step"], digits=0)]
        line += [number(row["effect"]), number(row["leak"], digits=3)]
        line += [cell for name in compared for cell in _compared(row, name)]
        line.append(number(row.get("lpips_at_50"), row.get("lpips_at_50_reason") or "no LPIPS", digits=3))
        line.append(number(row.get("selectivity"), "only one attribute"))
        line.append(number(row["cfrt_strict"], "undefined on these images"))
        line.append(number(row["unet_rows"], "the plan does not record it", digits=1))
        line.append(number(row["seconds"], "the sweep does not record it", digits=3))
        table.groups[0].append([*line, number(row["settings"], digits=0), number(row["n"], digits=0)])
    return table


def write_leaderboards(boards: Sequence[Board], out: Path, command: str) -> list[Path]:
    """Write `out`/leaderboard.md, leaderboard.html and <board>.csv; return the files."""
    tables = [board_table(board) for board in boards]
    parts = [f"# Ways of editing, by what else they change\n\n```\n{command}\n```"]
    for board, table in zip(boards, tables, strict=True):
        facts = "\n".join(f"- {name}: {text}" for name, text in board.facts.items())
        parts += [f"## {board.name}\n\n{facts}", to_markdown(table), *board.notes]
        if board.shown:
            lines = "\n".join(board.shown)
            parts.append(f"Each row again, with this method alone:\n\n```\n{lines}\n```")
    files = {out / "leaderboard.md": "\n\n".join([*parts, ""])}
    files |= {out / f"{board.name}.csv": to_csv(table) for board, table in zip(boards, tables, strict=True)}
    files[out / "leaderboard.html"] = _page(boards, tables, command)
    for file, text in files.items():
        write_text(file, text)
    return list(files)


def _page(boards: Sequence[Board], tables: Sequence[Table], command: str) -> str:
    shown = list(zip(boards, tables, strict=True))
    return fill("leaderboard.html.j2", payload(tables), boards=shown, command=command)


def _compared(row: Row, name: str) -> list[Cell]:
    """Return the cells of a figure: its value, its difference to the swap, and p."""
    reason = row[f"{name}_reason"]
    value = number(row[name], reason, digits=3, ends=(row[f"{name}_low"], row[f"{name}_high"]))
    difference, p = row[f"{name}_difference"], row[f"{name}_p"]
    if row["method"] == "swap":
        return [value, Cell(""), Cell("")]
    if difference != difference:
        return [value, *[number(None, reason or "the swap does not reach it")] * 2]
    low, high = row[f"{name}_difference_low"], row[f"{name}_difference_high"]
    better = difference if name == AREA else -difference
    tint = max(-1.0, min(1.0, 4 * better)) if p <= 0.05 else None
    apart = Cell(signed(difference, 3), value=difference, low=low, high=high, tint=tint)
    return [value, apart, number(p, "without resamples there is no test", digits=3)]
