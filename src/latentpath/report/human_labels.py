"""Reads the labels that a human gave to generated images, and turns them into figures.

The folder human_labels of a run belongs to no stage, so that no command removes what a human has filled in:

    sheet_1.png, ...  the images with their numbers, and nothing else about them (`label_sheets`)
    labels.csv        a row an image and a column an attribute: 1 visible, 0 not visible, empty not labelled
    key.csv           what each image is, and with which probability it was drawn; not for whoever labels
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from latentpath.data.read_table import read_table
from latentpath.errors import UserError
from latentpath.metrics import Scored
from latentpath.metrics.human_labels import KEY, human_figures
from latentpath.runs.files import read_csv

NUMBER = "image number"  # the first column of labels.csv
NAMES = {"class": str, "attribute": str, "method": str}  # stay text even if they look like numbers
ANSWERS = {"1": 1.0, "1.0": 1.0, "0": 0.0, "0.0": 0.0, "": np.nan}


def read_human_figures(
    folder: Path, scored: Scored, attributes: Sequence[str], strong: Sequence[int]
) -> pd.DataFrame | None:
    """Return the figures of the labels in `folder` (`metrics.human_labels`), or None if nothing is labelled.

    Raises UserError, naming file, line and value, for labels that cannot be used.
    """
    file = folder / "labels.csv"
    if not file.exists():
        return None
    sample = read_key(folder)
    labels = read_labels(file, attributes, len(sample))
    if labels.isna().all(axis=None):
        return None
    images = sample.merge(scored.rows[KEY], on=KEY)
    if len(images) < len(sample):
        raise UserError(
            f"{folder / 'key.csv'}: {len(sample) - len(images)} of its images are not in this run's scores. "
            "The labels belong to another traversal: rename the folder, or give back the traversal."
        )
    return human_figures(scored, attributes, strong, sample, labels)


def read_key(folder: Path) -> pd.DataFrame:
    """Read key.csv, which says what each labelled image is. Raises UserError if it is not as it was written.

    The message never advises to delete the folder, because it holds the work of a human.
    """
    file = folder / "key.csv"
    remedy = (
        "Without it nobody knows what the labels beside it are of. Get it back from a copy, or rename "
        f"{folder} and draw new sheets: latentpath report to_label=..."
    )
    sample = read_csv(file, needs=("image", *KEY), remedy=remedy, dtype=NAMES, keep_default_na=False)
    if sample["image"].astype(str).tolist() != [str(number) for number in range(1, len(sample) + 1)]:
        raise UserError(f"{file}: expected the images 1, 2, 3 and so on, a row each. {remedy}")
    if not all(pd.api.types.is_integer_dtype(sample[column]) for column in ("seed", "swap_step")):
        raise UserError(f"{file}: expected whole numbers as seed and swap_step. {remedy}")
    return sample


def read_labels(file: Path, attributes: Sequence[str], images: int) -> pd.DataFrame:
    """Read a filled-in labels.csv: a row an image number, a column an attribute, of 1, 0 or NaN.

    Images may be missing and columns may be added. Raises UserError that names file, line and value.
    """
    table = read_table(file)
    twice = {str(name).partition("\n")[0] for name in table.columns if "\n" in str(name)}
    for column in (NUMBER, *attributes):
        if column in twice:
            raise UserError(f"{file}: two columns are named {column!r}; keep one of them.")
        if column not in table:
            raise UserError(
                f"{file}: there is no column {column!r}; expected {', '.join([NUMBER, *attributes])}, as in "
                f"the file that was written; it has {', '.join(map(str, table.columns))}."
            )
    numbers = {str(number): number for number in range(1, images + 1)}
    lines: dict[int, object] = {}
    for line, said in table[NUMBER].fillna("").str.strip().items():
        number = numbers.get(said.removesuffix(".0"))
        if number is None:
            raise UserError(
                f"{file}, line {line}, column {NUMBER!r}: expected a number from 1 to {images}, as on the "
                f"sheets; found {said!r}."
            )
        if number in lines:
            raise UserError(
                f"{file}, lines {lines[number]} and {line}: image {number} stands twice; keep one of them."
            )
        lines[number] = line
    columns = {}
    for attribute in attributes:
        said = table[attribute].fillna("").str.strip()
        if (wrong := ~said.isin(list(ANSWERS))).any():
            line = said.index[int(wrong.to_numpy().argmax())]
            raise UserError(
                f"{file}, line {line}, column {attribute!r}: expected 1 if the attribute is visible, 0 if it "
                f"is not, or nothing; found {said[line]!r}."
            )
        columns[attribute] = said.map(ANSWERS).to_numpy(np.float64)
    return pd.DataFrame(columns, index=pd.Index(list(lines), name="image"))
