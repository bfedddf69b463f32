"""Charts: what they draw is what the tables say, and their SVG fits the page in light and in dark."""

import re
import warnings
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from math import nan
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image

from latentpath.errors import UserError
from latentpath.report.artefacts import read_run
from latentpath.report.charts import LOOKS, MARKERS, Chart, Curves, Key, Line, write_figures
from latentpath.report.contents import every_chart, page_charts, page_tables
from latentpath.runs.figure_style import PALETTE

MakeRun = Callable[..., Path]
NAMES = ["cfrt_sensitivity", "flip_curves", "directions", "distances", "co_change", "tsne"]


@pytest.fixture(scope="module")
def page(complete_page: Path) -> str:
    return complete_page.read_text(encoding="utf-8")


def _texts(svg: str) -> list[str]:
    return ["".join(text.itertext()) for text in ElementTree.fromstring(svg).iter("text")]


def _curves(**changes: object) -> Curves:
    lines = [Line("hair", [0.0, nan, 1.0], "c0", low=[0.0, nan, 0.8], high=[0.2, nan, 1.0])]
    return Curves(
        **{"title": "a", "positions": [0, 5, 10], "labels": ["neutral", "20", "5"], "lines": lines} | changes
    )


def test_ids_are_unique_over_the_page(page: str) -> None:
    ids = Counter(re.findall(r'<[^>]* id="([^"]+)"', page))
    assert max(ids.values()) == 1, ids.most_common(3)
    links = set(re.findall(r'href="#([^"]+)"', page))
    assert links <= set(ids) and len(links) > 30


def test_colours_of_the_page_follow_its_paper(page: str) -> None:
    drawn = re.findall(r'<svg class="chart".*?</svg>|<svg [^>]*class="chart".*?</svg>', page, re.DOTALL)
    assert len(drawn) > 20
    style = page[: page.index("</style>")]
    defined = set(re.findall(r"--([\w-]+):", style))
    for svg in drawn:
        ElementTree.fromstring(svg)
        paints = set(re.findall(r"(?:fill|stroke): ([^;\"]+)", svg))
        assert paints and all(paint == "none" or paint.startswith("var(--") for paint in paints), paints
        assert {name for paint in paints for name in re.findall(r"--([\w-]+)", paint)} <= defined
    for name, (light, dark) in PALETTE.items():
        assert style.count(f"--{name}:{light};") == 1 and style.count(f"--{name}:{dark};") == 1


def test_keys_of_a_legend_have_their_shape_in_the_style_sheet(page: str) -> None:
    for look in (*LOOKS, *MARKERS):
        assert f".key.{look}" in page or look == "square"  # a key is a square by itself


def test_text_is_text_with_the_fonts_of_the_page(page: str) -> None:
    assert "DejaVu" not in page
    svg = str(Chart([_curves(title="头发 $x$ <b>")], [], name="a").svgs()[0])
    assert "头发 $x$ <b>" in _texts(svg)


def test_a_name_that_the_font_cannot_show_does_not_break_the_page() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Chart([_curves(title="头发")], [], name="a").svgs()


def test_each_marker_says_what_it_is() -> None:
    svg = ElementTree.fromstring(str(Chart([_curves()], [], name="a").svgs()[0]))
    markers = [mark for mark in svg.iter("use") if mark.find("title") is not None]
    assert [mark.findtext("title") for mark in markers] == [
        "hair, neutral: 0 (0 to 0.2)",
        "hair, 5: 1 (0.8 to 1)",
    ]
    assert float(markers[0].get("x", "")) < float(markers[1].get("x", ""))
    assert float(markers[0].get("y", "")) > float(markers[1].get("y", ""))  # up is more


def test_labels_that_would_touch_are_left_out() -> None:
    positions = list(range(30))
    crowded = _curves(positions=positions, labels=[f"s{p}" for p in positions], lines=[])
    texts = _texts(str(Chart([crowded], [], name="a").svgs()[0]))
    shown = [text for text in texts if text in crowded.labels]
    gaps = {after - before for before, after in pairwise(sorted(int(text[1:]) for text in shown))}
    assert "s29" in shown and 5 < len(shown) < 20 and len(gaps) == 1


