"""Reads the picture of a DICOM file as 8-bit grey or colour, and nothing else of the file.

The values go through the three steps of DICOM PS3.3, in this order:

    modality    stored value -> value with a meaning (rescale slope and intercept, or a table)
    VOI         value -> brightness in [0, 1] (values of interest: a table, or a window)
    polarity    MONOCHROME1 shows small values bright, MONOCHROME2 large ones

Only the elements in `TAGS` are read from the file: names, dates and private headers never enter the process.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from latentpath.data.source import Source, first_bytes, readable, suffix_of
from latentpath.errors import UserError

if TYPE_CHECKING:
    from pydicom import Dataset

SUFFIXES = (".dcm", ".dicom")
TAGS = (
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "NumberOfFrames",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "RescaleSlope",
    "RescaleIntercept",
    "ModalityLUTSequence",
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
    "VOILUTSequence",
    "PixelData",
)
GREY = ("MONOCHROME1", "MONOCHROME2")
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")


def is_dicom(path: Source) -> bool:
    """Return whether the file's suffix or its first bytes say that it is a DICOM file."""
    if suffix_of(path) in SUFFIXES:
        return True
    try:
        return first_bytes(path, 132)[128:] == b"DICM"
    except OSError:
        return False


def require_pydicom(path: Source) -> None:
    """Raise UserError, which names the file and what to install, if DICOM files cannot be read here."""
    if find_spec("pydicom") is None:
        raise UserError(
            f"{path} is a DICOM file, and pydicom, which reads those, is not installed. Install it with "
            "`pip install 'latentpath[dicom]'`, or convert the files to PNG"
        )


def check_header(path: Source) -> None:
    """Read the header only. Raises UserError if the file is not one picture of a known kind."""
    _header(path, pixels=False)


def read(path: Source) -> Image.Image:
    """Read the picture, (rows, columns) in mode L or RGB, in the range and polarity in which it is shown.

    Raises UserError if the file is damaged, holds several frames, or does not say what is black and white.
    """
    header = _header(path, pixels=True)
    values = _pixels(header, path)
    if header.PhotometricInterpretation in COLOUR:
        if values.dtype != np.uint8:
            raise UserError(f"{path}: colour of {values.dtype.itemsize * 8} bits a channel, expected 8 bits")
        return Image.fromarray(values)
    brightness = _brightness(values, header, path)
    if header.PhotometricInterpretation == "MONOCHROME1":
        brightness = 1 - brightness
    return Image.fromarray((255 * brightness).round().astype(np.uint8))


def window(values: np.ndarray, center: float, width: float, function: str = "LINEAR") -> np.ndarray:
    """Map values to brightness in [0, 1] by a window, as DICOM PS3.3 C.11.2.1.2 and C.11.2.1.3 define it:

        LINEAR         (x - (center - 0.5)) / (width - 1) + 0.5, clipped; width >= 1
        LINEAR_EXACT   (x - center) / width + 0.5, clipped; width > 0
        SIGMOID        1 / (1 + exp(-4 (x - center) / width)); width > 0

    Raises ValueError for another function and for a width that is too small.
    """
    x = values.astype(np.float64)
    if width < 1 if function == "LINEAR" else width <= 0:
        raise ValueError(f"the window has a width of {width:g}")
    if function == "LINEAR":
        if width == 1:  # a step
            return (x > center - 0.5).astype(np.float64)
        return np.clip((x - (center - 0.5)) / (width - 1) + 0.5, 0, 1)
    if function == "LINEAR_EXACT":
        return np.clip((x - center) / width + 0.5, 0, 1)
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (x - center) / width, -500, 500)))
    raise ValueError(f"the window's function is {function!r}, expected LINEAR, LINEAR_EXACT or SIGMOID")


def look_up(values: np.ndarray, table: Dataset) -> tuple[np.ndarray, tuple[float, float]]:
    """Map values by a table, and return them with the smallest and largest value of its bits.

    LUTDescriptor is (number of entries, 0 for 65536; the value that entry 0 is for; bits of an entry). Values
    beyond the table take its nearest entry (DICOM PS3.3 C.11.2.1.1).
    """
    count, first, bits = table.LUTDescriptor
    data = table.LUTData  # words as bytes, or numbers
    entries = np.frombuffer(data, "<u2") if isinstance(data, bytes) else np.asarray(data)
    index = np.clip(np.rint(values).astype(np.int64) - first, 0, (count or 65536) - 1)
    return entries[index], (0, 2**bits - 1)


