import logging

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from latentpath.data.images import load_images, read_image
from latentpath.errors import UserError

RED = (200, 40, 90)


def saved(path, image, **kwargs):
    image.save(path, **kwargs)
    return path


def test_range_shape_and_dtype(tmp_path):
    image = read_image(
        saved(tmp_path / "a.png", Image.new("RGB", (30, 20), (0, 255, 51))), size=8, resize="squash"
    )
    assert image.shape == (3, 8, 8) and image.dtype == torch.float32
    assert image[:, 4, 4].tolist() == pytest.approx([-1, 1, 51 / 127.5 - 1])


def test_squash_is_lanczos_without_aspect_and_crop_takes_the_central_square(tmp_path):
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 20:40] = 255
    file = saved(tmp_path / "wide.png", Image.fromarray(wide))
    expected = Image.fromarray(wide).resize((16, 16), Image.Resampling.LANCZOS)
    squashed = read_image(file, size=16, resize="squash")
    assert torch.allclose(
        squashed, torch.from_numpy(np.asarray(expected) / 127.5 - 1).float().permute(2, 0, 1)
    )
    assert (squashed[:, :, 0] == -1).all()
    assert (read_image(file, size=16, resize="crop") == 1).all()


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "RGBA", "LA", "1"])
def test_colour_modes_end_as_the_same_rgb(tmp_path, mode):
    name = "a.jpg" if mode in ("L", "CMYK") else "a.png"
    image = Image.new("RGB", (16, 16), RED).convert(mode)
    expected = np.asarray(image.convert("RGB").resize((8, 8), Image.Resampling.LANCZOS)) / 127.5 - 1
    got = read_image(saved(tmp_path / name, image), size=8, resize="squash").permute(1, 2, 0)
    assert np.abs(got.numpy() - expected).max() < 0.05


def test_a_transparent_palette_is_read_without_a_warning(tmp_path, recwarn):
    image = Image.new("P", (8, 8), 0)
    image.putpalette([*RED, 0, 0, 0])
    file = saved(tmp_path / "a.png", image, transparency=b"\xff\x00")
    assert read_image(file, size=8, resize="crop")[:, 0, 0].tolist() == pytest.approx(
        [c / 127.5 - 1 for c in RED]
    )
    assert len(recwarn) == 0


def test_16_bit_grey_is_scaled_not_clipped(tmp_path):
    file = saved(tmp_path / "a.png", Image.fromarray(np.full((8, 8), 0x8000, np.uint16)))
    assert read_image(file, size=8, resize="squash").mean().item() == pytest.approx(0, abs=0.01)


def test_exif_orientation_is_applied(tmp_path):
    image = Image.new("RGB", (32, 16))
    image.paste((255, 255, 255), (0, 0, 16, 16))  # left half white
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees clockwise: white is then on top
    turned = read_image(saved(tmp_path / "a.jpg", image, exif=exif, quality=95), size=16, resize="squash")
    assert turned[:, 2].mean() > 0.9 and turned[:, 13].mean() < -0.9


def test_a_large_jpeg_read_at_a_fraction_is_nearly_the_whole_one_resized(tmp_path):
    y, x = np.mgrid[:1024, :1024] / 1024
    image = Image.fromarray(
        (127 + 120 * np.stack([np.sin(9 * x), np.cos(7 * y), x - y], -1)).astype(np.uint8)
    )
    got = read_image(saved(tmp_path / "a.jpg", image, quality=95), size=64, resize="squash")
    whole = np.asarray(image.resize((64, 64), Image.Resampling.LANCZOS)).transpose(2, 0, 1) / 127.5 - 1
    assert np.abs(got.numpy() - whole).mean() < 0.01


@pytest.mark.parametrize("content", [b"", b"not an image", b"truncated"])
def test_an_unreadable_file_is_named(tmp_path, content):
    file = saved(tmp_path / "broken.jpg", Image.effect_noise((64, 64), 50))
    file.write_bytes(file.read_bytes()[:700] if content == b"truncated" else content)
    with pytest.raises(UserError, match=r"cannot read the image .*broken\.jpg"):
        read_image(file, size=8, resize="squash")


def test_an_unknown_resize_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"dataset.resize is 'squish'. Did you mean 'squash'"):
        read_image(saved(tmp_path / "a.png", Image.new("L", (8, 8))), size=8, resize="squish")


@pytest.fixture
def rows(tmp_path):
    paths = [str(saved(tmp_path / f"{i}.png", Image.new("L", (8, 8), 20 * i))) for i in range(6)]
    (tmp_path / "1.png").write_bytes(b"broken")
    (tmp_path / "4.png").unlink()
    return pd.DataFrame({"path": paths}, index=range(10, 16))


@pytest.mark.parametrize("mapped", [False, True])
def test_many_images_in_order_without_the_unreadable(rows, tmp_path, mapped, caplog):
    out = tmp_path / "cache" / "images.npy" if mapped else None
    with caplog.at_level(logging.WARNING):
        images, kept = load_images(rows, size=4, resize="squash", on_error="skip", workers=3, out=out)
    assert (
        images.shape == (4, 3, 4, 4) and images.dtype == np.uint8 and isinstance(images, np.memmap) == mapped
    )
    assert kept.tolist() == [0, 2, 3, 5] and images[:, 0, 0, 0].tolist() == [0, 40, 60, 100]
    (record,) = caplog.records
    assert "unreadable image: 2 in" in record.getMessage() and "1.png" in record.getMessage()


def test_fail_lists_every_unreadable_image(rows):
    with pytest.raises(UserError) as caught:
        load_images(rows, size=4, resize="squash", on_error="fail")
    assert "1.png" in str(caught.value) and "4.png" in str(caught.value)


def test_no_images_at_all(rows):
    images, kept = load_images(rows[:0], size=4, resize="squash")
    assert images.shape == (0, 3, 4, 4) and len(kept) == 0