def test_a_curve_of_one_position_without_a_value_is_drawn() -> None:
    lone = _curves(positions=[3], labels=["3"], lines=[Line("hair", [nan], "c0", low=[nan], high=[nan])])
    assert "3" in _texts(str(Chart([lone], [], name="a").svgs()[0]))


def test_flip_curves_and_their_numbers_are_of_one_quantity(complete_run: Path) -> None:
    run = read_run(complete_run)
    chart, table = page_charts(run)["flips"], page_tables(run)["flip_numbers"]
    panel = next(panel for panel in chart.panels if panel.title == "NV: ink")
    line = next(line for line in panel.lines if line.name.startswith("newly present"))
    (row,) = [
        row for group in table.groups for row in group if [c.text for c in row[:2]] == ["NV: ink", line.name]
    ]
    assert table.head[2:] == list(panel.labels) == ["45", "15", "5"]
    for cell, value, low, label in zip(row[2:], line.values, line.low, panel.labels, strict=True):
        assert (cell.value, cell.low) == (value, low)
        assert cell.value == run.figures.value("flipped", "NV", "ink", position=int(label))
    assert any(key.text.startswith(line.name) for key in chart.legend)


def test_charts_as_svg_stand_alone(complete_run: Path, tmp_path: Path) -> None:
    charts = every_chart(read_run(complete_run))
    assert [chart.name for chart in charts] == NAMES
    for file in write_figures(charts, tmp_path / "once", "svg"):
        text = file.read_text(encoding="utf-8")
        root = ElementTree.fromstring(text)
        assert root.tag == "{http://www.w3.org/2000/svg}svg" and "var(" not in text and "<style" not in text
        assert float(root.attrib["width"].removesuffix("pt")) > 300
        assert len(root.findall(".//{*}path")) > 10
    for file in write_figures(charts, tmp_path / "twice", "svg"):
        assert file.read_bytes() == (tmp_path / "once" / file.name).read_bytes()


def test_charts_as_pdf_and_png(complete_run: Path, tmp_path: Path) -> None:
    charts = [c for c in every_chart(read_run(complete_run)) if c.name in ("flip_curves", "co_change")]
    for file in write_figures(charts, tmp_path, "pdf"):
        content = file.read_bytes()
        assert content.startswith(b"%PDF") and b"CreationDate" not in content and b"/Type3" not in content
    for file in write_figures(charts, tmp_path, "png"):
        with Image.open(file) as image:
            assert image.width > 1000
            colours = image.convert("RGB").getcolors(1 << 24)
            assert image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
        assert colours and len(colours) > 20  # shades of the bands, not black boxes


def test_all_panels_and_keys_are_in_the_file() -> None:
    panels = [_curves(title=f"panel {k}") for k in range(5)]
    chart = Chart(
        panels, [Key("hair", "c0"), Key("ink", "c1", "dashed"), Key("class", "ink", "square")], columns=2
    )
    figure = chart.figure()
    assert len(figure.axes) == 5 and [text.get_text() for text in figure.legends[0].get_texts()] == [
        "hair",
        "ink",
        "class",
    ]
    boxes = [axes.get_position() for axes in figure.axes]
    assert all(0 <= box.x0 < box.x1 <= 1 and 0 <= box.y0 < box.y1 <= 1 for box in boxes)
    assert boxes[0].y0 == boxes[1].y0 > boxes[2].y1 and boxes[0].x0 == boxes[4].x0


def test_charts_of_one_class_and_attribute_without_a_map(make_run: MakeRun, tmp_path: Path) -> None:
    run = read_run(make_run(classes=("chest",), attributes=("Pleural Effusion",), tsne=False))
    names = [chart.name for chart in every_chart(run)]
    assert "flip_curves" in names and "tsne" not in names
    assert [file.stem for file in write_figures(every_chart(run), tmp_path, "svg")] == names


def test_an_unknown_figure_format_is_refused(complete_run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Choose from: svg, pdf, png"):
        write_figures(every_chart(read_run(complete_run))[:1], tmp_path, "eps")
