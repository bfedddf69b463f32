"""Writes synthetic radiographs as DICOM files, with names and headers that must never leave them."""

from __future__ import annotations

import gdcm
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

CANARY = "Canary^Patient"
RAMP = np.arange(64 * 64).reshape(64, 64)  # 0..4095


def film(path, pixels=RAMP, *, bits=12, syntax="", **elements):
    """Write a synthetic radiograph with names, a private header, and the given elements."""
    pixels = np.asarray(pixels)
    signed = bool(pixels.min() < 0)
    stored = pixels.astype({8: "u1", 16: "i2" if signed else "u2"}[8 if bits <= 8 else 16])
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[str(path)])
    data = Dataset()
    data.file_meta = meta
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.PatientName, data.PatientID, data.Modality = CANARY, "canary-id", "DX"
    data.private_block(0x0009, "CANARY", create=True).add_new(0x01, "LO", CANARY)
    data.Rows, data.Columns = pixels.shape[-2:] if pixels.ndim < 4 else pixels.shape[1:3]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit = stored.dtype.itemsize * 8, bits, bits - 1
    data.PixelRepresentation = int(signed)
    data.PixelData = stored.tobytes()
    for name, value in elements.items():
        setattr(data, name, value)
    data.save_as(path, enforce_file_format=True)
    if syntax:
        compress(path, syntax)
    return path


def compress(path, syntax):
    """Write the file again, compressed by GDCM, which has encoders for everything that it decodes."""
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(path))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()


def table(values, *, first=0, bits):
    """A lookup table: entry k is the output for the input first + k."""
    item = Dataset()
    item.LUTDescriptor = [len(values) if len(values) < 65536 else 0, first, bits]
    item.add_new("LUTData", "OW", np.asarray(values, "<u2").tobytes())
    return [item]
