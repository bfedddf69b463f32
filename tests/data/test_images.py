import logging
import struct
import zlib

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from latentpath.data.image_file import check_header
from latentpath.data.images import ImageSpec, load_images, read_image
from latentpath.errors import UserError

RED = (200, 40, 90)


def saved(path, image, **kwargs):
    image.save(path, **kwargs)
    return path


def test_range_shape_and_dtype(tmp_path):
    image = read_image(saved(tmp_path / "a.png", Image.new("RGB", (30, 20), (0, 255, 51))), ImageSpec(8))
    assert image.shape == (3, 8, 8) and image.dtype == torch.float32
    assert image[:, 4, 4].tolist() == pytest.approx([-1, 1, 51 / 127.5 - 1])


def test_squash_is_lanczos_without_aspect_and_crop_takes_the_central_square(tmp_path):
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 20:40] = 255
    file = saved(tmp_path / "wide.png", Image.fromarray(wide))
    expected = Image.fromarray(wide).resize((16, 16), Image.Resampling.LANCZOS)
    squashed = read_image(file, ImageSpec(16))
    assert torch.allclose(
        squashed, torch.from_numpy(np.asarray(expected) / 127.5 - 1).float().permute(2, 0, 1)
    )
    assert (squashed[:, :, 0] == -1).all()
    assert (read_image(file, ImageSpec(16, "crop")) == 1).all()


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "RGBA", "LA", "1"])
def test_colour_modes_end_as_the_same_rgb(tmp_path, mode):
    name = "a.jpg" if mode in ("L", "CMYK") else "a.png"
    image = Image.new("RGB", (16, 16), RED).convert(mode)
    expected = np.asarray(image.convert("RGB").resize((8, 8), Image.Resampling.LANCZOS)) / 127.5 - 1
    got = read_image(saved(tmp_path / name, image), ImageSpec(8)).permute(1, 2, 0)
    assert np.abs(got.numpy() - expected).max() < 0.05


def test_a_transparent_palette_is_read_without_a_warning(tmp_path, recwarn):
    image = Image.new("P", (8, 8), 0)
    image.putpalette([*RED, 0, 0, 0])
    file = saved(tmp_path / "a.png", image, transparency=b"\xff\x00")
    assert read_image(file, ImageSpec(8, "crop"))[:, 0, 0].tolist() == pytest.approx(
        [c / 127.5 - 1 for c in RED]
    )
    assert len(recwarn) == 0


@pytest.mark.parametrize(("bits", "suffix"), [(8, "png"), (10, "png"), (12, "png"), (12, "tif"), (14, "png")])
def test_films_of_fewer_bits_in_16_bit_files_use_the_whole_range(tmp_path, bits, suffix):
    film = np.linspace(0, 2**bits - 1, 64).reshape(8, 8).astype(np.uint16)
    got = read_image(saved(tmp_path / f"a.{suffix}", Image.fromarray(film)), ImageSpec(8))
    assert (got.min(), got.max()) == (-1, 1)
    np.testing.assert_allclose(got[0], 2 * film / (2**bits - 1) - 1, atol=2 / 255)


def test_full_16_bit_grey_is_scaled_not_clipped(tmp_path):
    file = saved(tmp_path / "a.png", Image.fromarray(np.full((8, 8), 0x8000, np.uint16)))
    assert read_image(file, ImageSpec(8)).mean().item() == pytest.approx(0, abs=0.01)


def test_a_dark_film_stays_dark_within_its_bits(tmp_path):
    film = np.full((8, 8), 1100, np.uint16)  # 12 bits, a quarter of the range
    got = read_image(saved(tmp_path / "a.png", Image.fromarray(film)), ImageSpec(8))
    assert got.mean().item() == pytest.approx(2 * 1100 / 4095 - 1, abs=2 / 255)


@pytest.mark.parametrize(
    ("image", "name", "words"),
    [
        (Image.fromarray(np.array([[-1024, 3071]], np.int32)), "ct.tif", "from -1024 to 3071, expected 0 to"),
        (
            Image.fromarray(np.array([[0, 70000]], np.int32)),
            "big.tif",
            "from 0 to 70000, expected 0 to 65535",
        ),
        (
            Image.fromarray(np.array([[0.0, 0.5]], np.float32)),
            "float.tif",
            "here from 0 to 0.5, have no known",
        ),
    ],
)
def test_values_of_no_known_range_are_refused_with_their_extremes(tmp_path, image, name, words):
    with pytest.raises(UserError, match=f"cannot read the image .*{name}.*{words}"):
        read_image(saved(tmp_path / name, image), ImageSpec(8))


