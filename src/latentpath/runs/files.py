"""Every file that a run writes: whole or not at all, and named when it cannot be written or read."""

from __future__ import annotations

import json
import os
from io import BytesIO
from pathlib import Path
from socket import gethostname
from typing import TYPE_CHECKING, Any

from latentpath.errors import UserError

if TYPE_CHECKING:
    import pandas as pd


def write_whole(path: Path, content: bytes) -> None:
    """Write `content` to `path` through a synced temporary file beside it, then rename.

    A reader sees the old file or the new one, never half of one. Folders are made where they are missing.
    Raises UserError, and leaves no temporary file, when the disk is full or the folder cannot be written to.
    """
    temporary = path.with_name(f".{path.name}.{gethostname()}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UserError(
            f"{path} cannot be written: {error.strerror}. What was finished before stays; "
            "make room and run the same command again."
        ) from None


def write_json(path: Path, content: Any) -> None:
    """Write `content` as indented JSON. Raises ValueError for numbers that are not finite."""
    write_whole(path, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())


def write_parquet(path: Path, table: pd.DataFrame) -> None:
    """Write `table` as parquet, without its index."""
    content = BytesIO()
    table.to_parquet(content, index=False)
    write_whole(path, content.getvalue())


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises UserError that names the file when it is missing or damaged."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{path} is missing. Delete {path.parent} and run its stage again.") from None
    except ValueError as error:
        raise UserError(
            f"{path} is not valid JSON ({error}). Delete {path.parent} and run its stage again."
        ) from None
