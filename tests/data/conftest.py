"""Shared fixtures of the data tests: the smallest image, and the number of examples to try."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from PIL import Image

# The same few examples everywhere; LATENTPATH_EXAMPLES=5000 tries so many, other ones each time.
MANY = os.environ.get("LATENTPATH_EXAMPLES")
settings.register_profile(
    "latentpath",
    max_examples=int(MANY or 60),
    derandomize=MANY is None,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("latentpath")


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
