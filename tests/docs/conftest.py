"""Runs all stages once for the code of the pages."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def work(once) -> Path:
    """A folder with all that the code of the pages reads."""
    import build

    def make(folder: Path) -> None:
        folder.mkdir()
        build.prepare(folder)

    return once("docs_work", make)
