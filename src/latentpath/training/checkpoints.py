"""Checkpoints of a training: written whole or not at all, and never resumed from if a byte has changed."""

from __future__ import annotations

import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from latentpath.errors import UserError
from latentpath.runs.files import replacing


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint under a temporary name beside it, syncs it to the disk and renames it.

    Lightning builds it in memory and again in the system's folder for temporary files, where a kill leaves
    gigabytes that nobody removes, and then copies it to its place, where a kill leaves half of it.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        with replacing(Path(path)) as temporary, temporary.open("wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())


def newest_checkpoint(folder: Path) -> Path | None:
    """Return the newest whole checkpoint in `folder`, or None if there is none.

    Where last.ckpt is a link to the newest, it is the one that is returned: Lightning would keep forever the
    file that it was told to resume from. A kill can also leave a link to a file that has been removed.
    """
    there = [file for file in folder.glob("*.ckpt") if file.exists()]
    files = sorted(there, key=lambda file: (file.stat().st_mtime_ns, file.is_symlink()), reverse=True)
    return next((file for file in files if is_whole(file)), None)


def is_whole(checkpoint: Path) -> bool:
    """Return whether the checkpoint is there and each part of it has its checksum; this reads the file."""
    try:
        with zipfile.ZipFile(checkpoint) as parts:
            return parts.testzip() is None
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError):
        return False


def read_checkpoint(file: Path) -> dict[str, Any]:
    """Read a checkpoint to the CPU without executing pickles. Raises UserError if it is damaged."""
    if not is_whole(file):
        raise UserError(
            f"{file} is missing or damaged. Delete {file.parent} and run the same command again: this stage "
            "is trained anew."
        )
    return torch.load(file, map_location="cpu", weights_only=True)
