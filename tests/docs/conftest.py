"""Makes the scripts of docs/site importable, and runs all stages once for the code of the pages."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "docs" / "site"))


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
