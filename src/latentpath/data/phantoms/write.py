"""Writes phantoms to disk in the layouts of ISIC 2019 and CheXpert, so that the real loaders read them."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from latentpath.data.chexpert import NO_FINDING, PATHOLOGIES
from latentpath.errors import UserError
from latentpath.runs.files import make_folder, write_json, writing
from latentpath.runs.temporary import remove, remove_abandoned_beside, temporary_beside

from .canvas import stream
from .chest import FINDINGS, draw_chest
from .dermoscopy import ATTRIBUTES, DIAGNOSES, draw_dermoscopy

Progress = Callable[[], object]
_DRAWING = 1  # version of the drawing code: raise it when a phantom of the same index looks different
_PARAMETERS = "phantom.json"
EXAMPLES = "examples.png"
EXAMPLE_SIDE = 128  # pixels: smaller images are enlarged by a whole factor

_ISIC_CLASSES = ("MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC", "UNK")
_ISIC_ARTEFACTS = ("dark_corner", "hair", "gel_border", "gel_bubble", "ruler", "ink", "patches", "vasc")
_ISIC_SITES = ("anterior torso", "head/neck", "lower extremity", "posterior torso", "upper extremity", "")

_CHEXPERT_LABELS = (NO_FINDING, *PATHOLOGIES, "Support Devices")


def write_isic2019(
    root: str | Path, *, count: int, size: int = 64, seed: int = 0, progress: Progress | None = None
) -> Path:
    """Write `count` dermoscopic phantoms in the layout of ISIC 2019 with artefact tables; return `root`.

    As in the real data, some lesions have two or three images, some images have no lesion_id, and some file
    names end in `_downsampled`. The inferred artefact table covers every image (present: above 0.9, absent:
    below 0.1), and its label_string is wrong as in the real table. The manual table covers every fourth
    image. EXAMPLES shows a lesion of each diagnosis, without an attribute and with each. `progress` is called
    after each image. Does nothing if `root` already holds exactly this set. Raises UserError if `root` holds
    anything else.
    """
    parameters = {"layout": "isic2019", "count": count, "size": size, "seed": seed, "drawing": _DRAWING}

    def fill(folder: Path) -> None:
        (folder / "ISIC_2019_Training_Input").mkdir()
        drawn = (
            draw_dermoscopy(k, size=size, seed=seed, diagnosis=diagnosis, attributes=one).image
            for k, diagnosis in enumerate(DIAGNOSES)
            for one in _alone(ATTRIBUTES)
        )
        _examples(folder, drawn, columns=1 + len(ATTRIBUTES))
        truth, metadata, inferred, manual = [], [], [], []
        for row in _isic_rows(count, seed):
            phantom = draw_dermoscopy(row.index, size=size, seed=seed, lesion=row.lesion)
            _save(phantom.image, folder / "ISIC_2019_Training_Input" / f"{row.name}.jpg")
            truth.append([row.name, *(float(name == phantom.diagnosis) for name in _ISIC_CLASSES)])
            metadata.append([row.name, row.age, row.site, row.lesion_id, row.sex])
            short, label = row.name.removesuffix("_downsampled"), int(phantom.diagnosis == "MEL")
            present = [name in ATTRIBUTES and phantom.attributes[name] for name in _ISIC_ARTEFACTS]
            doubt = stream(seed, row.index, "inferred").uniform(0, 0.095, len(present))
            inferred.append([row.index, short, *np.abs(present - doubt).tolist(), label, "malignant"])
            if row.index % 4 == 0:
                verdict = ("benign", "malignant")[label]
                manual.append([len(manual), f"{short}.png", *map(int, present[:-1]), label, verdict])
            if progress:
                progress()
        tail = ("label", "label_string")
        _table(folder / "ISIC_2019_Training_GroundTruth.csv", ("image", *_ISIC_CLASSES), truth)
        columns = ("image", "age_approx", "anatom_site_general", "lesion_id", "sex")
        _table(folder / "ISIC_2019_Training_Metadata.csv", columns, metadata)
        columns = ("", "image", *_ISIC_ARTEFACTS, *tail)
        _table(folder / "isic_inferred_wocarcinoma.csv", columns, inferred)
        columns = ("", "image", *_ISIC_ARTEFACTS[:-1], *tail)
        _table(folder / "isic_bias.csv", columns, manual, delimiter=";")

    return _publish(Path(root), parameters, fill)


def write_chexpert(
    root: str | Path, *, count: int, size: int = 64, seed: int = 0, progress: Progress | None = None
) -> Path:
    """Write `count` chest phantoms in the layout of CheXpert; return `root`, the folder of train.csv.

    `Path` in the tables begins with the name of `root`, which is `CheXpert-v1.0-small` in the public copy.
    Some patients have several studies, some studies also have a lateral view, and a tenth of the patients are
    in valid. Train labels are 1.0, 0.0, blank (not mentioned) or sometimes -1.0 for findings that are not
    drawn; valid has no blanks. EXAMPLES shows two patients, without a finding and with each. `progress` is
    called after each image. Does nothing if `root` already holds exactly this set. Raises UserError if `root`
    holds anything else.
    """
    root = Path(root)
    parameters = {"layout": "chexpert", "count": count, "size": size, "seed": seed, "drawing": _DRAWING}

    def fill(folder: Path) -> None:
        drawn = (
            draw_chest(k, size=size, seed=seed, findings=one).image
            for k in (0, 1)
            for one in _alone(FINDINGS)
        )
        _examples(folder, drawn, columns=1 + len(FINDINGS))
        tables: dict[str, list[list[object]]] = {"train": [], "valid": []}
        for row in _chexpert_rows(count, seed):
            lateral = row.view == "lateral"
            phantom = draw_chest(row.study_index, size=size, seed=seed, patient=row.patient, lateral=lateral)
            (folder / row.path).parent.mkdir(parents=True, exist_ok=True)
            _save(phantom.image, folder / row.path)
            labels = _chexpert_labels(phantom.findings, row.split, stream(seed, row.study_index, "labels"))
            about = [row.sex, row.age, row.view.capitalize(), row.projection]
            tables[row.split].append([f"{root.resolve().name}/{row.path}", *about, *labels])
            if progress:
                progress()
        columns = ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *_CHEXPERT_LABELS)
        for split, rows in tables.items():
            _table(folder / f"{split}.csv", columns, rows)

    return _publish(root, parameters, fill)


@dataclass(frozen=True)
class _IsicRow:
    index: int
    lesion: int
    name: str
    age: str
    site: str
    lesion_id: str
    sex: str


def _isic_rows(count: int, seed: int) -> Iterator[_IsicRow]:
    """Yield the images lesion by lesion; the number of a lesion is that of its first image."""
    index = 0
    while index < count:
        lesion, rng = index, stream(seed, index, "record")
        images = int(rng.choice((1, 2, 3), p=(0.8, 0.13, 0.07)))
        known = images > 1 or rng.random() < 0.85
        lesion_id = f"PHA_{lesion:07d}" if known else ""
        age = str(5 * int(rng.integers(4, 18))) if rng.random() < 0.97 else ""
        site, sex = (
            str(rng.choice(_ISIC_SITES)),
            str(rng.choice(("female", "male", ""), p=(0.47, 0.51, 0.02))),
        )
        for _ in range(min(images, count - lesion)):
            name = f"ISIC_{index:07d}" + ("_downsampled" if index % 16 == 13 else "")
            yield _IsicRow(index, lesion, name, age, site, lesion_id, sex)
            index += 1


@dataclass(frozen=True)
class _ChexpertRow:
    study_index: int  # the image number of the study's first view: both views show the same findings
    patient: int
    split: str
    path: str
    view: str
    projection: str
    sex: str
    age: int


def _chexpert_rows(count: int, seed: int) -> Iterator[_ChexpertRow]:
    """Yield the images by patient; every tenth patient is in valid, numbered as in the public copy."""
    index, patients = 0, {"train": 0, "valid": 64540}
    while index < count:
        patient, rng = index, stream(seed, index, "record")
        split = "valid" if sum(patients.values()) % 10 == 1 else "train"
        patients[split] += 1
        sex, age = str(rng.choice(("Male", "Female"))), int(rng.integers(20, 91))
        studies = int(rng.choice((1, 2, 3), p=(0.65, 0.25, 0.1))) if split == "train" else 1
        for study in range(1, studies + 1):
            study_index, projection = index, str(rng.choice(("AP", "PA"), p=(0.8, 0.2)))
            views = ("frontal", "lateral") if rng.random() < 0.12 else ("frontal",)
            for number, view in enumerate(views, start=1):
                if index == count:
                    return
                path = f"{split}/patient{patients[split]:05d}/study{study}/view{number}_{view}.jpg"
                shown = projection if view == "frontal" else ""
                yield _ChexpertRow(study_index, patient, split, path, view, shown, sex, age)
                index += 1


def _chexpert_labels(findings: dict[str, bool], split: str, rng: np.random.Generator) -> list[object]:
    """Return the 14 label cells of one image; each cell draws random numbers, so cells are independent."""
    healthy = not any(findings.values())
    cells: list[object] = []
    for label in _CHEXPERT_LABELS:
        luck = rng.random()
        present = healthy if label == "No Finding" else findings.get(label, False)
        if present:
            cells.append(1.0)
        elif split == "valid":
            cells.append(0.0)
        elif label in findings:
            cells.append(0.0 if luck < 0.5 else "")
        elif label != "No Finding" and luck < 0.1:
            cells.append(0.0 if healthy or luck < 0.05 else -1.0)
        else:
            cells.append("")
    return cells


def _publish(root: Path, parameters: dict[str, object], fill: Callable[[Path], None]) -> Path:
    """Fill a temporary folder and rename it to `root` at the end, so that `root` is never half written."""
    for name, least in (("count", 1), ("size", 16), ("seed", 0)):
        if int(str(parameters[name])) < least:
            raise UserError(f"{name} must be at least {least}, got {parameters[name]}")
    if _holds(root, parameters):
        return root
    make_folder(root.parent)
    remove_abandoned_beside(root)
    partial = temporary_beside(root)
    try:
        with writing(root):
            partial.mkdir(parents=True)
            fill(partial)
            write_json(partial / _PARAMETERS, parameters)
            if not _holds(root, parameters):  # another process may have been faster
                if root.exists():
                    root.rmdir()  # empty; Windows does not rename onto it
                partial.rename(root)
    finally:
        remove(partial)
    return root


def _holds(root: Path, parameters: dict[str, object]) -> bool:
    """Return whether `root` holds this set, False if it is empty. Raises UserError for anything else."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    note = root / _PARAMETERS
    if not note.is_file():
        raise UserError(f"{root} exists and is not a phantom set; choose another folder or remove it")
    try:
        found = json.loads(note.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{note} is damaged ({error}); remove {root} and write it anew") from None
    if found != parameters:
        raise UserError(
            f"{root} holds other phantoms ({found}) than asked for ({parameters}). Remove the folder, or "
            "give another."
        )
    return True


def _alone(names: Sequence[str]) -> list[dict[str, bool]]:
    """Return which of the names are present: first none, then each by itself."""
    return [{name: name == one for name in names} for one in (None, *names)]


def _examples(folder: Path, images: Iterable[np.ndarray], *, columns: int) -> None:
    """Write images of one size, row by row, as one picture; small ones are enlarged by a whole factor."""
    found = list(images)
    rows = [np.concatenate(found[k : k + columns], axis=1) for k in range(0, len(found), columns)]
    zoom = max(1, EXAMPLE_SIDE // len(found[0]))
    Image.fromarray(np.concatenate(rows).repeat(zoom, axis=0).repeat(zoom, axis=1)).save(folder / EXAMPLES)


def _save(image: np.ndarray, path: Path) -> None:
    # Full chroma resolution: chroma subsampling would blur ink and hair over a tenth of a 64-pixel image.
    Image.fromarray(image).save(path, quality=95, subsampling=0)


def _table(
    path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]], *, delimiter: str = ","
) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
