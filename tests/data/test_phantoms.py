"""Phantoms: equal arguments give equal bytes, a switch changes one element, files match the real layouts."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from latentpath.data.phantoms import (
    ATTRIBUTES,
    DIAGNOSES,
    EXAMPLES,
    FINDINGS,
    draw_chest,
    draw_dermoscopy,
    write_chexpert,
    write_isic2019,
)
from latentpath.errors import UserError


def test_same_arguments_same_bytes():
    first, again = draw_dermoscopy(5, seed=3), draw_dermoscopy(5, seed=3)
    assert np.array_equal(first.image, again.image)
    assert first.attributes == again.attributes
    assert not np.array_equal(first.image, draw_dermoscopy(6, seed=3).image)
    assert not np.array_equal(first.image, draw_dermoscopy(5, seed=4).image)
    assert np.array_equal(draw_chest(5).image, draw_chest(5).image)
    assert not np.array_equal(draw_chest(5).image, draw_chest(6).image)


@pytest.mark.parametrize("size", [32, 64, 96, 256])
def test_images_and_masks_have_the_size_asked_for(size):
    lesion, chest = draw_dermoscopy(1, size=size), draw_chest(1, size=size)
    assert lesion.image.shape == (size, size, 3)
    assert chest.image.shape == (size, size)
    assert lesion.image.dtype == chest.image.dtype == np.uint8
    assert lesion.masks["lesion"].shape == (size, size)


def test_look_does_not_depend_on_size():
    small = draw_dermoscopy(2, size=64, attributes=dict.fromkeys(ATTRIBUTES, False)).image
    large = draw_dermoscopy(2, size=256, attributes=dict.fromkeys(ATTRIBUTES, False)).image
    reduced = large.reshape(64, 4, 64, 4, 3).mean((1, 3))
    assert np.abs(reduced - small).mean() < 4


@pytest.mark.parametrize("name", ATTRIBUTES)
@pytest.mark.parametrize("others", [False, True])
@pytest.mark.parametrize("size", [64, 160])
def test_an_attribute_changes_its_own_pixels_only(name, others, size):
    background = dict.fromkeys(ATTRIBUTES, others)
    for index in range(6):
        without = draw_dermoscopy(index, size=size, attributes=background | {name: False})
        with_it = draw_dermoscopy(index, size=size, attributes=background | {name: True})
        changed = (without.image != with_it.image).any(axis=2)
        mask = with_it.masks[name]
        assert not (changed & ~mask).any()
        assert changed.sum() > 0.01 * size * size
        assert without.diagnosis == with_it.diagnosis
        assert name not in without.masks


def test_the_diagnosis_changes_nothing_but_the_lesion():
    for index in range(6):
        drawn = [draw_dermoscopy(index, diagnosis=name, attributes={}) for name in DIAGNOSES]
        assert drawn[0].attributes == drawn[1].attributes
        changed = (drawn[0].image != drawn[1].image).any(axis=2)
        assert changed[drawn[0].masks["lesion"]].mean() > 0.5
        assert not changed[[0, 0, -1, -1], [0, -1, 0, -1]].any()  # the corners are skin


@pytest.mark.parametrize("name", FINDINGS)
@pytest.mark.parametrize("lateral", [False, True])
def test_a_finding_changes_its_own_pixels_only(name, lateral):
    for index in range(6):
        without = draw_chest(index, findings={name: False}, lateral=lateral)
        with_it = draw_chest(index, findings={name: True}, lateral=lateral)
        changed = without.image != with_it.image
        assert changed.any()
        assert not (changed & ~with_it.masks[name]).any()


def test_one_lesion_several_images():
    first, second = draw_dermoscopy(10), draw_dermoscopy(11, lesion=10)
    assert first.diagnosis == second.diagnosis
    assert not np.array_equal(first.image, second.image)
    assert {draw_dermoscopy(20 + i, size=16, lesion=10).diagnosis for i in range(20)} == {first.diagnosis}


def test_prevalence():
    drawn = [draw_dermoscopy(index, size=16) for index in range(400)]
    for name in ATTRIBUTES:
        assert 0.23 < np.mean([phantom.attributes[name] for phantom in drawn]) < 0.37  # 3 standard errors
    assert 0.42 < np.mean([phantom.diagnosis == "MEL" for phantom in drawn]) < 0.58
    labels = np.array([[phantom.attributes[name] for name in ATTRIBUTES] for phantom in drawn])
    correlation = np.corrcoef(labels.T) - np.eye(len(ATTRIBUTES))
    assert np.abs(correlation).max() < 0.2


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="hairs"):
        draw_dermoscopy(0, attributes={"hairs": True})
    with pytest.raises(ValueError, match="BCC"):
        draw_dermoscopy(0, diagnosis="BCC")
    with pytest.raises(ValueError, match="Edema"):
        draw_chest(0, findings={"Edema": True})


def read(path, delimiter=","):
    with path.open(newline="") as file:
        header, *rows = csv.reader(file, delimiter=delimiter)
    return header, [dict(zip(header, row, strict=True)) for row in rows]


@pytest.fixture(scope="module")
def isic(tmp_path_factory):
    return write_isic2019(tmp_path_factory.mktemp("phantoms") / "isic", count=80, size=32)


@pytest.fixture(scope="module")
def chexpert(tmp_path_factory):
    root = tmp_path_factory.mktemp("phantoms") / "CheXpert-v1.0-small"
    return write_chexpert(root, count=80, size=32)


def test_isic_truth_and_metadata(isic):
    header, truth = read(isic / "ISIC_2019_Training_GroundTruth.csv")
    assert ",".join(header) == "image,MEL,NV,BCC,AK,BKL,DF,VASC,SCC,UNK"
    assert len(truth) == 80
    assert {row["MEL"] for row in truth} == {"0.0", "1.0"}
    assert all(sum(float(cell) for cell in list(row.values())[1:]) == 1 for row in truth)
    images = {path.stem for path in (isic / "ISIC_2019_Training_Input").glob("*.jpg")}
    assert images == {row["image"] for row in truth}
    assert any(name.endswith("_downsampled") for name in images)
    with Image.open(isic / "ISIC_2019_Training_Input" / f"{truth[0]['image']}.jpg") as image:
        assert (image.mode, image.size) == ("RGB", (32, 32))

    header, metadata = read(isic / "ISIC_2019_Training_Metadata.csv")
    assert ",".join(header) == "image,age_approx,anatom_site_general,lesion_id,sex"
    lesions = [row["lesion_id"] for row in metadata]
    assert "" in lesions
    assert len(set(lesions)) < len([lesion for lesion in lesions if lesion])
    diagnosis = {row["image"]: row["MEL"] for row in truth}
    by_lesion = {}
    for row in metadata:
        by_lesion.setdefault(row["lesion_id"] or row["image"], set()).add(diagnosis[row["image"]])
    assert all(len(diagnoses) == 1 for diagnoses in by_lesion.values())


def test_isic_artefact_tables(isic):
    header, inferred = read(isic / "isic_inferred_wocarcinoma.csv")
    expected = ",image,dark_corner,hair,gel_border,gel_bubble,ruler,ink,patches,vasc,label,label_string"
    assert ",".join(header) == expected
    assert {row["label_string"] for row in inferred} == {"malignant"}
    assert not any("downsampled" in row["image"] for row in inferred)
    truth = [draw_dermoscopy(int(row[""]), size=16).attributes for row in inferred]
    for row, attributes in zip(inferred, truth, strict=True):
        for name in ATTRIBUTES:
            assert float(row[name]) > 0.9 if attributes[name] else float(row[name]) < 0.1

    header, manual = read(isic / "isic_bias.csv", delimiter=";")
    assert (
        ";".join(header)
        == ";image;dark_corner;hair;gel_border;gel_bubble;ruler;ink;patches;label;label_string"
    )
    assert len(manual) == 20
    inferred = {row["image"]: row for row in inferred}
    for row in manual:
        other = inferred[row["image"].removesuffix(".png")]
        assert row["label"] == other["label"]
        assert all((row[name] == "1") == (float(other[name]) > 0.5) for name in ATTRIBUTES)


def test_chexpert_tables(chexpert):
    header, train = read(chexpert / "train.csv")
    assert ",".join(header) == (
        "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Enlarged Cardiomediastinum,Cardiomegaly,Lung Opacity,"
        "Lung Lesion,Edema,Consolidation,Pneumonia,Atelectasis,Pneumothorax,Pleural Effusion,Pleural Other,"
        "Fracture,Support Devices"
    )
    _, valid = read(chexpert / "valid.csv")
    assert len(train) + len(valid) == 80
    assert valid
    listed = {row["Path"] for row in train + valid}
    assert listed == {f"CheXpert-v1.0-small/{path.relative_to(chexpert)}" for path in chexpert.rglob("*.jpg")}
    assert {row["Frontal/Lateral"] for row in train} == {"Frontal", "Lateral"}
    assert any("/study2/" in row["Path"] for row in train)
    labels = header[5:]
    assert {row[label] for row in train for label in labels} == {"", "0.0", "1.0", "-1.0"}
    assert {row[label] for row in valid for label in labels} == {"0.0", "1.0"}
    for row in train:
        assert row["Pleural Effusion"] != "-1.0"
        nothing = all(row[name] != "1.0" for name in FINDINGS)
        assert (row["No Finding"] == "1.0") == nothing
    with Image.open(chexpert.parent / train[0]["Path"]) as image:
        assert (image.mode, image.size) == ("L", (32, 32))


@pytest.mark.parametrize(("write", "columns"), [(write_isic2019, 5), (write_chexpert, 3)])
def test_the_examples_show_the_same_phantom_with_and_without_each_attribute(write, columns, tmp_path):
    root = write(tmp_path / "set", count=1, size=64)
    with Image.open(root / EXAMPLES) as sheet:
        pixels = np.asarray(sheet.convert("RGB"), dtype=int)
    cells = pixels.reshape(2, 128, columns, 128, 3).swapaxes(1, 2)  # row, column, y, x, channel
    changed = np.abs(cells[:, 1:] - cells[:, :1]).max(axis=-1) > 8
    share = changed.mean(axis=(2, 3))
    assert (share > 0.01).all() and (share < 0.5).all()  # each attribute is there; most pixels stay


@pytest.mark.parametrize("write", [write_isic2019, write_chexpert])
def test_phantoms_are_written_once_and_nothing_is_overwritten(write, tmp_path):
    root, ticks = tmp_path / "set", []
    write(root, count=3, size=16, progress=lambda: ticks.append(1))
    assert len(ticks) == 3
    write(root, count=3, size=16, progress=lambda: ticks.append(1))
    assert len(ticks) == 3  # nothing was drawn
    assert json.loads((root / "phantom.json").read_text())["count"] == 3
    with pytest.raises(UserError, match="other phantoms"):
        write(root, count=4, size=16)
    with pytest.raises(UserError, match="at least"):
        write(tmp_path / "none", count=0)
    foreign = tmp_path / "mine"
    foreign.mkdir()
    (foreign / "thesis.tex").touch()
    with pytest.raises(UserError, match="not a phantom set"):
        write(foreign, count=3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "set"]


def test_a_failure_leaves_nothing_behind(tmp_path):
    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_isic2019(tmp_path / "set", count=3, size=16, progress=interrupt)
    assert not list(tmp_path.iterdir())
