"""What several tests of data need: the smallest image, under any name."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image


@pytest.fixture(scope="session")
def png() -> bytes:
    """A grey PNG of 4 x 4 pixels; its name does not matter to readers."""
    content = io.BytesIO()
    Image.new("L", (4, 4), 128).save(content, "png")
    return content.getvalue()


@pytest.fixture
def draw(png):
    """`draw(folder, *names)` puts the smallest image under each name; returns the folder."""

    def put(folder: Path, *names: str) -> Path:
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(png)
        return folder

    return put
