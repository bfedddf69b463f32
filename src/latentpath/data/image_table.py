"""Reads a dataset that is one table: one row per image, 0/1 columns, and columns for class and group."""

from __future__ import annotations

import logging
import os
import re

import pandas as pd

from latentpath.config.schema import DatasetConfig
from latentpath.data.find import ImageFolder
from latentpath.data.label_table import LabelTable, find_table
from latentpath.data.records import Problem, dataset_root
from latentpath.errors import UserError, near

# Names of columns that identify the patient or lesion.
PATIENT = re.compile(r"patient|subject|participant|person|case|lesion|study|mrn|pid\b", re.IGNORECASE)

log = logging.getLogger(__name__)


def read(dataset: DatasetConfig) -> tuple[pd.DataFrame, list[Problem]]:
    """Read the usable images (path, image_id = the path column, cls, group, attributes) and the problems.

    `dataset.table.file` and `dataset.table.images_dir` are in `dataset.root`. Labels are 0, 1, or -1 or blank
    for unknown (nan). An image without a group (no group column, or blank) is a group of its own.
    """
    root, table_cfg = dataset_root(dataset.root), dataset.table
    classes, attributes = list(dataset.classes), list(dataset.attributes)
    keys = {
        f"dataset.table.{key}": getattr(table_cfg, key)
        for key in ("path_column", "class_column", "group_column")
    }
    used = {setting: column for setting, column in keys.items() if column is not None}
    file = find_table(root, table_cfg.file)
    table = LabelTable(file, text=tuple(used.values()), on_error=dataset.on_error)
    for setting, column in used.items():
        table.require([column], setting=setting)
    choices = [column for column in table.columns if column not in used.values()]
    table.require(attributes, setting="dataset.attributes", known=choices)

    if table_cfg.class_column is None and len(classes) != 1:
        raise UserError(f"dataset.classes is {classes}; without dataset.table.class_column give one name")

    words = {setting: table.rows[column].str.strip() for setting, column in used.items()}
    if table_cfg.class_column is not None:
        _check_classes(table, table_cfg.class_column, words["dataset.table.class_column"], classes)
    image_id = words["dataset.table.path_column"]
    group = words.get("dataset.table.group_column", image_id)
    table.rows = table.rows.assign(
        image_id=image_id,
        cls=words.get("dataset.table.class_column", classes[0]),
        group=group.where(group.notna() & (group != ""), image_id),
    )
    table.keep_unique("image_id")
    table.read_labels(attributes, allowed=(0, 1, -1))
    table.rows[attributes] = table.rows[attributes].mask(table.rows[attributes] == -1)
    if table_cfg.group_column is None:
        _warn_of_patients(table, attributes, path_column=table_cfg.path_column)
    table.drop(
        ~table.rows["cls"].isin(classes), "other class", lambda row: f"class {row['cls']}", fault=False
    )
    images = ImageFolder(file.parent / (table_cfg.images_dir or ""))
    if not any(images.find(names := table.rows["image_id"].tolist())) and names:
        elsewhere = images.nearby(names)
        raise UserError(
            f"none of the {len(names):,} images of {file} is in {images.folder}: {images.why_not(names[0])}."
            + (f" They are in {elsewhere}: give" if elsewhere else " Give their folder as")
            + f" dataset.table.images_dir={os.path.relpath(elsewhere, file.parent) if elsewhere else '...'}"
        )
    table.find_images(images, table.rows["image_id"])
    return table.rows, table.problems


def _check_classes(table: LabelTable, column: str, values: pd.Series, classes: list[str]) -> None:
    """Raise UserError if the table has no row of a class, before any row is dropped."""
    found = sorted(values.dropna().unique())
    for name in classes:
        if name not in found:
            raise UserError(
                f"{table.file}, column {column!r}: no row of class {name!r}, asked for by "
                f"dataset.classes.{near(name, found[:50])} Give them as dataset.classes=[...]."
            )


def _warn_of_patients(table: LabelTable, attributes: list[str], *, path_column: str) -> None:
    """Warn if a column looks like the ids of patients with several images each."""
    for column in table.columns:
        if column in (*attributes, path_column) or not PATIENT.search(column):
            continue
        sizes = table.rows[column].value_counts()
        if 1 < len(sizes) < sizes.sum():
            log.warning(
                "%s: by its column %r, the %s images are of %s groups. Without dataset.table.group_column "
                "images of one group may be in several splits, and held-out figures are then too good. Give "
                "dataset.table.group_column=%r, or %r if each image is another patient or lesion",
                table.file,
                column,
                f"{sizes.sum():,}",
                f"{len(sizes):,}",
                column,
                path_column,
            )
            return
