"""Makes an ImageTable from the configuration `dataset`: reads, reports problems, splits, limits."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import pandas as pd

from latentpath.config.plugins import is_reference, load
from latentpath.config.schema import DatasetConfig
from latentpath.data import chexpert, image_table, isic2019
from latentpath.data.captions import caption_template
from latentpath.data.image_file import check_header, grey_bits
from latentpath.data.records import (
    COLUMNS,
    SPLITS,
    ImageTable,
    Problem,
    check_rows,
    describe_problems,
    report_problems,
)
from latentpath.data.splits import (
    RARE,
    assign_splits,
    hash_unit,
    rare_labels,
    reserve_for_judge,
    stratified_splits,
)
from latentpath.errors import UserError

log = logging.getLogger(__name__)

TRIED = 16  # images whose headers are checked at the start
LAYOUTS = {"isic2019": isic2019.read, "chexpert": chexpert.read, "image_table": image_table.read}


def load_dataset(dataset: DatasetConfig, *, plugins: Sequence[str] = ()) -> ImageTable:
    """Load the dataset of the configuration group `dataset`, checked, with captions and splits.

    `dataset.layout` is one of LAYOUTS, or a function of one of the modules `plugins`.

    Raises UserError if the configuration names something that the data do not have, if no usable row is left,
    and, with `on_error='fail'`, if any row cannot be used. It opens only a few images, to check that they are
    readable; `images.load_images` reads them all.
    """
    classes, attributes = tuple(dataset.classes), tuple(dataset.attributes)
    rows, problems = _read(dataset, plugins)
    captions = caption_template(dataset.captions, classes, attributes)
    if rows.empty:
        raise UserError(
            f"no usable image in {dataset.root}; what was left out:\n{describe_problems(problems)}"
        )
    report_problems(problems, dataset.on_error)
    _check_readable(rows["path"])

    salt = str(dataset.split_salt)
    splits = _splits(rows, dataset)
    rows["split"] = reserve_for_judge(rows["group"], splits, fraction=dataset.judge_fraction, salt=salt)
    if dataset.limit is not None:
        order = np.argsort(
            hash_unit(rows["image_id"].tolist(), salt=f"{dataset.split_salt}/limit"), kind="stable"
        )
        rows = rows.iloc[np.sort(order[: dataset.limit])]
    rows = rows[[*COLUMNS, *attributes]].reset_index(drop=True)
    wanted = {"train": True, "val": dataset.val_fraction > 0, "test": dataset.test_fraction > 0}
    if empty := [name for name in SPLITS if wanted[name] and not (rows["split"] == name).any()]:
        log.warning(
            "no image in %s: the dataset has only %d groups", " and ".join(empty), rows["group"].nunique()
        )
    elif rare := rare_labels(rows, attributes, [name for name in SPLITS if wanted[name]]):
        remedy = "" if dataset.stratify else "; dataset.stratify=true gives each split its share"
        log.warning("fewer than %d images with the label: %s%s", RARE, ", ".join(rare), remedy)
    return ImageTable(rows, classes, attributes, captions, tuple(problems))


def _splits(rows: pd.DataFrame, dataset: DatasetConfig) -> np.ndarray:
    """Assign each row its split by its group: by a hash alone or, with dataset.stratify, by labels too."""
    fractions = {"val_fraction": dataset.val_fraction, "test_fraction": dataset.test_fraction}
    salt = str(dataset.split_salt)
    if not dataset.stratify:
        return assign_splits(rows["group"], **fractions, salt=salt)
    classes = pd.get_dummies(rows["cls"]).add_prefix("class ")
    labels = pd.concat([classes, rows[list(dataset.attributes)]], axis=1)
    return stratified_splits(rows["group"], labels, **fractions, salt=salt)


def _read(dataset: DatasetConfig, plugins: Sequence[str]) -> tuple[pd.DataFrame, list[Problem]]:
    """Call the reader of the layout; return the usable rows and the problems of the other rows."""
    if not is_reference(dataset.layout):
        return LAYOUTS[dataset.layout](dataset)
    rows, problems = load("dataset.layout", dataset.layout, plugins)(dataset)
    if len(rows):
        check_rows(rows, dataset.classes, dataset.attributes, made_by=dataset.layout)
    return rows.copy(), list(problems)


def _check_readable(paths: pd.Series) -> None:
    """Raise UserError if none of a few images, spread over the table, has a readable header.

    Warn if the 16-bit images among them use different numbers of bits.
    """
    some = paths.iloc[:: max(1, len(paths) // TRIED)].tolist()
    errors = [check_header(path) for path in some]
    if all(errors):
        raise UserError(f"none of {len(some)} images that were tried can be read, the first: {errors[0]}")
    bits = {grey_bits(path) for path, error in zip(some, errors, strict=True) if not error} - {None}
    if len(bits) > 1:
        log.warning(
            "16-bit grey images hold values of %s bits. Each image is scaled by its own number of bits, so "
            "equal values may look different. If all come from one scanner, save them with 8 bits and the "
            "same window",
            " and ".join(map(str, sorted(b for b in bits if b))),
        )
