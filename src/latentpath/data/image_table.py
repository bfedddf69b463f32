"""Any dataset that is one table: a row an image, 0/1 columns, and columns for class and group."""

from __future__ import annotations

import pandas as pd

from latentpath.config.schema import DatasetConfig
from latentpath.data.label_table import LabelTable, files_present
from latentpath.data.records import Problem, dataset_root
from latentpath.errors import UserError, near


def read(dataset: DatasetConfig) -> tuple[pd.DataFrame, list[Problem]]:
    """The usable images: path, image_id (as in the path column), cls, group, attributes; and the problems.

    `dataset.table.file` and `dataset.table.images_dir` lie in `dataset.root`. Labels are 0, 1, or -1 and
    blank for "not known" (nan). Without a group column, or where it is blank, an image is a group of its own.
    """
    root, table_cfg = dataset_root(dataset.root), dataset.table
    classes, attributes = list(dataset.classes), list(dataset.attributes)
    keys = {
        f"dataset.table.{key}": getattr(table_cfg, key)
        for key in ("path_column", "class_column", "group_column")
    }
    used = {setting: column for setting, column in keys.items() if column is not None}
    table = LabelTable(root / table_cfg.file, text=tuple(used.values()))
    for setting, column in used.items():
        table.require([column], setting=setting)
    choices = [column for column in table.columns if column not in used.values()]
    table.require(attributes, setting="dataset.attributes", known=choices)

    if table_cfg.class_column is None and len(classes) != 1:
        raise UserError(f"dataset.classes is {classes}; without dataset.table.class_column give one name")

    words = {setting: table.rows[column].str.strip() for setting, column in used.items()}
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

    found = sorted(table.rows["cls"].dropna().unique())
    for name in classes:
        if name not in found:
            raise UserError(
                f"{table.file}, column {table_cfg.class_column!r}: no row of class {name!r}, asked for by "
                f"dataset.classes.{near(name, found[:50])}"
            )
    table.drop(
        ~table.rows["cls"].isin(classes), "other class", lambda row: f"class {row['cls']}", fault=False
    )
    images = root / (table_cfg.images_dir or "")
    table.rows["path"] = [str(images / name) for name in table.rows["image_id"]]
    there = files_present(table.rows["path"].tolist())
    table.drop(pd.Series(~there, table.rows.index), "missing image", lambda row: f"no file {row['path']}")
    return table.rows, table.problems
