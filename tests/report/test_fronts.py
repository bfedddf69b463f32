"""The section that compares ways of editing: charts, table, slider; absent where there is one way only."""

import json
import re

import numpy as np
import pytest

from latentpath.report.artefacts import read_run
from latentpath.report.contents import page_tables
from latentpath.report.fronts import MEAN, charts_of, front_charts, front_table
from latentpath.report.page import write_report
from latentpath.report.pictures import Gallery
from latentpath.report.slider import explorer


@pytest.fixture(scope="module")
def run(ways_run):
    return read_run(ways_run)


def test_a_chart_has_a_panel_of_the_mean_and_of_each_cell(run):
    over, decisions, lpips = front_charts(run)
    titles = [panel.title for panel in decisions.panels]
    assert titles == [MEAN, "MEL: hair", "MEL: ink", "NV: hair", "NV: ink"]
    assert [key.text for key in decisions.legend] == ["swap", "fcfg", "sega"]
    assert [c.note for c in (over, decisions, lpips)] == ["leak over placebo", "others changed", "LPIPS alex"]


def test_curves_start_at_the_neutral_image_and_end_where_the_method_ends(run):
    fronts = run.tables["fronts"]
    for panel in front_charts(run)[0].panels:
        for line in panel.lines:
            assert line.values[0] == 0 and len(line.values) == len(panel.positions)
            reached = [value == value for value in line.values]
            assert reached == sorted(reached, reverse=True)
    swap, fcfg, _ = front_charts(run)[0].panels[0].lines
    fronts = fronts[fronts["measure"] == "leak"]
    row = fronts[(fronts["method"] == "fcfg") & (fronts["level"] == 0.5) & fronts["attribute"].isna()].iloc[0]
    at = front_charts(run)[0].panels[0].positions.index(0.5)
    assert fcfg.values[at] == row["value"]
    assert fcfg.low[at] == pytest.approx(swap.values[at] + row["difference_low"], abs=1e-6)


def test_methods_that_reach_nothing_have_empty_panels(run):
    fronts = run.tables["fronts"].assign(value=np.nan).fillna({"class": "", "attribute": ""})
    for chart in charts_of(fronts, run.classes):
        assert all(np.isnan(line.values[1:]).all() for panel in chart.panels for line in panel.lines)
        assert all("<svg" in svg for svg in chart.svgs())


def test_the_table_has_leaks_differences_and_the_area(run):
    table = front_table(run)
    assert len(table.groups) == 5 and [len(group) for group in table.groups] == [3] * 5
    swap, fcfg, _ = table.groups[0]
    assert swap[0].text == MEAN and fcfg[0].text == "fcfg"
    assert fcfg[1].value == pytest.approx(swap[3].value + fcfg[2].value, abs=1e-6)
    assert "p = " in fcfg[2].tooltip and fcfg[2].interval


def test_the_slider_goes_by_the_methods_on_the_same_seed(run):
    assert list(run.shown_dials) == ["fcfg", "sega"] and set(run.shown_dials.values()) <= {0.8, 1.0}
    data = explorer(run, Gallery(run))
    names = [track["name"] for track in data["tracks"]]
    assert names[0] == "Swaps" and names[1].startswith("fcfg") and names[2].startswith("sega")
    seeds = [{s["seed"] for s in data["sheets"] if s["track"] == t} for t in range(3)]
    assert seeds[0] == seeds[1] == seeds[2]
    sheet = next(s for s in data["sheets"] if s["track"] == 1)
    assert sheet["lone"] and len(sheet["probs"][0]) == 1 + 3


def test_the_page_has_the_section_only_with_several_ways(ways_run, make_run, tmp_path):
    page = write_report(ways_run, tmp_path / "out").read_text()
    assert 'id="methods"' in page and 'href="#methods"' in page and 'data-table="fronts"' in page
    data = re.search(r'id="page-data">(.*?)</script>', page, re.DOTALL)[1]
    assert "fronts" in json.loads(data)["copies"]
    one = make_run()
    page = write_report(one, tmp_path / "one").read_text()
    assert "#methods" not in page and page_tables(read_run(one))["fronts"] is None
