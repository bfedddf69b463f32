"""Names of classes and attributes that no terminal, page, table or disk likes are shown as they are."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from latentpath.config.names import check_label
from latentpath.evaluation.summary import print_summary
from latentpath.metrics.figure_table import FigureTable
from latentpath.report.grids import write_grids
from latentpath.report.page import write_report
from latentpath.runs.files import read_json, read_parquet

CLASSES = ("[/b]", "../up")
LABELS = ("<script>alert(1)</script>", "50 % of \\input{x} & $y$", "😀 " + "x" * 198, "[bold]brackets")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    place = Path(__file__).parents[1] / "report" / "fake_run.py"
    spec = importlib.util.spec_from_file_location("fake_run_of_labels", place)
    assert spec and spec.loader
    fake = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fake)
    folder = tmp_path_factory.mktemp("labels") / "outputs" / "demo"
    small = {"seeds": 4, "example_seeds": 1, "side": 16, "swap_steps": (5, 45), "methods": ("swap",)}
    return fake.make_fake_run(folder, classes=CLASSES, attributes=LABELS, **small)


def test_the_labels_are_allowed(tried):
    for label in (*CLASSES, *LABELS):
        check_label("dataset.attributes", label)
    tried("names", len(CLASSES) + len(LABELS))


def test_a_page_escapes_them_and_latex_is_text(run, tmp_path):
    page = write_report(run, tmp_path / "report").read_text()
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page
    files = sorted((tmp_path / "report" / "tables").glob("*.tex"))
    lines = [line for file in files for line in file.read_text().splitlines()]
    tables = "\n".join(line for line in lines if not line.lstrip().startswith("%"))
    assert r"50 \% of \textbackslash{}input\{x\} \& \$y\$" in tables
    assert r"\input{" not in tables


def test_pictures_of_them_stay_in_their_folder_each_with_its_own_name(run, tmp_path):
    files = write_grids(run, tmp_path / "grids")
    assert len(set(files)) == 1 + len(CLASSES) * len(LABELS)
    assert {file.parent for file in files} == {tmp_path / "grids"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["grids"]
    assert not (run.parent.parent / "up").exists()


def test_a_terminal_shows_brackets(run, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "400")
    folder = run / "evaluate"
    print_summary(FigureTable(read_parquet(folder / "figures.parquet")), read_json(folder / "metrics.json"))
    said = capsys.readouterr().out
    assert "[/b]" in said
    assert "[bold]brackets" in said
