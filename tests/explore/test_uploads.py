"""Images of the user in the explorer: inverted as a sweep inverts them, edited, and never on a disk."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from films import film
from latentpath.data.images import read_image
from latentpath.diffusion.autoencoder import decode, encode
from latentpath.errors import UserError
from latentpath.explore.explorer import Choice

N = 6
GUIDED = 2  # rows of the U-Net for a step with guidance
OPENED: list[str] = []  # files that this process opened to write


@pytest.fixture
def photograph(isic_32) -> Path:
    return sorted(isic_32.rglob("*.jpg"))[0]


@pytest.fixture
def token(explorer, photograph) -> str:
    return explorer.uploads.add(photograph.name, photograph.read_bytes())


@pytest.mark.parametrize(
    "edit",
    [
        Choice("NV", "hair", "swap", 1, 0),
        Choice("NV", "ink", "swap", 1, 4),
        Choice("NV", "ink", "contrast", 1, 2),
        Choice("NV", "ink", "hspace", 1, 2),
        Choice("NV", "hair", "swap", 1, N),
    ],
    ids=["strongest", "weak", "contrast", "hspace", "none"],
)
def test_an_upload_is_edited_as_the_sweep_edits_a_real_image(explorer, real, stored, edit):
    originals = pd.read_parquet(real / "traverse" / "originals.parquet")
    path = Path(originals.query("`class` == 'NV' and seed == 1")["path"].item())
    token = explorer.uploads.add(path.name, path.read_bytes())
    key = {"method": edit.method, "swap_step": edit.swap_step, "attribute": edit.attribute}
    expected = stored(
        real, **{"class": "NV", "seed": 1}, **(key if edit.swap_step < N else {"method": "neutral"})
    )
    _, found, _ = explorer.sample(Choice(**(vars(edit) | {"upload": token})))
    torch.testing.assert_close(found[0], expected, atol=4e-3, rtol=4e-3)  # shards are in half precision


@pytest.mark.parametrize("method", ["swap", "removal"])
def test_the_unedited_image_is_the_upload_after_the_vae(explorer, token, method):
    edit = explorer.edit(Choice("NV", "hair", method, swap_step=N, upload=token))
    whole = decode(explorer.vae, explorer.uploads[token][None])[0]
    torch.testing.assert_close(edit.origin, whole, atol=1e-3, rtol=1e-3)
    assert torch.equal(edit.origin, edit.image)


def test_every_method_that_is_offered_edits_an_upload(explorer, token):
    with pytest.raises(UserError, match="sdedit adds fresh noise"):
        explorer.edit(Choice("NV", "hair", "sdedit", swap_step=1, upload=token))
    for name in set(explorer.methods) - {"sdedit"}:
        dial = 0.0 if name.startswith("masked") else None  # this model's captions may disagree nowhere
        edit = explorer.edit(Choice("NV", "hair", name, swap_step=1, dial=dial, upload=token))
        assert not torch.equal(edit.origin, edit.image), name


def test_an_upload_is_inverted_once(explorer, token):
    first, *moves = (
        explorer.edit(Choice("NV", "hair", swap_step=step, upload=token)).rows / GUIDED for step in (N, 4, 1)
    )
    assert first == 2 * N  # the inversion, and the trunk
    assert moves == [2, N - 1]


@pytest.mark.parametrize("kind", ["png", "jpeg", "dcm"])
def test_a_file_is_read_as_the_data_set_reads_it(explorer, photograph, tmp_path, kind):
    image, path = Image.open(photograph).convert("L"), tmp_path / f"film.{kind}"
    if kind == "dcm":
        film(path, np.asarray(image), bits=8, PhotometricInterpretation="MONOCHROME1")
    else:
        image.save(path)
    token = explorer.uploads.add(path.name, path.read_bytes())
    expected = encode(explorer.vae, read_image(path, explorer.uploads.spec)[None])[0]
    assert torch.equal(explorer.uploads[token], expected)


def test_an_upload_is_written_nowhere(explorer, photograph):
    sys.addaudithook(_note)
    content = photograph.read_bytes()
    OPENED.clear()
    token = explorer.uploads.add("mine.jpg", content)
    explorer.edit(Choice("NV", "hair", swap_step=3, upload=token))
    assert OPENED == []
    (photograph.parent / "seen").write_bytes(b"")
    assert len(OPENED) == 1  # the hook sees writing


def _note(event, arguments):
    if event == "open" and any(letter in str(arguments[1]) for letter in "wax+"):
        OPENED.append(str(arguments[0]))


def test_an_upload_is_known_to_its_uploader_only_and_expires(explorer, photograph, monkeypatch):
    monkeypatch.setattr("latentpath.explore.uploads.KEPT", 2)
    tokens = [explorer.uploads.add("mine.jpg", photograph.read_bytes()) for _ in range(3)]
    assert len(set(tokens)) == 3 and min(map(len, tokens)) > 20  # nobody guesses those of others
    explorer.edit(Choice("NV", "hair", swap_step=N, upload=tokens[2]))
    for lost in (tokens[0], "guessed"):
        with pytest.raises(UserError, match="no longer has your image: upload it again"):
            explorer.edit(Choice("NV", "hair", upload=lost))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mine.png", r"cannot read the image mine\.png: its content is not that of an image"),
        ("film.dcm", r"film\.dcm is not a DICOM file, or is damaged"),
        ("", "its content is not that of an image"),
    ],
)
def test_what_is_no_image_is_refused_by_name(explorer, name, words):
    with pytest.raises(UserError, match=words):
        explorer.uploads.add(name, b"no picture")
