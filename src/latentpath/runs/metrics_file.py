"""Writes `metrics.csv` of a training: a row for each logged step, which a killed run leaves whole."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from io import StringIO
from pathlib import Path

from lightning.pytorch.loggers import CSVLogger

from latentpath.runs.files import write_text, writing


class MetricsFile(CSVLogger):
    """Lightning's CSV logger, but it continues the file of an interrupted run.

    Rows that are logged again replace the earlier ones. Lightning's own writer deletes the file when a run
    resumes, and rewrites it in place for a new column: a process that is killed meanwhile loses the rows.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, name="", version="")
        self._file = folder / "metrics.csv"
        self._rows = _rows_of(self._file)
        self._columns: list[str] = []  # of the file that this process has written; none before its first row

    def log_metrics(self, metrics: Mapping[str, object], step: int | None = None) -> None:
        step = len(self._rows) if step is None else step
        first = not self._columns
        if first:
            self._rows = [row for row in self._rows if int(row["step"]) < step]
        row = {key: str(getattr(value, "item", lambda v=value: v)()) for key, value in metrics.items()}
        self._rows.append({**row, "step": str(step)})
        columns = sorted({*self._columns, *(key for row in self._rows[0 if first else -1 :] for key in row)})
        if columns == self._columns:
            with writing(self._file), self._file.open("a", newline="") as file:
                file.write(_lines(self._rows[-1:], columns))
        else:
            self._columns = columns
            write_text(self._file, ",".join(columns) + "\n" + _lines(self._rows, columns))

    def log_hyperparams(self, *args: object, **options: object) -> None:
        """Write nothing: `run.yaml` holds what made the run."""

    def save(self) -> None:
        """Do nothing: every row is on the disk already."""

    def finalize(self, status: str) -> None:
        """Do nothing: every row is on the disk already."""


def _lines(rows: list[dict[str, str]], columns: list[str]) -> str:
    text = StringIO()
    csv.DictWriter(text, columns, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _rows_of(file: Path) -> list[dict[str, str]]:
    """Return the rows of an earlier run; rows that are cut off or damaged are left out."""
    if not file.is_file():
        return []
    text = file.read_text(encoding="utf-8", errors="replace")
    whole = text[: text.rfind("\n") + 1]  # the last line of a killed process may be cut off
    rows = [
        {key: value for key, value in row.items() if key and value} for row in csv.DictReader(StringIO(whole))
    ]
    return [row for row in rows if row.get("step", "").isdigit()]
