"""ISIC 2019 as it lies on disk, with an artefact table of Bissoto et al. (inferred or manual)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pandas as pd

from latentpath.config.schema import DatasetConfig
from latentpath.data.label_table import LabelTable
from latentpath.data.records import Problem, choice, dataset_root
from latentpath.errors import UserError

IMAGES = "ISIC_2019_Training_Input"
GROUND_TRUTH = "ISIC_2019_Training_GroundTruth.csv"
METADATA = "ISIC_2019_Training_Metadata.csv"
ARTEFACTS = {"inferred": "isic_inferred_wocarcinoma.csv", "manual": "isic_bias.csv"}
NOT_ARTEFACTS = ("image", "label", "label_string")
SUFFIXES = (".jpg", ".jpeg", ".png")


def read(dataset: DatasetConfig) -> tuple[pd.DataFrame, list[Problem]]:
    """The usable images of `dataset.classes`: path, image_id, cls, group, attributes; and the problems.

    The class is the diagnosis, the group the lesion, or the image where no lesion is given. Ids are without
    `_downsampled`, which some files and tables carry and others do not.
    """
    root, classes, attributes = dataset_root(dataset.root), list(dataset.classes), list(dataset.attributes)
    truth = _table(root / GROUND_TRUTH)
    diagnoses = [column for column in truth.columns if column != "image"]
    truth.require(classes, setting="dataset.classes", known=diagnoses)
    truth.read_labels(diagnoses, allowed=(0, 1))
    truth.drop(
        truth.rows[diagnoses].sum(axis=1) != 1,
        "not one class",
        lambda row: f"{row['image']}: {row[diagnoses].sum():g} diagnoses are 1, expected one",
    )
    truth.rows["cls"] = truth.rows[diagnoses].idxmax(axis=1)
    truth.drop(
        ~truth.rows["cls"].isin(classes), "other class", lambda row: f"class {row['cls']}", fault=False
    )

    truth.rows = truth.rows.drop(columns=diagnoses)

    others: list[Problem] = []
    if attributes:
        artefacts = _artefacts(
            root, attributes, kind=dataset.isic.artefacts, threshold=dataset.isic.threshold
        )
        labels = artefacts.rows.set_index("image")[attributes]
        truth.rows = truth.rows.join(labels, on="image", validate="one_to_one")
        truth.drop(
            ~truth.rows["image"].isin(labels.index),
            f"not in {artefacts.file.name}",
            lambda row: f"{row['image']} has no artefact labels",
            fault=False,
        )
        others += artefacts.problems

    files = _images(root / IMAGES)
    truth.rows["path"] = truth.rows["image"].map(files)
    truth.drop(
        truth.rows["path"].isna(), "missing image", lambda row: f"no {row['image']}.jpg in {root / IMAGES}"
    )

    metadata = _table(root / METADATA)
    metadata.require(["lesion_id"], setting="keeps the images of a lesion in one split")
    others += metadata.problems
    lesions = metadata.rows.set_index("image")["lesion_id"]
    truth.rows["group"] = truth.rows["image"].map(lesions).fillna(truth.rows["image"])
    return truth.rows.rename(columns={"image": "image_id"}), truth.problems + others


def _table(file: Path) -> LabelTable:
    table = LabelTable(file, text=("image", "lesion_id"))
    table.require(["image"], setting="names the image")
    table.rows["image"] = (
        table.rows["image"]
        .str.strip()
        .str.replace(r"(\.(png|jpe?g))?$", "", regex=True)
        .str.removesuffix("_downsampled")
    )
    table.keep_unique("image")
    return table


def _artefacts(root: Path, attributes: list[str], *, kind: Any, threshold: float) -> LabelTable:
    """Artefact labels in {0, 1, nan}: inferred probabilities are 1 from the threshold on."""
    kind = choice("dataset.isic.artefacts", kind, ARTEFACTS)
    if not 0 < threshold <= 1:
        raise UserError(f"dataset.isic.threshold is {threshold}; expected a probability in (0, 1]")
    table = _table(root / ARTEFACTS[kind])
    # Case counts: 'vasc' is an artefact here, 'VASC' a diagnosis in the ground truth.
    choices = [c for c in table.columns if c not in NOT_ARTEFACTS and not c.startswith("Unnamed")]
    table.require(attributes, setting="dataset.attributes", known=choices)
    table.read_labels(attributes, allowed=None if kind == "inferred" else (0, 1))
    if kind == "inferred":
        values = table.rows[attributes]
        table.rows[attributes] = (values >= threshold).astype("float64").where(values.notna())
    return table


def _images(folder: Path) -> dict[str, str]:
    """Image id -> path, from one listing of the folder."""
    if not folder.is_dir():
        raise UserError(
            f"no folder {folder}; the ISIC 2019 layout keeps its images there, next to {GROUND_TRUTH}"
        )
    found: dict[str, str] = {}
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        stem, suffix = os.path.splitext(entry.name)
        if suffix.lower() in SUFFIXES and not stem.startswith("."):
            found.setdefault(stem.removesuffix("_downsampled"), entry.path)
    return found