def colour_png_of_16_bits(path, pixels):
    """Pillow writes none: (h, w, 3) uint16 in PNG's own words."""

    def chunk(kind, content):
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    h, w, _ = pixels.shape
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in pixels)
    header = struct.pack(">IIBBBBB", w, h, 16, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)
    return path


def test_16_bit_colour_is_read_unless_it_would_come_out_black(tmp_path):
    bright = colour_png_of_16_bits(tmp_path / "a.png", np.full((4, 4, 3), 0xC000, np.uint16))
    assert read_image(bright, ImageSpec(4)).mean().item() == pytest.approx(2 * 0xC0 / 255 - 1, abs=0.01)
    dark = colour_png_of_16_bits(tmp_path / "b.png", np.full((4, 4, 3), 4095, np.uint16))
    with pytest.raises(UserError, match=r"b.png: 16 bits a channel, of which the brightest pixel uses 6%"):
        read_image(dark, ImageSpec(4))


def test_a_stack_of_pictures_is_not_taken_for_its_first(tmp_path):
    frames = [Image.new("L", (8, 8), 10 * k) for k in range(3)]
    file = saved(tmp_path / "stack.tif", frames[0], save_all=True, append_images=frames[1:])
    with pytest.raises(UserError, match=r"stack.tif holds 3 pictures; save each as a file of its own"):
        read_image(file, ImageSpec(8))
    assert "holds 3 pictures" in str(check_header(file))


def test_a_look_at_the_header_finds_what_is_no_image_and_passes_what_is(tmp_path):
    assert check_header(saved(tmp_path / "a.png", Image.new("L", (8, 8)))) is None
    (tmp_path / "b.png").write_bytes(b"no image")
    assert "cannot read the image" in str(check_header(tmp_path / "b.png"))
    assert "cannot read the image" in str(check_header(tmp_path / "gone.png"))


def test_everything_that_decides_pixels_is_in_the_identity():
    specs = [ImageSpec(8), ImageSpec(9), ImageSpec(8, "crop")]
    assert len({str(spec.identity) for spec in specs}) == 3
    assert ImageSpec(8, on_error="skip").identity == ImageSpec(8, on_error="fail").identity


def test_exif_orientation_is_applied(tmp_path):
    image = Image.new("RGB", (32, 16))
    image.paste((255, 255, 255), (0, 0, 16, 16))  # left half white
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees clockwise: white is then on top
    turned = read_image(saved(tmp_path / "a.jpg", image, exif=exif, quality=95), ImageSpec(16))
    assert turned[:, 2].mean() > 0.9 and turned[:, 13].mean() < -0.9


def test_a_large_jpeg_read_at_a_fraction_is_nearly_the_whole_one_resized(tmp_path):
    y, x = np.mgrid[:1024, :1024] / 1024
    image = Image.fromarray(
        (127 + 120 * np.stack([np.sin(9 * x), np.cos(7 * y), x - y], -1)).astype(np.uint8)
    )
    got = read_image(saved(tmp_path / "a.jpg", image, quality=95), ImageSpec(64))
    whole = np.asarray(image.resize((64, 64), Image.Resampling.LANCZOS)).transpose(2, 0, 1) / 127.5 - 1
    assert np.abs(got.numpy() - whole).mean() < 0.01


@pytest.mark.parametrize("content", [b"", b"not an image", b"truncated"])
def test_an_unreadable_file_is_named(tmp_path, content):
    file = saved(tmp_path / "broken.jpg", Image.effect_noise((64, 64), 50))
    file.write_bytes(file.read_bytes()[:700] if content == b"truncated" else content)
    with pytest.raises(UserError, match=r"cannot read the image .*broken\.jpg"):
        read_image(file, ImageSpec(8))


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
        images, kept = load_images(rows, ImageSpec(4, on_error="skip"), out=out)
    assert (
        images.shape == (4, 3, 4, 4) and images.dtype == np.uint8 and isinstance(images, np.memmap) == mapped
    )
    assert kept.tolist() == [0, 2, 3, 5] and images[:, 0, 0, 0].tolist() == [0, 40, 60, 100]
    (record,) = caplog.records
    assert "unreadable image: 2 in" in record.getMessage() and "1.png" in record.getMessage()


def test_fail_lists_every_unreadable_image(rows):
    with pytest.raises(UserError) as caught:
        load_images(rows, ImageSpec(4))
    assert "1.png" in str(caught.value) and "4.png" in str(caught.value)


def test_no_images_at_all(rows):
    images, kept = load_images(rows[:0], ImageSpec(4))
    assert images.shape == (0, 3, 4, 4) and len(kept) == 0
