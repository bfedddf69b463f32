"""Tables as files: what a paper takes from a run."""

import csv
import io
from pathlib import Path

import pytest

from latentpath.report.artefacts import read_run
from latentpath.report.cells import Cell, Table, header, number
from latentpath.report.contents import every_table, page_tables
from latentpath.report.export import to_csv, to_latex


def _table() -> Table:
    rows = [
        [header("Swaps", 2), header("50 % & more_"), number(0.81234, ends=(0.72, 0.9))],
        [header("up ↑"), number(None, "no\nscores")],
    ]
    return Table("A caption", ["style", "", "hair"], [rows], name="small_one")


def test_csv_has_unrounded_numbers_and_their_intervals() -> None:
    assert list(csv.reader(io.StringIO(to_csv(_table())))) == [
        ["style", "", "hair", "hair low", "hair high"],
        ["Swaps", "50 % & more_", "0.81234", "0.72", "0.9"],
        ["Swaps", "up ↑", "", "", ""],
    ]


def test_latex_is_escaped_and_typeset() -> None:
    text = to_latex(_table())
    assert r"\begin{tabular}{llr}" in text
    assert r"Swaps & 50 \% \& more\_ & 0.81 {\scriptsize (0.72--0.90)} \\" in text
    assert r" & up $\uparrow$ & -- \\" in text
    assert "% n/a: no scores" in text and r"\label{tab:small-one}" in text
    assert text.count("{") == text.count("}") and text.count(r"\begin") == text.count(r"\end")


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        (number(0.5, ends=(0.4, 0.6)), "0.40–0.60"),
        (number(0.5, ends=(None, 0.6)), ""),
        (Cell("−0.10", value=-0.1, low=-0.2, high=-0.001), "−0.20 to 0.00"),
        (number(56.2, digits=0, ends=(53.1, 58.4)), "53–58"),
    ],
)
def test_an_interval_has_the_digits_of_its_number(cell: Cell, shown: str) -> None:
    assert cell.interval == shown


def test_every_table_is_written_under_a_name_of_its_own(complete_run: Path, complete_page: Path) -> None:
    names = [table.name for table in every_table(page_tables(read_run(complete_run)))]
    assert len(names) == len(set(names)) and all(names)
    assert {"cfrt_lpips", "conditions_swap", "co_change_MEL", "geometry", "classifier_test"} <= set(names)
    written = {file.name for file in (complete_page.parent / "tables").iterdir()}
    assert written == {f"{name}{ending}" for name in names for ending in (".csv", ".tex")}
    for file in (complete_page.parent / "tables").glob("*.csv"):
        lengths = {len(row) for row in csv.reader(io.StringIO(file.read_text()))}
        assert len(lengths) == 1, file.name
