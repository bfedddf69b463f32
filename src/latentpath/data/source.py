"""Where an image file is: on disk, or in memory under a name, as an upload is."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class InMemory:
    """The content of a file that is on no disk; its name stands in messages and may have a suffix."""

    name: str
    content: bytes

    def __str__(self) -> str:
        return self.name


Source = str | Path | InMemory


def readable(source: Source) -> str | Path | io.BytesIO:
    """Return what decoders open: the path of a file on disk, or a stream of the content in memory."""
    return io.BytesIO(source.content) if isinstance(source, InMemory) else source


def suffix_of(source: Source) -> str:
    """Return the suffix of the file's name in lower case, such as `.png`."""
    return Path(str(source)).suffix.lower()


def first_bytes(source: Source, count: int) -> bytes:
    """Return the first `count` bytes of the file. Raises OSError if it cannot be read."""
    if isinstance(source, InMemory):
        return source.content[:count]
    with open(source, "rb") as file:
        return file.read(count)
