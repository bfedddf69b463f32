"""A table of labels with checks that drop unusable rows and record why."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pandas as pd

from latentpath.config.choices import OnError
from latentpath.data import dicom
from latentpath.data.find import ImageFolder
from latentpath.data.read_table import SUFFIXES, plain_name, read_table
from latentpath.data.records import (
    MISSING_IMAGE,
    NAMED,
    Problem,
    describe_problems,
)
from latentpath.errors import UserError, near

WORDS = {"true": 1.0, "yes": 1.0, "false": 0.0, "no": 0.0}  # labels as words, upper or lower case
MOST = 0.5  # share of rows; if more are unusable, the configuration probably does not fit the table
PART = 0.9  # share of images; a part of a data set may be on disk, but hardly less than a tenth of it


class LabelTable:
    """The rows of one file, indexed by their row number in it, and the problems found so far."""

    def __init__(self, file: Path, *, text: Sequence[str] = (), on_error: OnError = OnError.skip) -> None:
        """Read `file`; the columns in `text` (ids, names) become text even if parquet has numbers."""
        self.file = file
        self.rows = read_table(file)
        self.skip_most = on_error == OnError.skip_most
        self.read = len(self.rows)
        self.problems: list[Problem] = []
        for column in set(text) & set(self.rows.columns):
            missing = self.rows[column].isna()
            self.rows[column] = self.rows[column].astype("str").where(~missing)

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the unambiguous column names, without the unnamed index that pandas saves."""
        names = [name for name in self.rows.columns if name and not name.startswith("Unnamed:")]
        twice = self._several()
        return tuple(name for name in names if "\n" not in name and name not in twice)

    def require(self, names: Iterable[str], *, setting: str, known: Iterable[str] | None = None) -> None:
        """Raise UserError if a name is not exactly one column among `known` (default: all).

        The message says that `setting` asked for the name.
        """
        choices = self.columns if known is None else tuple(known)
        for name in names:
            if places := self._several().get(name):
                raise UserError(
                    f"{self.file} has {len(places)} columns named {name!r}, and {setting} asks for one: "
                    f"columns {', '.join(map(str, places))}; their names differ by spaces at most. Rename one"
                )
            if name not in choices and plain_name(name) in choices:  # differs only by spaces or accents
                self.rows = self.rows.rename(columns={plain_name(name): name})
            elif name not in choices:
                raise UserError(
                    f"{self.file} has no column {name!r}, asked for by {setting}.{near(name, choices)}"
                )

    def drop(self, bad: pd.Series, kind: str, why: Callable[[pd.Series], str], *, fault: bool = True) -> None:
        """Drop the rows where `bad` is true; `why` gives the reason for the few rows that are named.

        Raises UserError if faults have removed most of the table, because then the configuration is probably
        wrong.
        """
        lost = self.rows[bad]
        named = [(row, why(values)) for row, values in lost.head(NAMED).iterrows()]
        self.problems += [
            Problem(kind, str(self.file), int(str(row)), text, fault=fault) for row, text in named
        ]
        if rest := len(lost) - len(named):
            self.problems.append(Problem(kind, str(self.file), None, f"and {rest:,} more", rest, fault))
        self.rows = self.rows[~bad].copy()
        if fault and len(lost):
            self._stop_where_most_is_lost()

    def find_images(self, folder: ImageFolder, names: pd.Series) -> None:
        """Add a column `path` with the files of the named images, and drop rows whose image is missing.

        Raises UserError if nearly all are missing, or if a file is a DICOM file and pydicom is not installed.
        """
        self.rows["path"] = pd.Series(folder.find(names.tolist()), self.rows.index, dtype="object")
        films = [file for file in self.rows["path"].dropna() if file.lower().endswith(dicom.SUFFIXES)]
        if films:
            dicom.require_pydicom(films[0])
        missing, wanted = self.rows["path"].isna(), len(self.rows)
        self.drop(missing, MISSING_IMAGE, lambda row: folder.why_not(names.loc[int(str(row.name))]))
        if missing.sum() > PART * wanted and not self.skip_most:
            raise UserError(
                f"{missing.sum():,} of the {wanted:,} images that {self.file} asks for are missing; they are "
                "probably in another folder or have other names. Correct that, or use the rest with "
                "dataset.on_error=skip_most\n"
                f"{describe_problems(p for p in self.problems if p.kind == MISSING_IMAGE)}"
            )

    def keep_unique(self, column: str) -> None:
        """Drop rows whose id is blank or repeats an earlier row."""
        self.drop(_blank(self.rows[column]), "blank id", lambda row: f"{column} is blank")
        ids = self.rows[column]
        first = pd.Series(ids.index, ids.to_numpy()).groupby(level=0).first()
        self.drop(
            ids.duplicated(),
            "duplicate id",
            lambda row: (
                f"{column} {row[column]} is in {self._place(first.loc[row[column]])} too, which is kept"
            ),
        )

    def read_labels(self, columns: Iterable[str], *, allowed: Sequence[float] | None) -> None:
        """Convert the columns to floats (blank: nan) and drop rows with values that are not `allowed`.

        allowed: the permitted values, or None for any number in [0, 1]. True and yes are 1, False and no are
        0, in upper or lower case. A comma may replace the decimal point.
        """
        words = "a probability in [0, 1]" if allowed is None else ", ".join(f"{value:g}" for value in allowed)
        for column in columns:
            given = self.rows[column]
            values = _numbers(given)
            right = values.between(0, 1) if allowed is None else values.isin(allowed)
            self.drop(
                ~right & ~_blank(given),
                "odd label",
                lambda row, column=column: f"{column} is {row[column]!r}; expected {words} or blank",
            )
            self.rows[column] = values[self.rows.index]

    def _several(self) -> dict[str, list[int]]:
        """Return the names that several columns share, with the positions of these columns from 1."""
        marked = [name.split("\n")[0] for name in self.rows.columns if "\n" in name]
        plain = [name.split("\n")[0] for name in self.rows.columns]
        return {name: [k for k, other in enumerate(plain, 1) if other == name] for name in marked}

    def _place(self, row: int) -> str:
        return f"{'row' if self.file.suffix == '.parquet' else 'line'} {row}"

    def _stop_where_most_is_lost(self) -> None:
        faults = [p for p in self.problems if p.fault and p.kind != MISSING_IMAGE]
        lost = sum(p.count for p in faults)
        if lost > MOST * self.read and not self.skip_most:
            raise UserError(
                f"{lost:,} of {self.read:,} rows of {self.file} cannot be used, so the table is probably not "
                f"what the configuration takes it for. Fix it, or use the rest with "
                f"dataset.on_error=skip_most\n{describe_problems(faults)}"
            )


