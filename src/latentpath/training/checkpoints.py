"""Checkpoints of a training: written whole or not at all, and never resumed from if a byte has changed."""

from __future__ import annotations

import os
import pickle
import zipfile
import zlib
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from latentpath.errors import UserError
from latentpath.runs.files import replacing

KEYS = ("state_dict", "loops", "pytorch-lightning_version")  # what each checkpoint of Lightning has


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint under a temporary name beside it, syncs it to the disk and renames it.

    Lightning builds it in memory and again in the system's folder for temporary files, where a killed process
    leaves gigabytes that nobody removes. Then it copies it to its place, where a killed process leaves half.
    """

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],  # Any: what Lightning keeps in a checkpoint
        path: str | PathLike[str],
        storage_options: object = None,
    ) -> None:
        with replacing(Path(path)) as temporary, temporary.open("wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())


def newest_checkpoint(folder: Path) -> Path | None:
    """Return the newest whole checkpoint in `folder`, or None if there is none.

    If last.ckpt is a link to the newest one, the link is returned, because Lightning never removes the file
    that it resumes from. A link to a file that is gone is skipped.
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


def read_checkpoint(file: Path) -> dict[str, Any]:  # Any: what a checkpoint of Lightning holds
    """Map a checkpoint into memory, on the CPU, without executing pickles.

    Raises UserError if it is damaged, or if another program wrote it.
    """
    reason = "it is missing or damaged"
    if is_whole(file):
        try:
            content = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
            if isinstance(content, dict) and set(KEYS) <= set(content):
                return content
            reason = "it is not one of Lightning"
        except (RuntimeError, pickle.UnpicklingError, ValueError):
            reason = "it holds more than tensors and plain values, or it is not one of torch"
    raise UserError(
        f"{file} cannot be used as a checkpoint: {reason}. Delete it and run the same command again: the "
        f"training resumes from another checkpoint in {file.parent}, or starts again."
    )
