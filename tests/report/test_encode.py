"""Pictures in the page: exact where small, and without what else their files hold."""

from base64 import b64decode
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin

from latentpath.report.encode import change_picture, data_uri


def _decoded(uri: str) -> Image.Image:
    return Image.open(BytesIO(b64decode(uri.split(",", 1)[1])))


def test_small_pictures_keep_every_pixel_and_lose_metadata(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    info = PngImagePlugin.PngInfo()
    info.add_text("PatientName", "canary")
    Image.fromarray(pixels).save(tmp_path / "a.png", pnginfo=info)
    shown = _decoded(data_uri(tmp_path / "a.png"))
    assert shown.size == (128, 128)
    np.testing.assert_array_equal(np.asarray(shown)[::2, ::2], pixels)
    assert "PatientName" not in shown.info


def test_change_is_white_where_nothing_moved(tmp_path: Path) -> None:
    before = np.full((32, 32, 3), 100, dtype=np.uint8)
    after = before.copy()
    after[:16, :, 2] = 255  # one channel is enough
    Image.fromarray(before).save(tmp_path / "before.png")
    Image.fromarray(after).save(tmp_path / "after.png")
    change = np.asarray(change_picture(tmp_path / "after.png", tmp_path / "before.png"))
    assert (change[16:] == 255).all() and (change[:16] == 0).all()
