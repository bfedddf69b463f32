"""The trajectories as PNG files."""

from collections.abc import Callable
from pathlib import Path

from PIL import Image

from latentpath.report.grids import write_grids

MakeRun = Callable[..., Path]


def test_overview_and_one_grid_per_class_and_attribute(make_run: MakeRun, tmp_path: Path) -> None:
    files = write_grids(make_run(example_seeds=2), tmp_path / "report")
    names = {file.name for file in files}
    assert names == {
        "overview.png",
        "trajectory_MEL_hair.png",
        "trajectory_MEL_ink.png",
        "trajectory_NV_hair.png",
        "trajectory_NV_ink.png",
    }
    with Image.open(tmp_path / "report" / "trajectory_MEL_hair.png") as grid:
        assert grid.height > 2 * 128 and grid.width > 4 * 128  # two seeds; neutral and three swaps
    with Image.open(files[0]) as overview:
        assert overview.width > 2 * 4 * 128


def test_the_overview_of_one_class_shows_two_seeds(make_run: MakeRun, tmp_path: Path) -> None:
    files = write_grids(
        make_run(classes=("chest",), attributes=("Pleural Effusion",), example_seeds=2), tmp_path / "report"
    )
    assert [file.name for file in files] == ["overview.png", "trajectory_chest_Pleural-Effusion.png"]


def test_without_pictures_no_grid_is_written(make_run: MakeRun, tmp_path: Path) -> None:
    assert write_grids(make_run(examples=False), tmp_path / "report") == []
