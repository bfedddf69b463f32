"""Runs all stages once for the code of the pages."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def work(once) -> Path:
    """A folder as the pages expect it: the tiny run outputs/demo, and trees of public data sets."""
    import build
    import trees

    def make(folder: Path) -> None:
        folder.mkdir()
        build.tiny_run(folder)
        trees.draw(folder)

    return once("docs_work", make)
