"""Reads ISIC 2019 as it is on disk, with an artefact table of Bissoto et al. (inferred or manual)."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from latentpath.config.choices import Artefacts, OnError
from latentpath.config.schema import DatasetConfig
from latentpath.data.find import ImageFolder
from latentpath.data.label_table import LabelTable, find_table
from latentpath.data.records import Problem, dataset_root
from latentpath.errors import UserError

IMAGES = "ISIC_2019_Training_Input"
GROUND_TRUTH = "ISIC_2019_Training_GroundTruth.csv"
METADATA = "ISIC_2019_Training_Metadata.csv"
ARTEFACTS = {"inferred": "isic_inferred_wocarcinoma.csv", "manual": "isic_bias.csv"}
SOURCES = {  # of the artefact tables
    "inferred": "Bissoto et al. 2022, github.com/alceubissoto/artifact-generalization-skin",
    "manual": "Bissoto et al. 2020, github.com/alceubissoto/debiasing-skin, folder artefacts-annotation",
}
NOT_ARTEFACTS = ("image", "label", "label_string")
DIAGNOSES = ("MEL", "NV", "BCC", "AK", "AKIEC", "BKL", "DF", "VASC", "SCC", "UNK")
IDS = ("image", "lesion_id")
NOT_DIAGNOSES = ("age_approx", "anatom_site_general", "sex")
DOWNSAMPLED = "_downsampled"  # an ending of some file names and ids, which is ignored


def read(dataset: DatasetConfig) -> tuple[pd.DataFrame, list[Problem]]:
    """Read the usable images of `dataset.classes` (path, image_id, cls, group, attributes) and the problems.

    The class is the diagnosis. The group is the lesion, or the image itself if no lesion is given. Ids omit
    the ending `_downsampled`, which only some files and tables have.
    """
    root, classes, attributes = dataset_root(dataset.root), list(dataset.classes), list(dataset.attributes)
    truth = _table(find_table(root, GROUND_TRUTH), dataset.on_error)
    truth.require(classes, setting="dataset.classes", known=set(truth.columns) - {*IDS, *NOT_DIAGNOSES})
    diagnoses = [column for column in truth.columns if column in DIAGNOSES or column in classes]
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
        artefacts = _artefacts(root, dataset)
        labels = artefacts.rows.set_index("image")[attributes]
        truth.rows = truth.rows.join(labels, on="image", validate="one_to_one")
        truth.drop(
            ~truth.rows["image"].isin(labels.index),
            f"not in {artefacts.file.name}",
            lambda row: f"{row['image']} has no artefact labels",
            fault=False,
        )
        others += artefacts.problems

    truth.find_images(_images(root, truth.file.parent), truth.rows["image"])

    metadata = _table(find_table(root, METADATA), dataset.on_error)
    metadata.require(["lesion_id"], setting="keeps the images of a lesion in one split")
    others += metadata.problems
    lesions = metadata.rows.set_index("image")["lesion_id"]
    truth.rows["group"] = truth.rows["image"].map(lesions).fillna(truth.rows["image"])
    return truth.rows.rename(columns={"image": "image_id"}), truth.problems + others


def _table(file: Path, on_error: OnError) -> LabelTable:
    """Read the table and give all its ids the same spelling."""
    table = LabelTable(file, text=IDS, on_error=on_error)
    table.require(["image"], setting="names the image")
    table.rows["image"] = (
        table.rows["image"]
        .str.strip()
        .str.replace(r"(?i)(\.(png|jpe?g))?$", "", regex=True)
        .str.removesuffix(DOWNSAMPLED)
    )
    table.keep_unique("image")
    return table


def _artefacts(root: Path, dataset: DatasetConfig) -> LabelTable:
    """Read artefact labels in {0, 1, nan}.

    An inferred probability p becomes 1 if p >= isic.present, 0 if p <= isic.absent, and nan (unknown) in
    between. With a single threshold, p = 0.5 would count as absent, and captions would deny visible
    artefacts.
    """
    attributes, present, absent = list(dataset.attributes), dataset.isic.present, dataset.isic.absent
    kind = dataset.isic.artefacts
    try:
        file = find_table(root, ARTEFACTS[kind])
    except UserError as error:
        raise UserError(
            f"{error}\nISIC publishes no labels of artefacts (hair, ink, ruler, ...); this table is of "
            f"{SOURCES[kind]}. Put it beside {GROUND_TRUTH}, or go without: dataset=image_table takes 0/1 "
            "columns of your own from any table"
        ) from None
    table = _table(file, dataset.on_error)
    # Case matters: 'vasc' is an artefact here, 'VASC' a diagnosis in the ground truth.
    choices = [column for column in table.columns if column not in NOT_ARTEFACTS]
    table.require(attributes, setting="dataset.attributes", known=choices)
    table.read_labels(attributes, allowed=None if kind == Artefacts.inferred else (0, 1))
    if kind == Artefacts.inferred:
        values = table.rows[attributes]
        table.rows[attributes] = (
            (values >= present).astype("float64").where((values >= present) | (values <= absent))
        )
    return table


def _images(root: Path, beside: Path) -> ImageFolder:
    """Find the folder of the images, in `root` or `beside` the ground truth; else use all of `root`."""
    named = [folder / IMAGES for folder in (root, beside) if (folder / IMAGES).is_dir()]
    images = ImageFolder(named[0] if named else root, drop=DOWNSAMPLED)
    if not images.any():
        above = next((folder / IMAGES for folder in root.parents[:2] if (folder / IMAGES).is_dir()), None)
        found = f"; there is {above}: give dataset.root={above.parent}" if above else ""
        raise UserError(
            f"no image in {images.folder}; the ISIC 2019 layout has a folder {IMAGES} next to {GROUND_TRUTH}"
            f"{found}"
        )
    return images