def _header(path: Source, *, pixels: bool) -> Dataset:
    """Read the elements in TAGS. Raises UserError unless they describe one picture of a known kind."""
    require_pydicom(path)
    import pydicom
    from pydicom.config import IGNORE, settings

    # Otherwise pydicom warns of odd elements by showing their values, such as the name of a patient.
    settings.reading_validation_mode = IGNORE
    try:
        header = pydicom.dcmread(readable(path), stop_before_pixels=not pixels, specific_tags=list(TAGS))
    except OSError as error:
        raise UserError(f"cannot read the image {path}: {error.strerror}") from None
    except Exception as error:  # the message may quote an element of the file
        raise UserError(f"{path} is not a DICOM file, or is damaged ({type(error).__name__})") from None
    kind, frames = header.get("PhotometricInterpretation"), int(header.get("NumberOfFrames") or 1)
    if not header.get("Rows") or not header.get("Columns") or (pixels and "PixelData" not in header):
        raise UserError(f"{path} is a DICOM file without a picture, such as a report or a structure set")
    if frames > 1:
        raise UserError(f"{path} holds {frames} frames; save each as a file of its own")
    if kind not in (*GREY, *COLOUR):
        raise UserError(
            f"{path}: its PhotometricInterpretation is {kind}, expected {', '.join(GREY)} or one "
            f"of {', '.join(COLOUR)}. Convert it to PNG"
        )
    return header


def _pixels(header: Dataset, path: Source) -> np.ndarray:
    """Decode the stored values: (rows, columns), or (rows, columns, 3) in RGB."""
    from pydicom.pixels import pixel_array
    from pydicom.uid import UID, ExplicitVRLittleEndian

    try:
        return pixel_array(header)
    except Exception as error:  # decoders raise nearly anything
        syntax = UID(header.file_meta.get("TransferSyntaxUID", ExplicitVRLittleEndian))
        if syntax.is_compressed:
            raise UserError(
                f"{path}: its pixels, compressed as {syntax.name}, cannot be decoded "
                f"({type(error).__name__}). If other files of this kind cannot be read either, "
                "`pip install 'latentpath[dicom]'` brings decoders for JPEG, JPEG-LS, JPEG 2000 and RLE"
            ) from None
        raise UserError(f"{path} is damaged: its pixels cannot be read ({type(error).__name__})") from None


def _brightness(values: np.ndarray, header: Dataset, path: Source) -> np.ndarray:
    """Return the brightness (rows, columns) in [0, 1] of stored values, before polarity."""
    try:
        low, high = _stored_ends(header)
        if header.get("ModalityLUTSequence"):
            values, (low, high) = look_up(values, header.ModalityLUTSequence[0])
        elif header.get("RescaleSlope") is not None and header.get("RescaleIntercept") is not None:
            slope, intercept = float(header.RescaleSlope), float(header.RescaleIntercept)
            values = values * slope + intercept
            low, high = sorted((low * slope + intercept, high * slope + intercept))
        centers, widths = _numbers(header.get("WindowCenter")), _numbers(header.get("WindowWidth"))
        if header.get("VOILUTSequence"):
            values, (low, high) = look_up(values, header.VOILUTSequence[0])
        elif centers and widths:  # of several windows the first is the default
            return window(values, centers[0], widths[0], header.get("VOILUTFunction") or "LINEAR")
    except Exception as error:  # elements that are missing or of no known form
        raise UserError(f"{path}: its grey values cannot be mapped ({error})") from None
    if low < 0:
        raise UserError(
            f"{path} has neither a window nor a table of values of interest, and its values may reach from "
            f"{low:g} to {high:g}: what is black and white is not known. Map the window that is to be seen "
            "(for CT a level and width in Hounsfield units) to 8 or 16 bits"
        )
    return np.clip((values - low) / (high - low), 0, 1)


def _stored_ends(header: Dataset) -> tuple[float, float]:
    """Return the smallest and the largest value that the stored bits can hold."""
    bits = header.BitsStored
    return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if header.PixelRepresentation else (0, 2**bits - 1)


def _numbers(value: Any) -> list[float]:  # Any: nothing, a number or several, as pydicom gives it
    """Return the values of an element as a list, which is empty if the element is missing or blank."""
    if value is None or value == "":
        return []
    return np.atleast_1d(np.asarray(value, np.float64)).tolist()