def find_table(root: Path, name: str) -> Path:
    """Find the file of a table, compressed or not, in `root` or in one of its subfolders.

    Raises UserError that names the folder above if the file is there, or else files with similar names.
    """
    names = (name, name + ".gz")
    for folders in ([root], sorted(root.glob("*/"))):
        found = [folder / n for folder in folders for n in names if (folder / n).is_file()]
        if len({file.parent for file in found}) > 1:
            raise UserError(
                f"{name} is in several folders of {root}: give one of them as dataset.root, such as "
                f"{found[0].parent}"
            )
        if found:
            return found[0]
    for above in list(root.parents)[:2]:
        if any((above / n).is_file() for n in names):
            raise UserError(f"no file {root / name}, but {above / name}: give dataset.root={above}")
    tables = sorted(p.name for p in (root / name).parent.glob("*") if p.name.lower().endswith(SUFFIXES))
    hint = near(Path(name).name, tables) if tables else " There is no table in that folder."
    raise UserError(f"no file {root / name}.{hint}")


def _blank(values: pd.Series) -> pd.Series:
    if pd.api.types.is_numeric_dtype(values):
        return values.isna()
    return values.isna() | (values.astype("str").str.strip() == "")


def _numbers(values: pd.Series) -> pd.Series:
    """Convert values to float64, with nan for everything that is not a number."""
    if pd.api.types.is_numeric_dtype(values):  # from parquet; includes booleans
        return values.astype("float64")
    text = values.astype("str").str.strip().str.lower()
    text = text.str.replace(r"^([+-]?\d*),(\d+)$", r"\1.\2", regex=True)
    numbers = pd.to_numeric(text, errors="coerce").astype("float64")
    return numbers.fillna(text.map(WORDS).astype("float64"))
