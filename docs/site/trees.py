"""Draws small folders in the layouts of public chest X-ray data sets, on which docs/data.md runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

IMAGES = 24  # in each tree
RANDOM = np.random.default_rng(0)


def draw(folder: Path) -> None:
    """Draw all three trees under `folder`."""
    nih(folder / "NIH-ChestXray14")
    vindr(folder / "VinDr-CXR")
    mimic(folder / "MIMIC-CXR")


def nih(root: Path) -> None:
    """PNG files in images_001/images, and Data_Entry_2017.csv with findings joined by |."""
    rows = []
    for k in range(IMAGES):
        name = f"{k // 2:08d}_{k % 2:03d}.png"
        file = root / f"images_{1 + k % 2:03d}" / "images" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(_film(8)).save(file)
        finding = ("No Finding", "Effusion", "Cardiomegaly|Effusion")[k % 3]
        rows.append({"Image Index": name, "Finding Labels": finding, "Patient ID": k // 2})
    pd.DataFrame(rows).to_csv(root / "Data_Entry_2017.csv", index=False)


def vindr(root: Path) -> None:
    """MONOCHROME1 and MONOCHROME2 files train/<image>.dicom, and a row per image and reader."""
    rows = []
    for k in range(IMAGES):
        image = f"{k:032x}"
        _dicom(root / "train" / f"{image}.dicom", PhotometricInterpretation=f"MONOCHROME{1 + k % 2}")
        for reader in ("R8", "R9", "R10"):
            labels = {"Cardiomegaly": k % 2, "Pleural effusion": int(k % 3 == 0 and reader != "R9")}
            rows.append({"image_id": image, "rad_id": reader, **labels})
    pd.DataFrame(rows).to_csv(root / "image_labels_train.csv", index=False)


def mimic(root: Path) -> None:
    """Windowed files in files/p10/p<subject>/s<study>, with metadata per image and labels per study."""
    images, studies = [], []
    for k in range(IMAGES):
        subject, study, name = 10_000_000 + k // 2, 50_000_000 + k, f"{k:08x}-{k:08x}-{k:08x}"
        file = root / "files" / "p10" / f"p{subject}" / f"s{study}" / f"{name}.dcm"
        _dicom(file, WindowCenter=2048, WindowWidth=4096)
        view = ("PA", "LATERAL")[k % 8 == 7]
        images.append({"dicom_id": name, "subject_id": subject, "study_id": study, "ViewPosition": view})
        effusion, devices = ((1.0, 0.0), (None, 1.0), (0.0, -1.0))[k % 3]
        labels = {"Pleural Effusion": effusion, "Support Devices": devices}
        studies.append({"subject_id": subject, "study_id": study, **labels})
    pd.DataFrame(images).to_csv(root / "mimic-cxr-2.0.0-metadata.csv", index=False)
    pd.DataFrame(studies).to_csv(root / "mimic-cxr-2.0.0-chexpert.csv", index=False)


def _film(bits: int) -> np.ndarray:
    """(32, 32): a smooth random picture in the range of `bits`."""
    picture = Image.fromarray(RANDOM.random((4, 4), np.float32)).resize((32, 32), Image.Resampling.BICUBIC)
    kind = np.uint8 if bits == 8 else np.uint16
    return (np.asarray(picture).clip(0, 1) * (2**bits - 1)).astype(kind)


def _dicom(path: Path, **elements: object) -> None:
    """Write a 12-bit picture of 32 px with the given elements."""
    path.parent.mkdir(parents=True, exist_ok=True)
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[path.name])
    film = Dataset()
    film.file_meta = meta
    film.SOPClassUID, film.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    film.Rows = film.Columns = 32
    film.SamplesPerPixel, film.PhotometricInterpretation = 1, "MONOCHROME2"
    film.BitsAllocated, film.BitsStored, film.HighBit, film.PixelRepresentation = 16, 12, 11, 0
    film.PixelData = _film(12).tobytes()
    for name, value in elements.items():
        setattr(film, name, value)
    film.save_as(path, enforce_file_format=True)
