"""`info` opens the images and reports unreadable ones before anything is trained."""

from __future__ import annotations

import pytest
from PIL import Image

from latentpath.commands import info
from latentpath.errors import UserError


@pytest.fixture
def root(tmp_path):
    rows = ["image,patient,hair"]
    for k in range(40):
        Image.new("L", (4, 4), k).save(tmp_path / f"{k}.png")
        rows.append(f"{k}.png,p{k // 2},{k % 2}")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    return tmp_path


@pytest.fixture
def cfg(compose, root):
    return lambda *words: compose(
        "info",
        "dataset=image_table",
        f"dataset.root={root}",
        "dataset.table.images_dir=.",
        "dataset.table.group_column=patient",
        "dataset.attributes=[hair]",
        *words,
    )


def test_good_images_are_all_opened(cfg, root, capsys):
    info.run(cfg(), root)
    printed = capsys.readouterr().out
    assert "40 images, 20 groups" in printed
    assert "40 of 40 images opened: 0 cannot be read" in printed


def test_images_that_cannot_be_read_are_counted_and_named_or_stop_it(cfg, root, capsys):
    for k in (7, 20):
        (root / f"{k}.png").write_bytes(b"no image")
    info.run(cfg(), root)
    printed = capsys.readouterr().out.replace("\n", "")
    assert "40 of 40 images opened: 2 cannot be read" in printed
    assert f"cannot read the image {root / '7.png'}" in printed
    with pytest.raises(UserError, match=r"unreadable image: 2 in"):
        info.run(cfg("dataset.on_error=fail"), root)


def test_a_part_of_many_images_is_opened_and_said_so(cfg, root, capsys, monkeypatch):
    monkeypatch.setattr(info, "OPENED", 10)
    info.run(cfg(), root)
    assert "10 of 40 images opened: 0 cannot be read" in capsys.readouterr().out


def test_no_readable_image_is_one_sentence(cfg, root):
    for file in root.glob("*.png"):
        file.write_bytes(b"\0" * 128 + b"DICM")
    with pytest.raises(UserError, match=r"none of \d+ images.*is a DICOM file in spite of its suffix"):
        info.run(cfg(), root)


def test_unknown_is_not_counted_as_absent(cfg, root, capsys):
    """Of 40 images 20 show hair; 10 of the others are known to be free of it, 10 are not known."""
    lines = (root / "labels.csv").read_text().splitlines()
    unknown = [line[:-1] if k % 4 == 0 else line for k, line in enumerate(lines[1:])]
    (root / "labels.csv").write_text("\n".join([lines[0], *unknown]))
    info.run(cfg("dataset.val_fraction=0", "dataset.test_fraction=0"), root)
    counts, _, captions = capsys.readouterr().out.partition("captions")
    told = {
        words[0]: words[1]
        for words in ([w.strip() for w in line.strip("│ \n").split("│")] for line in counts.splitlines())
        if len(words) == 2
    }
    assert (told["hair"], told["none of these"], told["not known whether any"]) == (
        "20 / 0 / 0",
        "10 / 0 / 0",
        "10 / 0 / 0",
    )
    assert "10 │" in captions and "20 │" in captions and "30 │" not in captions
