"""Reads CheXpert v1.0 and CheXpert-v1.0-small as they are on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from latentpath.config.schema import DatasetConfig
from latentpath.data.find import ImageFolder
from latentpath.data.label_table import LabelTable, find_table
from latentpath.data.records import Problem, dataset_root
from latentpath.errors import UserError

NOT_LABELS = ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA")
NO_FINDING = "No Finding"
PATHOLOGIES = (
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
)
# `Path` begins with the name of the root folder, which differs between copies; the rest is the same.
INSIDE = r"(?:.*/)?((?:train|valid|test)/patient[^/]+/[^/]+/[^/]+)"
UNCERTAIN = {"ones": 1.0, "zeros": 0.0, "ignore": np.nan}


def read(dataset: DatasetConfig) -> tuple[pd.DataFrame, list[Problem]]:
    """Read the usable radiographs (path, image_id, cls, group = patient, attributes) and the problems.

    Labels are 1 (present), 0 or blank (not mentioned, so absent), and -1 (uncertain), which
    `dataset.chexpert.uncertain` maps to 1, 0 or nan ('ignore'). A radiograph on which no attribute of
    `dataset.attributes` is present is left out if it shows another finding or if an attribute is nan, because
    the caption without attributes would call it normal.
    """
    root, attributes = dataset_root(dataset.root), list(dataset.attributes)
    if len(dataset.classes) != 1:
        raise UserError(
            f"dataset.classes is {list(dataset.classes)}, but CheXpert has a single class: give one name of "
            "your choice, such as [chest]"
        )
    if NO_FINDING in attributes:
        raise UserError(
            f"dataset.attributes: {NO_FINDING!r} is the absence of the others; leave it out: "
            "such radiographs get the caption dataset.captions.without_attributes"
        )
    uncertain = UNCERTAIN[dataset.chexpert.uncertain]

    file = find_table(root, dataset.chexpert.labels_csv)
    table = LabelTable(file, text=("Path",), on_error=dataset.on_error)
    table.require(["Path"], setting="names the image")
    table.require(
        attributes, setting="dataset.attributes", known=[c for c in table.columns if c not in NOT_LABELS]
    )
    table.rows["Path"] = table.rows["Path"].fillna("").str.replace("\\", "/", regex=False)
    table.drop(
        ~table.rows["Path"].str.fullmatch(INSIDE),
        "odd path",
        lambda row: f"Path is {row['Path']!r}; expected .../train/patient00001/study1/view1_frontal.jpg",
    )
    inside = table.rows["Path"].str.replace(INSIDE, r"\1", regex=True)
    table.rows["inside"] = inside
    table.rows["group"] = inside.str.replace(r"^[^/]+/([^/]+)/.*", r"\1", regex=True)
    table.rows["image_id"] = inside.str.replace(r"\.\w+$", "", regex=True).str.replace("/", "_", regex=False)
    table.keep_unique("image_id")
    if dataset.chexpert.frontal_only:
        table.drop(_lateral(table.rows), "lateral view", lambda row: row["image_id"], fault=False)

    others = [c for c in PATHOLOGIES if c in table.columns and c not in attributes]
    table.read_labels(attributes + others, allowed=(0, 1, -1))
    labels = table.rows[attributes + others]
    table.rows[attributes + others] = labels.fillna(0.0).mask(labels == -1, uncertain)
    none_present = ~(table.rows[attributes] == 1).any(axis=1)
    table.drop(
        none_present & (table.rows[others] == 1).any(axis=1),
        "only findings that are not in dataset.attributes",
        lambda row: f"{row['image_id']}: {', '.join(c for c in others if row[c] == 1)}",
        fault=False,
    )
    table.drop(
        none_present[table.rows.index] & table.rows[attributes].isna().any(axis=1),
        "uncertain whether an attribute is present",
        lambda row: f"{row['image_id']}: {', '.join(c for c in attributes if pd.isna(row[c]))}",
        fault=False,
    )

    table.find_images(ChexpertFolder(root), table.rows["inside"])
    table.rows["cls"] = dataset.classes[0]
    return table.rows, table.problems


class ChexpertFolder(ImageFolder):
    """The images of a copy of CheXpert, including the official copy, which is split into batches.

    In the official copy `train/patient00001/...` is in `CheXpert-v1.0 batch 2 (train 1)/` or a later batch.
    """

    def find(self, names: Sequence[str]) -> list[str | None]:
        paths = super().find(names)
        batches = {str(folder) for folder in self.folder.glob("*batch*/")}
        if not batches or None not in paths:
            return paths
        others = super().find([name.split("/", 1)[1] for name in names])
        inside = [other if other and _parent_in(other, self.folder) in batches else None for other in others]
        return [path or other for path, other in zip(paths, inside, strict=True)]


def _parent_in(path: str, folder: Path) -> str:
    """Return the direct subfolder of `folder` that contains `path`."""
    return str(folder / Path(path).relative_to(folder).parts[0])


def _lateral(rows: pd.DataFrame) -> pd.Series:
    """Mark lateral views, by the view column if it is filled, else by the file name."""
    named = rows["inside"].str.contains("_lateral")
    if "Frontal/Lateral" not in rows:
        return named
    return (
        rows["Frontal/Lateral"]
        .map({"Lateral": True, "Frontal": False})
        .astype("boolean")
        .fillna(named)
        .astype(bool)
    )
