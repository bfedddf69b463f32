"""Reads and writes NumPy arrays, whole, or as files that are mapped into memory and filled in place."""

from __future__ import annotations

import errno
import os
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from latentpath.runs.files import reading, write_whole, writing


def new_array(path: Path, dtype: DTypeLike, shape: tuple[int, ...]) -> np.memmap:
    """Return an empty array in a new .npy file, mapped into memory, with its bytes reserved on the disk.

    Without the reservation a full disk would end the process by SIGBUS at the first write that does not fit.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        array = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
        try:
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        except AttributeError:  # macOS and Windows have no such call
            pass
        except OSError as error:  # nor has every file system
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise
    return array


def save_array(path: Path, array: np.ndarray) -> None:
    """Write `array` as an .npy file."""
    content = BytesIO()
    np.save(content, array)
    write_whole(path, content.getvalue())


def read_array(path: Path) -> np.memmap:
    """Map the array in an .npy file into memory. Raises UserError, naming it, if it is missing or damaged."""
    with reading(path):
        return np.load(path, mmap_mode="r")
