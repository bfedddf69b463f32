"""DICOM files: values against pydicom's own functions, what is refused, and what never leaves a file."""

from __future__ import annotations

import builtins
import json
import logging
from importlib import util

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.pixels import apply_modality_lut, apply_voi_lut

from films import CANARY, RAMP, film, table
from latentpath.commands import info, run
from latentpath.data import dicom
from latentpath.data.image_file import check_header, read_rgb
from latentpath.data.load import load_dataset
from latentpath.errors import UserError


def shown(path):
    """(h, w) uint8: the picture as the data set reads it; grey has three equal channels."""
    image = np.asarray(read_rgb(path, enough=8))
    assert (image[..., 0] == image[..., 1]).all() and (image[..., 0] == image[..., 2]).all()
    return image[..., 0]


def by_pydicom(path, low, high):
    """What pydicom's own modality and VOI functions show, scaled from [low, high] to uint8."""
    data = pydicom.dcmread(path)
    values = apply_voi_lut(apply_modality_lut(data.pixel_array, data), data).astype(np.float64)
    brightness = (values - low) / (high - low)
    if data.PhotometricInterpretation == "MONOCHROME1":
        brightness = 1 - brightness
    return (255 * brightness).round().astype(np.uint8)


CURVE = (1023 * np.linspace(0, 1, 3000) ** 2).round()
CASES = {
    "plain 12 bits": ({}, (0, 4095)),
    "MONOCHROME1": ({"PhotometricInterpretation": "MONOCHROME1"}, (0, 4095)),
    "16 bits": ({"pixels": RAMP * 16 + 7, "bits": 16}, (0, 65535)),
    "8 bits": ({"pixels": RAMP // 16, "bits": 8}, (0, 255)),
    "window": ({"WindowCenter": 2000, "WindowWidth": 1500}, (0, 4095)),
    "first of two windows": ({"WindowCenter": [900, 2000], "WindowWidth": [500, 9]}, (0, 4095)),
    "exact window": (
        {"WindowCenter": 2000.5, "WindowWidth": 1000, "VOILUTFunction": "LINEAR_EXACT"},
        (0, 4095),
    ),
    "sigmoid window": ({"WindowCenter": 2000, "WindowWidth": 800, "VOILUTFunction": "SIGMOID"}, (0, 4095)),
    "window of MONOCHROME1": (
        {"WindowCenter": 1200, "WindowWidth": 900, "PhotometricInterpretation": "MONOCHROME1"},
        (0, 4095),
    ),
    "Hounsfield units with a window": (
        {
            "pixels": RAMP - 1024,
            "bits": 16,
            "RescaleSlope": 1,
            "RescaleIntercept": 0,
            "WindowCenter": 40,
            "WindowWidth": 400,
        },
        (-32768, 32767),
    ),
    "rescaled, then a window": (
        {"RescaleSlope": 2, "RescaleIntercept": -1024, "WindowCenter": 40, "WindowWidth": 400},
        (-1024, 2 * 4095 - 1024),
    ),
    "rescaled without a window": ({"RescaleSlope": 0.5, "RescaleIntercept": 10}, (10, 0.5 * 4095 + 10)),
    "a table of values of interest": ({"VOILUTSequence": table(CURVE, first=500, bits=10)}, (0, 1023)),
    "a table before a window": (
        {"VOILUTSequence": table(CURVE, first=500, bits=10), "WindowCenter": 9, "WindowWidth": 9},
        (0, 1023),
    ),
    "a table of the modality": (
        {"ModalityLUTSequence": table(16 * (4095 - np.arange(4096)), bits=16)},
        (0, 65535),
    ),
    "JPEG, lossless": ({"syntax": "JPEGLosslessProcess14_1"}, (0, 4095)),
    "JPEG 2000": ({"syntax": "JPEG2000Lossless"}, (0, 4095)),
    "JPEG-LS": ({"syntax": "JPEGLSLossless"}, (0, 4095)),
    "RLE": ({"syntax": "RLELossless"}, (0, 4095)),
}


@pytest.mark.parametrize("case", CASES)
def test_values_are_those_of_pydicom(tmp_path, case):
    elements, ends = CASES[case]
    path = film(tmp_path / "film.dcm", **elements)
    assert check_header(path) is None
    expected = by_pydicom(path, *ends)
    assert np.abs(shown(path).astype(int) - expected).max() <= 1
    assert len(np.unique(expected)) > 20  # the case is no flat picture


def test_polarity_is_turned_after_the_window(tmp_path):
    plain = shown(film(tmp_path / "a.dcm", WindowCenter=2000, WindowWidth=1500))
    turned = shown(
        film(tmp_path / "b.dcm", WindowCenter=2000, WindowWidth=1500, PhotometricInterpretation="MONOCHROME1")
    )
    assert (plain.astype(int) + turned == 255).all()
    assert plain[0, 0] == 0 and turned[0, 0] == 255


def test_a_table_of_8_bits_maps_12_bit_values(tmp_path):
    """pydicom 3.0.2 wraps the values at 256 here, so the table itself is the source."""
    curve = (255 * np.linspace(0, 1, 4096) ** 2).round().astype(np.uint8)
    path = film(tmp_path / "film.dcm", VOILUTSequence=table(curve, bits=8))
    assert (shown(path) == curve[RAMP]).all()


@pytest.mark.parametrize("width", [1, 2, 400])
def test_the_linear_window_is_that_of_the_standard(width):
    """The pseudo-code of PS3.3 C.11.2.1.2.1, written out value by value."""
    center, values = 40.0, np.arange(-300, 300)
    expected = []
    for x in values:
        if x <= center - 0.5 - (width - 1) / 2:
            expected.append(0.0)
        elif x > center - 0.5 + (width - 1) / 2:
            expected.append(1.0)
        else:
            expected.append((x - (center - 0.5)) / (width - 1) + 0.5)
    np.testing.assert_allclose(dicom.window(values, center, width), expected, atol=1e-12)


def test_colour_is_read_as_rgb(tmp_path):
    colour = np.random.default_rng(0).integers(0, 256, (8, 8, 3))
    path = film(
        tmp_path / "skin.dcm",
        colour,
        bits=8,
        SamplesPerPixel=3,
        PhotometricInterpretation="RGB",
        PlanarConfiguration=0,
        Rows=8,
        Columns=8,
    )
    assert (np.asarray(read_rgb(path, enough=8)) == colour).all()


REFUSED = {
    "several frames": (
        {"pixels": np.stack([RAMP] * 3), "NumberOfFrames": 3, "Rows": 64, "Columns": 64},
        "holds 3 frames; save each as a file of its own",
    ),
    "no black and white": (
        {"pixels": RAMP - 1024, "bits": 16, "RescaleSlope": 1, "RescaleIntercept": 0},
        "neither a window nor a table .* from -32768 to 32767: what is black and white is not known",
    ),
    "palette": (
        {"PhotometricInterpretation": "PALETTE COLOR"},
        "PhotometricInterpretation is PALETTE COLOR, expected MONOCHROME1, MONOCHROME2",
    ),
    "a window of no width": ({"WindowCenter": 5, "WindowWidth": 0}, "the window has a width of 0"),
    "an unknown window": (
        {"WindowCenter": 5, "WindowWidth": 9, "VOILUTFunction": "CUBIC"},
        "the window's function is 'CUBIC', expected LINEAR",
    ),
    "too few pixels": ({"PixelData": b"\0" * 10}, "is damaged: its pixels cannot be read"),
    "no picture": ({"Rows": 0}, "without a picture, such as a report"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_shown_is_refused_by_name(tmp_path, case):
    elements, words = REFUSED[case]
    path = film(tmp_path / "film.dcm", **elements)
    with pytest.raises(UserError, match=f"film.dcm.*{words}") as refused:
        read_rgb(path, enough=8)
    assert "anary" not in str(refused.value)


def test_what_is_no_dicom_is_named(tmp_path):
    for name, content in (("text.dcm", b"no image"), ("cut.dcm", b"\0" * 128 + b"DICM" + b"\1" * 9)):
        (tmp_path / name).write_bytes(content)
        assert f"{name} is " in str(check_header(tmp_path / name))
    assert "No such file" in str(check_header(tmp_path / "gone.dcm"))
    mislabelled = film(tmp_path / "film.dcm").rename(tmp_path / "film.png")
    with pytest.raises(
        UserError, match=r"film.png is a DICOM file in spite of its suffix: rename it to .dcm"
    ):
        read_rgb(mislabelled, enough=8)


def test_a_file_without_a_known_suffix_is_known_by_its_first_bytes(tmp_path):
    assert shown(film(tmp_path / "1.2.840.10008").rename(tmp_path / "IM0001"))[0, 0] == 0


def test_names_and_private_headers_are_not_even_read(tmp_path, caplog, recwarn):
    path = film(tmp_path / "film.dcm", PatientBirthDate="not a date", WindowCenter=9, WindowWidth=99)
    with caplog.at_level(logging.DEBUG):
        image = read_rgb(path, enough=8)
        check_header(path)
    header = dicom._header(path, pixels=True)
    assert {element.keyword for element in header} <= {*dicom.TAGS, "SpecificCharacterSet"}
    assert not image.info and not image.getexif()
    assert "anary" not in caplog.text + str(header) + str([w.message for w in recwarn])


def test_without_pydicom_the_message_says_what_to_install(tmp_path, monkeypatch):
    path = film(tmp_path / "film.dcm")
    monkeypatch.setattr(dicom, "find_spec", lambda name: None if name == "pydicom" else util.find_spec(name))
    real = builtins.__import__

    def refuse(name, *rest, **more):
        assert not name.startswith("pydicom")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(UserError, match=r"pip install 'latentpath\[dicom\]'"):
        read_rgb(path, enough=8)


@pytest.fixture
def ten(tmp_path):
    """Ten films that a table names: seven that can be read, three that cannot."""
    cases = ["plain 12 bits", "MONOCHROME1", "16 bits", "window", "sigmoid window"]
    cases += ["rescaled, then a window", "a table of values of interest"]
    files = [CASES[case][0] for case in cases] + [REFUSED[case][0] for case in list(REFUSED)[:3]]
    (tmp_path / "films").mkdir()
    rows = ["file,patient,device"]
    for k, elements in enumerate(files):
        film(tmp_path / "films" / f"{k}.dcm", **elements)
        rows.append(f"{k}.dcm,p{k},{k % 2}")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    return tmp_path


@pytest.fixture
def cfg(compose, ten):
    return lambda command, *words: compose(
        command,
        "dataset=image_table",
        f"dataset.root={ten}",
        "dataset.table.path_column=file",
        "dataset.table.images_dir=films",
        "dataset.table.group_column=patient",
        "dataset.attributes=[device]",
        *words,
    )


def test_a_table_names_films_and_info_names_those_that_cannot_be_read(cfg, ten, capsys):
    info.run(cfg("info"), ten)
    printed = capsys.readouterr().out.replace("\n", "")
    assert "10 images, 10 groups" in printed
    assert "10 of 10 images opened: 2 cannot be read" in printed  # headers show that: frames and palette
    assert "holds 3 frames" in printed and "PALETTE COLOR" in printed and CANARY not in printed


def test_a_table_of_films_without_pydicom_stops_before_any_file_is_opened(cfg, ten, monkeypatch):
    monkeypatch.setattr(dicom, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"0.dcm is a DICOM file, and pydicom.*pip install"):
        load_dataset(cfg("info").dataset)


def test_a_film_counts_only_where_there_is_no_other_picture(cfg, ten):
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(ten / "films" / "3.png")
    (ten / "labels.csv").write_text("file,patient,device\n3.jpg,p3,1\n4,p4,0\n")
    rows = load_dataset(cfg("info").dataset).rows
    assert [path.rsplit("/", 1)[1] for path in rows["path"]] == ["3.png", "4.dcm"]


@pytest.fixture
def films_of_patients(tmp_path):
    """A table of every case that can be read, four patients each, and of one that cannot."""
    (tmp_path / "films").mkdir()
    rows = ["file,patient,device"]
    cases = [*CASES.values()] * 4 + [REFUSED["several frames"]]
    for k, (elements, _) in enumerate(cases):
        film(tmp_path / "films" / f"{k}.dcm", **elements)
        rows.append(f"{k}.dcm,p{k},{k % 2}")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    return tmp_path


def test_films_go_through_all_stages(compose, films_of_patients, tiny_sd, tmp_path, caplog):
    cfg = compose(
        "run",
        "name=films",
        "dataset=image_table",
        f"output_dir={tmp_path / 'outputs'}",
        f"dataset.root={films_of_patients}",
        "dataset.table.path_column=file",
        "dataset.table.images_dir=films",
        "dataset.table.group_column=patient",
        "dataset.attributes=[device]",
        "dataset.image_size=32",
        f"model.name={tiny_sd}",
        "classifier=efficientnet_tiny",
        "classifier.epochs=1",
        "classifier.batch_size=8",
        "finetune.max_steps=1",
        "finetune.batch_size=4",
        "timesteps.num_inference_steps=4",
        "timesteps.swap_steps=[0,2]",
        "sampler.seeds=2",
        "metric.lpips=[]",
        "metric.tsne=false",
        "metric.compare_base=false",
        "metric.resamples=50",
        "metric.frames=2",
    )
    folder = tmp_path / "outputs" / "films"
    run.run(cfg, folder)
    manifest = json.loads((folder / "classify" / "manifest.json").read_text())
    assert sum(manifest["figures"]["images"].values()) == 4 * len(CASES)
    assert (folder / "evaluate" / "figures.parquet").is_file()
    assert "holds 3 frames" in caplog.text
    assert "anary" not in caplog.text
    for file in folder.rglob("*"):
        assert not file.is_file() or b"anary" not in file.read_bytes(), file
