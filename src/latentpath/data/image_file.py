"""Reads an image file of any kind, colour mode and bit depth as 8-bit RGB, or checks its header only."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from latentpath.data import dicom
from latentpath.data.source import Source, readable, suffix_of
from latentpath.errors import UserError

SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp")  # besides those of DICOM
DEPTHS = (8, 10, 12, 14, 16)  # bits in use by the films and scanners whose images are saved as 16-bit grey
STACKS = ("TIFF", "GIF", "WEBP", "PNG")  # formats whose second frame is another picture, not a preview


def check_header(path: Source) -> str | None:
    """Return why the file cannot be used, or None, by reading its header only (without decoding)."""
    try:
        if _is_dicom(path):
            return dicom.check_header(path)
        with _opened(path):
            return None
    except UserError as error:
        return str(error)


def read_rgb(path: Source, *, enough: int) -> Image.Image:
    """Read an image upright as 8-bit RGB; a large JPEG is reduced to at least 2 * `enough` pixels per side.

    Raises UserError, naming the file, if it cannot be read or its values have no known range.
    """
    if _is_dicom(path):
        return dicom.read(path).convert("RGB")
    try:
        with _opened(path) as file:
            # A JPEG is decoded at 1/2, 1/4 or 1/8 if that is still twice the needed size: much faster.
            file.draft(None, (2 * enough, 2 * enough))
            decoder = str(getattr(file, "tile", ""))  # names the format of the pixels in the file
            high_bytes = ";16" in decoder and file.mode in ("RGB", "RGBA", "LA")
            image = ImageOps.exif_transpose(file)
            if high_bytes:
                _refuse_dark_colour(image)
            return _to_rgb(image)
    except UserError as error:
        text = str(error)
        raise UserError(text if str(path) in text else f"cannot read the image {path}: {text}") from None
    except Exception as error:  # damaged files make decoders raise nearly anything
        raise UserError(f"cannot read the image {path}: {error or type(error).__name__}") from error


def grey_bits(path: Source) -> int | None:
    """Return the bits in use in a grey file of more than 8 bits, or None for other and damaged files."""
    try:
        with _opened(path) as image:
            return bits_in_use(int(np.asarray(image).max())) if image.mode.startswith("I") else None
    except Exception:  # damaged, or of no known range: reading it says so
        return None


def bits_in_use(largest: int) -> int:
    """Return the smallest of `DEPTHS` that can hold the value, such as 12 for 4095."""
    return next(bits for bits in DEPTHS if largest < 2**bits)


def _opened(path: Source) -> Image.Image:
    """Open the file and read its header. Raises UserError unless it is one image with a known value range."""
    try:
        image = Image.open(readable(path))
    except Exception as error:
        if dicom.is_dicom(path):
            raise UserError(f"{path} is a DICOM file in spite of its suffix: rename it to .dcm") from None
        unknown = isinstance(error, UnidentifiedImageError)  # its own message would name the stream
        reason = "its content is not that of an image" if unknown else error or type(error).__name__
        raise UserError(f"cannot read the image {path}: {reason}") from error
    frames = getattr(image, "n_frames", 1) if image.format in STACKS else 1
    if frames > 1:
        image.close()
        raise UserError(f"{path} holds {frames} pictures; save each as a file of its own")
    return image


def _is_dicom(path: Source) -> bool:
    return suffix_of(path) not in SUFFIXES and dicom.is_dicom(path)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        return Image.fromarray(_grey_to_8_bits(np.asarray(image))).convert("RGB")
    if image.mode == "F":
        low, high = image.getextrema()
        raise UserError(
            f"floating-point pixels, here from {low:g} to {high:g}, have no known black and white; save it "
            "with 8 or 16 bits a channel"
        )
    if image.mode in ("P", "PA") and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")


def _grey_to_8_bits(values: np.ndarray) -> np.ndarray:
    """Scale integers to uint8: white is the largest number of the bits in use, such as 4095 for 12-bit data.

    A 16-bit file does not record how many of its bits the scanner used, and 12-bit data divided by 65535
    would be nearly black. Each file is scaled alone, so its pixels do not depend on other files.
    """
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535:
        raise UserError(
            f"its values reach from {low} to {high}, expected 0 to 65535. Map the window that is to be seen "
            "(for CT a level and width in Hounsfield units) to 8 or 16 bits"
        )
    white = 2 ** bits_in_use(high) - 1
    return (values / (white / 255)).round().astype(np.uint8)


def _refuse_dark_colour(image: Image.Image) -> None:
    """Raise for dark 16-bit colour: Pillow keeps the high byte only, which makes 12-bit data nearly black."""
    if (brightest := int(np.asarray(image.convert("RGB")).max())) < 64:
        raise UserError(
            f"16 bits a channel, of which the brightest pixel uses {brightest / 255:.0%}, as 12-bit data do; "
            "save it with 8 bits a channel, or as 16-bit grey"
        )
