"""The page in a real browser: what moves when the reader moves it, and that nothing else does."""

import json
import os
import re
import shutil
from base64 import b64decode
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from latentpath.report.compare import write_comparison
from latentpath.report.page import write_report

sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright: it is in the extra `dev`")
PLACES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER = os.environ.get("LATENTPATH_BROWSER") or next(filter(None, map(shutil.which, PLACES)), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine")
STEPS = ["neutral, no swap", "swap at step 45", "swap at step 15", "swap at step 5"]


class Opened:
    """A page, and what it said and asked for."""

    def __init__(self, page: Any, file: Path) -> None:
        self.page, self.said, self.asked = page, [], []
        page.on("console", lambda message: self.said.append(message.text))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url))
        page.goto(file.as_uri())

    def shown(self, canvas: str = "x-edited") -> str:
        """class|seed|track|attribute|position|change of the picture, after it was drawn."""
        self.page.wait_for_timeout(60)
        return self.page.locator(f"#{canvas}").get_attribute("data-shown")

    def numbers(self) -> dict[str, float]:
        rows = self.page.locator("#x-probs tr")
        texts = [rows.nth(k).locator("th, td.p").all_inner_texts() for k in range(rows.count())]
        return {name: float(value) for name, value in texts}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as play:
        made = play.chromium.launch(executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu"])
        yield made
        made.close()


@pytest.fixture
def opened(browser: Any, complete_page: Path) -> Iterator[Opened]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    there = Opened(context.new_page(), complete_page)
    yield there
    assert there.said == []
    assert [url for url in there.asked if not url.startswith(("file:", "data:", "blob:"))] == []
    context.close()


def _pixels(page: Any, canvas: str) -> np.ndarray:
    uri = page.evaluate(f"document.getElementById('{canvas}').toDataURL()")
    return np.asarray(Image.open(BytesIO(b64decode(uri.split(",")[1]))).convert("RGB"), dtype=float)


def test_the_slider_moves_picture_numbers_and_words(opened: Opened, complete_run: Path) -> None:
    page = opened.page
    slider = page.locator("#x-step")
    scores = pd.read_parquet(complete_run / "evaluate" / "scores.parquet")
    for position, says in enumerate(STEPS):
        slider.fill(str(position))
        assert opened.shown() == f"0|0|0|0|{position}|false"
        assert page.locator("#x-where").inner_text() == says
        assert slider.get_attribute("aria-valuetext") == says
        method, step = ("neutral", 50) if position == 0 else ("swap", (45, 15, 5)[position - 1])
        row = scores[
            (scores["class"] == "MEL")
            & (scores["seed"] == 0)
            & (scores["attribute"] == ("hair" if position else ""))
            & (scores["method"] == method)
            & (scores["swap_step"] == step)
            & (scores["model"] == "finetuned")
        ].iloc[0]
        numbers = opened.numbers()
        assert numbers["hair"] == pytest.approx(row["prob_hair"], abs=0.006)
        assert numbers["gel bubble"] == pytest.approx(row["prob_gel_bubble"], abs=0.006)
        assert numbers["NV"] == pytest.approx(row["class_prob_NV"], abs=0.006)
        name = f"MEL_0_{'hair' if position else 'neutral'}_{method}_{step}_finetuned.png"
        with Image.open(complete_run / "evaluate" / "examples" / name) as stored:
            away = np.abs(_pixels(page, "x-edited") - np.asarray(stored.convert("RGB"), dtype=float)).mean()
        assert away < 5, name  # what the compression costs
    page.wait_for_timeout(400)
    assert re.match(r"swap at step 5: hair \d\.\d\d, gel bubble", page.locator("#x-say").inner_text())
    assert page.locator("#x-say").get_attribute("aria-live") == "polite"


def test_arrow_keys_walk_along_the_path(opened: Opened) -> None:
    page = opened.page
    page.locator("#x-step").focus()
    page.keyboard.press("Home")
    assert opened.shown().split("|")[4] == "0"
    page.keyboard.press("ArrowRight")
    assert opened.shown().split("|")[4] == "1"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    assert opened.shown().split("|")[4] == "1"
    page.keyboard.press("End")
    assert opened.shown().split("|")[4] == "3"


def test_choosing_and_tab_order(opened: Opened) -> None:
    page = opened.page
    page.locator("#x-class").select_option("1")
    page.locator("#x-attribute").select_option("3")
    page.locator("#x-seed").select_option("1")
    assert opened.shown() == "1|1|0|3|3|false"
    page.locator("#x-track").select_option("1")
    assert opened.shown() == "1|1|1|3|8|false"  # still at the strong end, of nine frames
    page.locator("#x-class").focus()
    order = []
    for _ in range(7):
        order.append(page.evaluate("document.activeElement.id"))
        page.keyboard.press("Tab")
    assert order == ["x-class", "x-attribute", "x-seed", "x-track", "x-change", "x-step", "x-play"]


def test_the_change_against_neutral(opened: Opened) -> None:
    page = opened.page
    before = page.evaluate("document.getElementById('x-edited').toDataURL()")
    page.locator("#x-change").check()
    assert opened.shown() == "0|0|0|0|3|true"
    assert page.evaluate("document.getElementById('x-edited').toDataURL()") != before
    page.locator("#x-step").fill("0")
    opened.shown()
    grey = "[...document.getElementById('x-edited').getContext('2d').getImageData(0,0,64,64).data]"
    assert page.evaluate(f"{grey}.every((v) => v === 255)")  # neutral against itself


def test_a_point_of_the_map_shows_its_picture_and_opens_its_trajectory(opened: Opened) -> None:
    page = opened.page
    points = page.evaluate("page.map.points")
    index = next(k for k, p in enumerate(points) if p[2:] == [1, 1, 2, 5])
    svg = page.locator("#map svg")
    svg.scroll_into_view_if_needed()
    box = svg.bounding_box()
    scale = box["width"] / 720
    page.mouse.move(box["x"] + points[index][0] * scale, box["y"] + points[index][1] * scale)
    assert page.locator("#map-text").inner_text() == "NV, seed 1, toward ink, swap at step 5"
    assert opened.shown("map-picture") == "1|1|0|2|3|false"
    assert page.locator("#map-picture").is_visible()
    page.mouse.down()
    page.mouse.up()
    assert opened.shown() == "1|1|0|2|3|false"
    assert page.evaluate("document.activeElement.id") == "x-step"

    hidden = next(k for k, p in enumerate(points) if p[3] == 2)  # a seed without pictures
    page.locator("#map-step").focus()
    page.locator("#map-step").fill(str(hidden))
    assert "seed 2" in page.locator("#map-text").inner_text()
    assert not page.locator("#map-picture").is_visible()
    page.keyboard.press("Escape")
    assert not page.locator("#map-card").is_visible()


def test_tables_copy_as_latex_and_csv(opened: Opened, complete_page: Path) -> None:
    page = opened.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    figure = page.locator('figure[data-table="cfrt_lpips"]')
    for kind, ending in (("LaTeX", ".tex"), ("CSV", ".csv")):
        figure.locator(f'button[data-kind="{kind}"]').click()
        page.wait_for_timeout(100)
        text = page.evaluate("navigator.clipboard.readText()")
        assert text == (complete_page.parent / "tables" / f"cfrt_lpips{ending}").read_text()
        assert page.locator("#copied").inner_text() == f"{kind} copied"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_needs_no_sideways_scroll(browser: Any, complete_page: Path, scheme: str) -> None:
    context = browser.new_context(viewport={"width": 360, "height": 740}, color_scheme=scheme, has_touch=True)
    there = Opened(context.new_page(), complete_page)
    there.page.evaluate("document.querySelectorAll('details').forEach((d) => (d.open = true))")
    assert there.page.evaluate("document.documentElement.scrollWidth") <= 360
    paper = there.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert sum(map(int, re.findall(r"\d+", paper))) > 700 or scheme == "dark"
    assert there.said == []
    context.close()


def test_less_motion_and_no_script(browser: Any, complete_page: Path) -> None:
    context = browser.new_context(reduced_motion="reduce")
    there = Opened(context.new_page(), complete_page)
    assert not there.page.locator("#x-play").is_visible()
    assert there.page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "auto"
    context.close()
    context = browser.new_context(java_script_enabled=False)
    there = Opened(context.new_page(), complete_page)
    assert not there.page.locator("#explorer").is_visible()
    assert not there.page.locator("#map-walk").is_visible()
    assert there.page.locator("#trajectories .strip img").first.is_visible()
    context.close()


def test_a_page_without_pictures_or_map_still_runs(browser: Any, make_run: Callable[..., Path]) -> None:
    run_dir = make_run(examples=False, tsne=False)
    context = browser.new_context()
    there = Opened(context.new_page(), write_report(run_dir, run_dir / "report"))
    assert there.page.locator(".copy button").count() > 2
    assert there.said == []
    context.close()


def test_the_comparison_runs_too(browser: Any, make_run: Callable[..., Path], complete_run: Path) -> None:
    other = make_run().rename(complete_run.parent / "other")
    context = browser.new_context(viewport={"width": 360, "height": 740})
    there = Opened(context.new_page(), write_comparison([complete_run, other], other / "report"))
    assert there.page.evaluate("document.documentElement.scrollWidth") <= 360
    assert there.page.locator('figure[data-table="compare"] button').count() == 2
    assert there.said == []
    assert json.loads(there.page.locator("#page-data").inner_text())["copies"]
    context.close()
