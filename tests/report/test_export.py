"""Tables and charts as files: what a paper takes from a run."""

import csv
import io
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image

from latentpath.errors import UserError
from latentpath.report.artefacts import read_run
from latentpath.report.cells import Cell, Table, header, number
from latentpath.report.contents import every_chart, every_table, page_tables
from latentpath.report.export import to_csv, to_latex
from latentpath.report.figure_files import to_svg, write_figures
from latentpath.report.page import write_report

MakeRun = Callable[..., Path]


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
def test_intervals(cell: Cell, shown: str) -> None:
    assert cell.interval == shown


def test_every_table_is_written_under_a_name_of_its_own(complete_run: Path, tmp_path: Path) -> None:
    write_report(complete_run, tmp_path)
    names = [table.name for table in every_table(page_tables(read_run(complete_run)))]
    assert len(names) == len(set(names)) and all(names)
    assert {"cfrt_lpips", "conditions_swap", "co_change_MEL", "geometry", "classifier_test"} <= set(names)
    written = {file.name for file in (tmp_path / "tables").iterdir()}
    assert written == {f"{name}{ending}" for name in names for ending in (".csv", ".tex")}
    for file in (tmp_path / "tables").glob("*.csv"):
        lengths = {len(row) for row in csv.reader(io.StringIO(file.read_text()))}
        assert len(lengths) == 1, file.name


def test_charts_as_svg_stand_alone(complete_run: Path) -> None:
    charts = every_chart(read_run(complete_run))
    names = ["cfrt_sensitivity", "flip_curves", "directions", "distances", "co_change", "tsne"]
    assert [c.name for c in charts] == names
    for chart in charts:
        text = to_svg(chart)
        root = ElementTree.fromstring(text)
        assert "class=" not in text and "var(" not in text and "currentColor" not in text
        assert int(root.attrib["width"]) > 300
        assert len(root.findall(".//{*}path")) + len(root.findall(".//{*}rect")) > 10


def test_one_class_and_attribute_and_no_tables(make_run: MakeRun) -> None:
    run = read_run(make_run(classes=("chest",), attributes=("Pleural Effusion",), tables=False, tsne=False))
    assert [chart.name for chart in every_chart(run)] == ["flip_curves"]
    assert all(to_svg(chart) for chart in every_chart(run))


def test_charts_as_pdf_and_png(complete_run: Path, tmp_path: Path) -> None:
    pytest.importorskip("svglib")
    pytest.importorskip("pypdfium2")
    charts = [c for c in every_chart(read_run(complete_run)) if c.name in ("flip_curves", "co_change")]
    for file in write_figures(charts, tmp_path, "pdf"):
        assert file.read_bytes().startswith(b"%PDF")
    for file in write_figures(charts, tmp_path, "png"):
        with Image.open(file) as image:
            assert image.width > 1000
            colours = image.convert("RGB").getcolors(1 << 24)
        assert colours and len(colours) > 20  # shades of the bands, not black boxes


def test_what_is_not_installed_or_not_known(
    complete_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    charts = every_chart(read_run(complete_run))[:1]
    with pytest.raises(UserError, match="Choose from: svg, pdf, png"):
        write_figures(charts, tmp_path, "eps")
    monkeypatch.setitem(sys.modules, "svglib.svglib", None)
    with pytest.raises(UserError, match=r"latentpath\[figures\]"):
        write_figures(charts, tmp_path, "pdf")
    assert write_figures(charts, tmp_path, "svg")[0].name == "cfrt_sensitivity.svg"
