"""Writes the results of a sweep: a table on the terminal, and sweep.csv and sweep.svg in its folder."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.table import Table

from latentpath.runs.command import Command
from latentpath.runs.files import write_text
from latentpath.runs.sweeps.chart import sweep_chart
from latentpath.runs.sweeps.records import Job


def conclude(folder: Path, command: Command, jobs: Sequence[Job]) -> None:
    """Write sweep.csv (all jobs) and sweep.svg (of this command), and print the table and the best job."""
    _write_csv(folder / "sweep.csv", jobs)
    jobs = [job for job in jobs if job["command"] == command.name]
    varied = [
        key
        for key in dict.fromkeys(key for job in jobs for key in job["values"])
        if len({job["values"].get(key) for job in jobs}) > 1
    ]
    result = command.result
    label = result.label if result else "result"
    better = -1 if result and result.direction == "maximize" else 1
    judged = [job for job in jobs if job["result"] is not None] if result else []
    best = min(judged, key=lambda job: better * (job["result"] or 0.0), default=None)
    points = [(job["values"], job["result"]) for job in jobs]
    chart = sweep_chart(points, varied, label=label, best=best["result"] if best else None)
    if chart:
        write_text(folder / "sweep.svg", chart)
    table = Table("job", title=f"{command.name}: {folder}")
    table.add_column("overrides", overflow="fold", ratio=2)
    table.add_column(label, justify="right", no_wrap=True)
    table.add_column("seconds", justify="right", no_wrap=True)
    # Names that are too long for the terminal are in sweep.csv.
    long = any(len(job["folder"]) > 60 for job in jobs)
    table.add_column("folder", overflow="ellipsis" if long else "fold", no_wrap=long, ratio=3)
    for number, job in enumerate(jobs):
        words = "\n".join(f"{key}={_rounded(job['values'][key])}" for key in varied if key in job["values"])
        value = "" if job["result"] is None else f"{job['result']:.5g}"
        state = {"complete": value or "n/a", "running": "unfinished"}.get(job["status"], job["status"])
        style = "bold" if job is best else None
        table.add_row(str(number), words, state, f"{job['seconds']:.0f}", job["folder"], style=style)
    console = Console()
    console.print(table, markup=False)
    if best:
        words = " ".join(f"{key}={best['values'][key]}" for key in varied if key in best["values"])
        line = f"best: job {jobs.index(best)}, {label} {best['result']:.5g}, {words}"
        line += f"\nin {folder / best['folder']}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    files = [str(folder / "sweep.csv")] + [str(folder / "sweep.svg")] * bool(chart)
    console.print("table and chart: " + ", ".join(files), markup=False, highlight=False, soft_wrap=True)


def _rounded(text: str) -> str:
    """Round a number to the digits that a reader compares; sweep.csv holds all digits."""
    try:
        return text if len(text) < 9 else f"{float(text):.4g}"
    except ValueError:
        return text


def _write_csv(file: Path, jobs: Sequence[Job]) -> None:
    keys = list(dict.fromkeys(key for job in jobs for key in job["values"]))
    figures = ["command", "status", "result", "seconds"]
    out = StringIO()
    rows = csv.writer(out)
    rows.writerow(["job", *keys, *figures, "folder", "message"])
    for number, job in enumerate(jobs):
        values = [job["values"].get(key, "") for key in keys]
        last = [job[figure] for figure in figures]
        rows.writerow([number, *values, *last, job["folder"], job["message"]])
    write_text(file, out.getvalue())
