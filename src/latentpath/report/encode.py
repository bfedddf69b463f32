"""Pictures as data URIs: small ones to the pixel, large ones reduced, none with metadata."""

from base64 import b64encode
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageChops, ImageOps

EXACT_SIDE = 96  # px; up to here no pixel is averaged away
SHOWN_SIDE = 128  # px; small pictures are enlarged past it by whole factors, so that browsers need not guess
REDUCED_SIDE = 224  # px; twice what is shown, for dense screens
FULL_CHANGE = 128  # of 255: a change of half the range is black


def open_picture(file: Path) -> Image.Image:
    """A stored picture as L or RGB: pixels only, whatever else the file holds."""
    with Image.open(file) as opened:
        return opened.convert("L" if opened.mode in ("L", "1") else "RGB")


def change_picture(file: Path, against: Path) -> Image.Image:
    """How far each pixel moved in any channel, as L: white = not at all, black = half the range or more."""
    edited, neutral = open_picture(file), open_picture(against)
    if edited.size != neutral.size or edited.mode != neutral.mode:
        edited = edited.convert(neutral.mode).resize(neutral.size)
    bands = ImageChops.difference(edited, neutral).split()
    largest = bands[0]
    for band in bands[1:]:
        largest = ImageChops.lighter(largest, band)
    return largest.point([255 - min(255 * value // FULL_CHANGE, 255) for value in range(256)])


def data_uri(file: Path, against: Path | None = None, inverted: bool = False) -> str:
    """`data:image/...;base64,...` of a picture, of its change against another one, or of its negative."""
    image = open_picture(file) if against is None else change_picture(file, against)
    image = ImageOps.invert(image) if inverted else image
    side = max(image.size)
    data = BytesIO()
    if side <= EXACT_SIDE:
        factor = -(-SHOWN_SIDE // side)
        image = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
        image.save(
            data, "WEBP", lossless=True, method=0, quality=20
        )  # smaller than PNG, and 100 times as fast
        kind = "webp"
    else:
        image.thumbnail((REDUCED_SIDE, REDUCED_SIDE), Image.Resampling.LANCZOS)
        image.save(data, "JPEG", quality=85, optimize=True)
        kind = "jpeg"
    return f"data:image/{kind};base64,{b64encode(data.getvalue()).decode()}"
