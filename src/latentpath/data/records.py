"""ImageTable, the common form of every dataset, and Problem, a record of a row that cannot be used."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from latentpath.config.choices import SPLITS, OnError
from latentpath.errors import UserError, near

if TYPE_CHECKING:
    from latentpath.data.captions import CaptionTemplate

log = logging.getLogger(__name__)

MISSING_IMAGE = "missing image"  # the kind of Problem that occurs if only part of a data set is on disk
NAMED = 3  # rows that are named for each kind of problem; further ones are only counted
COLUMNS = ("path", "image_id", "cls", "group", "split")  # of ImageTable.rows, before the attributes


@dataclass(frozen=True)
class Problem:
    """The reason why one or more rows were left out.

    row: line of a CSV file (the header is line 1), row of a parquet file (from 1), or None.
    count: number of rows. Of many rows with the same kind of problem, the first few have their own Problem
        and one more Problem counts the rest.
    fault: False for rows that the configuration excludes on purpose (another class, a lateral view).
    """

    kind: str
    file: str
    row: int | None
    message: str
    count: int = 1
    fault: bool = True

    def __str__(self) -> str:
        if self.row is None:
            return self.message
        return f"{'row' if self.file.endswith('.parquet') else 'line'} {self.row}: {self.message}"


@dataclass(frozen=True)
class ImageTable:
    """A dataset that is ready for use: one row per image, with labels, group and split; all files exist.

    rows: path (absolute), image_id (unique), cls (one of `classes`), group (patient or lesion), split
        ('train', 'val', 'test', or 'judge': see `for_judge`), then one float column per attribute in
        {0, 1, nan}; nan is unknown.
    """

    rows: pd.DataFrame
    classes: tuple[str, ...]
    attributes: tuple[str, ...]
    captions: CaptionTemplate
    problems: tuple[Problem, ...] = ()

    def split(self, name: str) -> pd.DataFrame:
        """Return the rows of one split, in table order."""
        if name not in SPLITS:
            raise UserError(f"no split {name!r}.{near(name, SPLITS)}")
        return self.rows[self.rows["split"] == name]

    def for_judge(self) -> ImageTable:
        """Return the table that the judge trains on: groups that are reserved for it become its 'train'."""
        rows = self.rows[self.rows["split"] != "train"]
        rows = rows.assign(split=rows["split"].replace("judge", "train")).reset_index(drop=True)
        return replace(self, rows=rows) if (self.rows["split"] == "judge").any() else self

    def is_captioned(self, rows: pd.DataFrame) -> pd.Series:
        """Return for each row whether its caption is certainly true, as bools.

        The caption of an image without a known attribute is the neutral prompt, which says that no attribute
        is present. It may be false if one of them is unknown.
        """
        labels = rows[list(self.attributes)]
        return (labels == 1).any(axis=1) | labels.notna().all(axis=1)

    def captions_of(self, rows: pd.DataFrame) -> list[str]:
        """Return the training captions of the given rows; unknown attributes (nan) are not mentioned."""
        present = (rows[list(self.attributes)] == 1).to_numpy(dtype=bool).tolist()
        keys = list(zip(rows["cls"], map(tuple, present), strict=True))
        words = {
            (cls, flags): self.captions.caption(
                cls, [a for a, on in zip(self.attributes, flags, strict=True) if on]
            )
            for cls, flags in set(keys)
        }
        return [words[key] for key in keys]


def by_kind(problems: Iterable[Problem]) -> dict[tuple[str, str], list[Problem]]:
    """Group problems by (kind, file), in the order of first appearance."""
    found: dict[tuple[str, str], list[Problem]] = {}
    for problem in problems:
        found.setdefault((problem.kind, problem.file), []).append(problem)
    return found


def describe_problems(problems: Iterable[Problem]) -> str:
    """Describe problems as text: a count for each kind and file, with the first few rows below it."""
    lines = []
    for (kind, file), found in by_kind(problems).items():
        total = sum(problem.count for problem in found)
        named = [problem for problem in found if problem.count == 1][:NAMED]
        lines += [f"{kind}: {total:,} in {file}", *(f"    {problem}" for problem in named)]
        if total > len(named):
            lines.append(f"    and {total - len(named):,} more")
    return "\n".join(lines)


def report_problems(problems: Sequence[Problem], on_error: OnError) -> None:
    """Log one warning that summarizes the faults, or raise UserError if on_error is `fail`."""
    faults = [p for p in problems if p.fault]
    if not faults:
        return
    total = sum(p.count for p in faults)
    if on_error == OnError.fail:
        raise UserError(
            f"{total:,} images of the dataset cannot be used; fix them, or leave them out with "
            "dataset.on_error=skip\n" + describe_problems(faults)
        )
    log.warning(
        "left out %s images of the dataset that cannot be used\n%s", f"{total:,}", describe_problems(faults)
    )


def check_rows(
    rows: pd.DataFrame, classes: Sequence[str], attributes: Sequence[str], *, made_by: str
) -> None:
    """Raise UserError if the rows of a reader are not valid rows of an ImageTable (without `split`)."""
    for name in (*(column for column in COLUMNS if column != "split"), *attributes):
        if name not in rows:
            raise UserError(f"{made_by} returned rows without the column {name!r}; there are {list(rows)}")
        if name in COLUMNS and (wrong := rows[name].map(lambda value: not isinstance(value, str))).any():
            raise UserError(
                f"{made_by}: column {name!r} holds {rows.loc[wrong, name].iloc[0]!r}, expected text"
            )
    expected = {"cls": list(classes), **{name: [0, 1, float("nan")] for name in attributes}}
    for name, values in expected.items():
        if (wrong := ~rows[name].isin(values)).any():
            value = rows.loc[wrong, name].iloc[0]
            raise UserError(f"{made_by}: column {name!r} holds {value!r}, expected one of {values}")
    if (twice := rows["image_id"].duplicated()).any():
        raise UserError(
            f"{made_by}: image_id {rows.loc[twice, 'image_id'].iloc[0]!r} is in two rows, expected each once"
        )


def dataset_root(root: str | Path) -> Path:
    """Return the absolute root folder of a dataset. Raises UserError if it does not exist."""
    folder = Path(root).expanduser().absolute()
    if not folder.is_dir():
        raise UserError(
            f"dataset.root: no folder {folder}. Give the folder that holds the data set's tables, "
            "dataset.root=..., or write phantoms there with `latentpath phantom`."
        )
    return folder
