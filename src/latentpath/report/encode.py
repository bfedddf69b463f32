"""Encodes images as data URIs without metadata: small images exactly, large images reduced."""

from base64 import b64encode
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageChops, ImageOps

from latentpath.runs.files import reading

EXACT_SIDE = 96  # px; images up to this size keep every pixel
SHOWN_SIDE = 128  # px; small images are enlarged to at least this by whole factors, not by the browser
REDUCED_SIDE = 224  # px; twice the displayed size, for high-resolution screens
FULL_CHANGE = 128  # of 255: a change of half the range is black


def open_picture(file: Path) -> Image.Image:
    """Read a stored image as L or RGB, pixels only, without metadata. Raises UserError if it is damaged."""
    with reading(file), Image.open(file) as opened:
        return opened.convert("L" if opened.mode in ("L", "1") else "RGB")


def change_picture(file: Path, against: Path) -> Image.Image:
    """Return each pixel's largest change in any channel, as L: white is 0, black half the range or more."""
    edited, neutral = open_picture(file), open_picture(against)
    if edited.size != neutral.size or edited.mode != neutral.mode:
        edited = edited.convert(neutral.mode).resize(neutral.size)
    bands = ImageChops.difference(edited, neutral).split()
    largest = bands[0]
    for band in bands[1:]:
        largest = ImageChops.lighter(largest, band)
    return largest.point([255 - min(255 * value // FULL_CHANGE, 255) for value in range(256)])


def data_uri(file: Path, against: Path | None = None, inverted: bool = False) -> str:
    """Return the data URI of an image, of its change against another image, or of its negative."""
    image = open_picture(file) if against is None else change_picture(file, against)
    image = ImageOps.invert(image) if inverted else image
    side = max(image.size)
    data = BytesIO()
    if side <= EXACT_SIDE:
        factor = -(-SHOWN_SIDE // side)
        image = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
        # Smaller than PNG, and 100 times as fast.
        image.save(data, "WEBP", lossless=True, method=0, quality=20)
        kind = "webp"
    else:
        image.thumbnail((REDUCED_SIDE, REDUCED_SIDE), Image.Resampling.LANCZOS)
        image.save(data, "JPEG", quality=85, optimize=True)
        kind = "jpeg"
    return f"data:image/{kind};base64,{b64encode(data.getvalue()).decode()}"
