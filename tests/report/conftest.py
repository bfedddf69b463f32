"""Made-up runs for the tests of the report."""

from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

from latentpath.report.page import write_report

SMALL = {"seeds": 3, "example_seeds": 2, "swap_steps": (5, 15, 45), "methods": ("swap", "bezier")}


def _load() -> ModuleType:
    spec = spec_from_file_location("fake_run", Path(__file__).with_name("fake_run.py"))
    assert spec and spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def fake() -> ModuleType:
    return _load()


@pytest.fixture(scope="session")
def complete_run(fake: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one run with every part; not to be changed."""
    return fake.make_fake_run(tmp_path_factory.mktemp("runs") / "demo", **SMALL)


@pytest.fixture(scope="session")
def complete_page(complete_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of `complete_run`, index.html, with its tables beside it; not to be changed."""
    return write_report(complete_run, tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="session")
def ways_run(fake: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one run with three ways of editing; not to be changed."""
    few = {"attributes": ("hair", "ink"), "swap_steps": (5, 25, 45), "methods": ("swap", "bezier")}
    return fake.make_fake_run(tmp_path_factory.mktemp("ways") / "demo", ways=("fcfg", "sega"), **few)


@pytest.fixture
def make_run(fake: ModuleType, tmp_path: Path) -> Callable[..., Path]:
    """make_run(**what differs) -> the folder of a small run named 'demo', of two attributes."""

    def make(**changes: object) -> Path:
        few = {"attributes": ("hair", "ink"), "example_seeds": 1}
        return fake.make_fake_run(tmp_path / "demo", **(SMALL | few | changes))

    return make
