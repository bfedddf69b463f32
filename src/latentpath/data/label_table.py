"""A CSV or parquet file of labels while it is checked: what cannot be used leaves, counted and named."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from pyarrow import ArrowException

from latentpath.data.records import NAMED, Problem
from latentpath.errors import UserError, near


class LabelTable:
    """The rows of one file, indexed by their row number in it, and the problems found so far."""

    def __init__(self, file: Path, *, text: Sequence[str] = ()) -> None:
        """Reads `file`; columns in `text` keep their spelling (an id such as 007), others become numbers."""
        self.file = file
        self.rows = _read(file, text)
        self.columns = tuple(self.rows.columns)
        self.problems: list[Problem] = []

    def require(self, names: Iterable[str], *, setting: str, known: Iterable[str] | None = None) -> None:
        """UserError where a name is not among `known` (default: all columns); `setting` is who asked."""
        choices = self.columns if known is None else tuple(known)
        for name in names:
            if name not in choices:
                raise UserError(
                    f"{self.file} has no column {name!r}, asked for by {setting}.{near(name, choices)}"
                )

    def drop(self, bad: pd.Series, kind: str, why: Callable[[pd.Series], str], *, fault: bool = True) -> None:
        """Drops the rows where `bad`; `why` words the reason of the few that are named."""
        lost = self.rows[bad]
        named = [(row, why(values)) for row, values in lost.head(NAMED).iterrows()]
        self.problems += [
            Problem(kind, str(self.file), int(str(row)), text, fault=fault) for row, text in named
        ]
        if rest := len(lost) - len(named):
            self.problems.append(Problem(kind, str(self.file), None, f"and {rest:,} more", rest, fault))
        self.rows = self.rows[~bad].copy()

    def keep_unique(self, column: str) -> None:
        """Drops rows whose id is blank or stands in an earlier row."""
        self.drop(_blank(self.rows[column]), "blank id", lambda row: f"{column} is blank")
        self.drop(
            self.rows[column].duplicated(),
            "duplicate id",
            lambda row: f"{column} {row[column]} stands in an earlier row, which is kept",
        )

    def read_labels(self, columns: Iterable[str], *, allowed: Sequence[float] | None) -> None:
        """Makes the columns floats (blank: nan), drops rows with other values; None allows all of [0, 1]."""
        words = "a probability in [0, 1]" if allowed is None else ", ".join(f"{value:g}" for value in allowed)
        for column in columns:
            text = self.rows[column]
            values = pd.to_numeric(text, errors="coerce").astype("float64")
            right = values.between(0, 1) if allowed is None else values.isin(allowed)
            self.drop(
                ~right & ~_blank(text),
                "odd label",
                lambda row, column=column: f"{column} is {row[column]!r}; expected {words} or blank",
            )
            self.rows[column] = values[self.rows.index]


def files_present(paths: Sequence[str]) -> np.ndarray:
    """Whether each path is there, (n,) bool: a listing per folder where these are full, else a look each."""
    folders: dict[str, set[str]] = {}
    parts = [os.path.split(path) for path in paths]
    for folder, _ in parts:
        folders.setdefault(folder, set())
    if len(paths) < 4 * len(folders):  # CheXpert has about one image a folder
        return np.fromiter(map(os.path.isfile, paths), bool, len(paths))
    for folder, names in folders.items():
        if os.path.isdir(folder):
            names.update(entry.name for entry in os.scandir(folder))
    return np.fromiter((name in folders[folder] for folder, name in parts), bool, len(paths))


def _blank(values: pd.Series) -> pd.Series:
    if pd.api.types.is_numeric_dtype(values):
        return values.isna()
    return values.isna() | (values.astype(str).str.strip() == "")


def _read(file: Path, text: Sequence[str]) -> pd.DataFrame:
    if not file.is_file():
        names = sorted(p.name for p in file.parent.glob("*") if p.suffix in (".csv", ".parquet"))
        raise UserError(
            f"no file {file}.{near(file.name, names) if names else ' There is no table in that folder.'}"
        )
    try:
        if file.suffix == ".parquet":
            rows = pd.read_parquet(file).reset_index(drop=True)
            rows.index += 1
            for column in text:
                if column in rows:
                    rows[column] = rows[column].astype(str).where(rows[column].notna())
        else:
            # Blank lines are read and dropped afterwards: the index stays the line number in the file.
            rows = pd.read_csv(
                file,
                sep=_separator(file),
                dtype={column: "str" for column in text},
                encoding="utf-8-sig",
                skip_blank_lines=False,
                low_memory=False,
            )
            if not isinstance(rows.index, pd.RangeIndex):
                raise ValueError("its rows have more fields than its header")
            rows.index += 2
            rows = rows.dropna(how="all")
    except (ValueError, OSError, ArrowException) as error:  # parser and encoding errors are ValueErrors
        raise UserError(f"{file} cannot be read as a table: {error}") from error
    rows.columns = [str(column).strip() for column in rows.columns]
    if rows.empty:
        raise UserError(f"{file} holds no rows")
    return rows


def _separator(file: Path) -> str:
    with file.open(encoding="utf-8-sig") as lines:
        header = lines.readline()
    return max(",;\t", key=header.count)
