"""The page shows every figure of figures.parquet, says why one is missing, loads nothing, names no folder."""

import hashlib
import json
import re
import shutil
from base64 import b64encode
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

from latentpath.errors import UserError
from latentpath.metrics.measures import definition
from latentpath.report.artefacts import read_run
from latentpath.report.contents import every_table, page_tables
from latentpath.report.page import write_report

MakeRun = Callable[..., Path]
SECTIONS = (
    "trajectories",
    "scores",
    "conditions",
    "cochange",
    "choices",
    "flips",
    "directions",
    "latents",
    "interpolations",
    "classifier",
    "base",
    "companions",
    "data",
    "configuration",
    "cost",
)


class Page(HTMLParser):
    """Tags, ids, attributes that load something, visible text, and the unrounded numbers of the tables."""

    VOID = ("meta", "link", "img", "br", "input")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html, self.ids, self.loads, self.alts, self.values = html, [], [], [], []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if "id" in found:
            self.ids.append(found["id"])
        for name in ("src", "href", "srcset", "data", "poster", "action", "xlink:href"):
            if name in found and tag != "data":
                self.loads.append(found[name] or "")
        if tag == "img":
            self.alts.append(found.get("alt"))
        if tag == "data":
            self.values.append(float(found["value"] or "nan"))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        if "style" not in self.open and "script" not in self.open:
            self.text += data


def _page(run_dir: Path) -> Page:
    return Page(write_report(run_dir, run_dir / "report").read_text())


@pytest.fixture(scope="module")
def complete(complete_page: Path) -> Page:
    return Page(complete_page.read_text())


def test_the_page_has_every_section_and_number(complete_run: Path, complete: Page) -> None:
    assert [i for i in complete.ids if i in SECTIONS] == list(SECTIONS)
    assert complete.open == []
    shown = {f"{value:.6g}" for value in complete.values}
    figures = pd.read_parquet(complete_run / "evaluate" / "figures.parquet")
    shared = figures["position"].isna() & (figures["method"] != "neutral") & figures["class"].notna()
    means = figures["class"].isna() & figures["figure"].isin(["cfrt_strict", "cfrt_released", "ssim"])
    only_curves = figures["figure"] == "all_released"
    for rows in (figures[shared & ~only_curves], figures[means & (figures["method"] == "swap")]):
        missing = rows[~rows["value"].map("{:.6g}".format).isin(shown)]
        assert len(rows) and missing.empty, missing
    curves = figures[(figures["method"] == "swap") & (figures["model"] == "finetuned")]
    curves = curves[curves["position"].notna() & curves["value"].notna()]
    for key in ("flipped", "probability", "others_probability", "cosine_strongest", "cosine_weakest"):
        rows = curves[curves["figure"] == key]
        assert len(rows) and set(rows["value"].map("{:.6g}".format)) <= shown, key
    present = figures[(figures["figure"] == "present") & (figures["model"] == "base")]
    assert set(present.loc[present["method"] == "swap", "value"].map("{:.6g}".format)) <= shown
    classifier = json.loads((complete_run / "classify" / "metrics.json").read_text())
    for row in (row for split in classifier.values() for row in split.values()):
        assert {f"{row[key]:.6g}" for key in ("accuracy", "f1", "auroc", "ece")} <= shown
    undefined = {why for t in every_table(page_tables(read_run(complete_run))) for why in t.reasons}
    # of the cosine from the strongest swap to the next step, and of windows
    assert undefined == {"undefined at this position", "no placebo is like it"}


def test_the_page_tables_cfrt_with_calibration_and_without(complete_run: Path, complete: Page) -> None:
    rows = pd.read_csv(complete_run / "evaluate" / "tables" / "cfrt_sensitivity.csv")
    rows = rows[(rows["varies"] == "calibration") & (rows["method"] == "swap")]
    assert set(rows["calibrated"]) == {True, False}
    assert set(rows["cfrt_released"]) <= set(complete.values)
    assert "judge’s calibration and without it" in complete.text


def test_headline_has_the_means(complete_run: Path, complete: Page) -> None:
    figures = read_run(complete_run).figures
    answer = re.search(r'<p class="answer">(.*?)</p>', complete.html, re.S)
    assert answer and "CFRT" not in answer[1]  # first what cannot be had by doing nothing
    assert f"<strong>{figures.value('flipped_eligible'):.0%}</strong>" in answer[1]
    assert f"<strong>{figures.value('leak'):.1%}</strong> more than a placebo" in answer[1]
    assert (
        f"selectivity is <strong>{figures.value('selectivity'):.2f}</strong>".replace(">-", ">−") in answer[1]
    )
    beside = complete.html[answer.end() :]
    beside = beside[: beside.index("</p>")]
    assert "Classifier Flip Rate along a Trajectory" in beside
    for key, digits in (("cfrt_strict", 2), ("cfrt_released", 2), ("lpips_alex", 3)):
        assert f"<strong>{figures.value(key):.{digits}f}</strong>" in beside


def test_the_page_loads_nothing_from_elsewhere(complete: Page) -> None:
    assert [load for load in complete.loads if not load.startswith(("data:", "#"))] == []
    assert "http://" not in complete.html and "https://" not in complete.html
    assert "url(" not in complete.html and "@import" not in complete.html
    assert "fetch(" not in complete.html and "XMLHttpRequest" not in complete.html
    targets = {load[1:] for load in complete.loads if load.startswith("#")}
    assert targets <= set(complete.ids)


def test_only_the_pages_own_script_may_run(complete: Page) -> None:
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', complete.html)
    scripts = re.findall(r"<script>(.*?)</script>", complete.html, re.S)
    assert policy and len(scripts) == 1
    allowed = b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert policy[1].startswith("default-src 'none'; img-src data:;")
    assert f"script-src 'sha256-{allowed}'" in policy[1]
    assert not re.search(r"<[^>]+\son[a-z]+=", complete.html.replace(scripts[0], ""))


def test_intervals_stand_beside_their_figures(complete_run: Path, complete: Page) -> None:
    figures = read_run(complete_run).figures
    for key in ("cfrt_strict", "cfrt_released", "all_strict", "class_kept"):
        found = figures.get(key, "MEL", "hair")
        assert found and found.value is not None
        interval = f"({found.low:.2f}–{found.high:.2f})"
        cell = f'<data value="{found.value}">{found.value:.2f}</data> <span class="ci">{interval}</span>'
        assert cell in complete.html
    assert "strict, by chance" in complete.text and "judge’s accuracy" in complete.text


def test_a_pointer_over_a_heading_shows_its_definition(complete: Page) -> None:
    assert f'title="{definition("others kept")}">others kept</th>' in complete.html
    assert f'title="{definition("CFRT, strict")}">CFRT, strict ↑</th>' in complete.html


def test_the_chance_level_of_the_released_definition_differs_by_head(
    complete_run: Path, complete: Page
) -> None:
    """A head that always rises most has a released CFRT of 1 under every edit: 1/A is not its zero."""
    figures = read_run(complete_run).figures
    nulls = [figures.value("released_null", c, "ruler") for c in ("MEL", "NV")]
    mean = sum(value for value in nulls if value is not None) / 2
    row = complete.html[complete.html.index(">released, other edits</th>") :]
    assert f"{mean:.2f}</data>" in row[: row.index("</tr>")]
    selective = figures.get("selectivity")
    assert selective and selective.value is not None and selective.low is not None
    assert f">{selective.value:.2f}" in complete.html and "selectivity" in complete.text


def test_the_page_shows_what_else_changes(complete_run: Path, complete: Page) -> None:
    table = pd.read_csv(complete_run / "evaluate" / "tables" / "co_change.csv")
    assert set(table["change"]) <= {v for v in complete.values} | {float(f"{v:.6g}") for v in complete.values}
    assert "hair → ruler" in complete.text  # of the made-up scores the last attribute follows every other
    assert 'class="heat' in complete.html


def test_names_that_look_like_nan_stay_names(make_run: MakeRun) -> None:
    page = _page(make_run(attributes=("NA", "1")))
    assert "toward NA" in page.html
    assert "interval includes 0" in page.text or "→" in page.text


def test_pictures_have_alt_texts_and_tables_captions(complete: Page) -> None:
    assert complete.alts and all(complete.alts)
    assert any("toward gel bubble, swap step 5" in str(alt) for alt in complete.alts)
    assert complete.html.count("<table") == complete.html.count("<caption>")
    named = complete.html.count('class="chart"') + len(re.findall(r'<canvas [^>]*role="img"', complete.html))
    assert named == complete.html.count('role="img"')


def test_no_folder_no_secret_no_picture_file(make_run: MakeRun, fake: ModuleType, tmp_path: Path) -> None:
    page = _page(make_run(lpips=False))  # its note names the full path of the weights
    written = re.sub(r"base64,[^\"]*", "", page.html)  # in megabytes of base64 any short word may occur
    for canary in ("secret-ward", "jane", "ward7", "canary-token", str(tmp_path), tmp_path.name):
        assert canary not in written
    assert not re.search(r"\.(png|jpe?g|dcm)\b", written)
    assert "root: …/cohort" in page.text
    assert "…/efficientnet.safetensors" in page.text
    assert "base: stable-diffusion-v1-5/stable-diffusion-v1-5" in page.text
    assert Path(fake.CANARY).name == "cohort"


def test_missing_weights_are_na_with_the_reason(make_run: MakeRun) -> None:
    page = _page(make_run(lpips=False))
    scores = page.html[page.html.index('id="scores"') : page.html.index('id="conditions"')]
    assert scores.count('<td class="na"') == 2 * 2 * 2  # methods x classes x attributes
    assert "its weights are missing" in scores
    assert "LPIPS: n/a" in page.text


def test_the_page_of_a_single_class_and_attribute_is_whole(make_run: MakeRun) -> None:
    page = _page(make_run(classes=("chest",), attributes=("Pleural Effusion",)))
    assert "only one attribute: no other to compare with" in page.text
    assert "single class: nothing to keep" in page.text
    assert "CFRT (Classifier Flip Rate along a Trajectory), is n/a: only one attribute" in page.text
    assert [i for i in page.ids if i in SECTIONS] == list(SECTIONS)


def test_optional_parts_may_be_missing(make_run: MakeRun) -> None:
    run_dir = make_run(tsne=False, base=False, examples=False, methods=("swap",))
    for gone in ("classify", "finetune"):
        shutil.rmtree(run_dir / gone)
    (run_dir / "traverse" / "manifest.json").unlink()
    page = _page(run_dir)
    assert [i for i in page.ids if i in SECTIONS] == list(SECTIONS)
    for reason in (
        "no tsne.parquet",
        "no example images",
        "no interpolated images",
        "no classifier scores",
        "the base model was not traversed",
    ):
        assert reason in page.text


def test_an_evaluation_of_the_first_version_is_refused_by_name(make_run: MakeRun) -> None:
    run_dir = make_run()
    (run_dir / "evaluate" / "figures.parquet").unlink()
    with pytest.raises(UserError, match=r"figures\.parquet: version 0\.1\.0 .*overwrite=true"):
        write_report(run_dir, run_dir / "report")


def test_the_page_escapes_names(make_run: MakeRun) -> None:
    page = _page(make_run(attributes=("<b>&", "AP/PA"), examples=False))
    assert "<b>" not in page.html
    assert "AP/PA" in page.text and "<b>&" in page.text


def test_the_page_reduces_large_pictures(make_run: MakeRun) -> None:
    run_dir = make_run(side=300, classes=("chest",), attributes=("a", "b"), swap_steps=(5,), example_seeds=1)
    page = write_report(run_dir, run_dir / "report")
    assert "data:image/jpeg" in page.read_text()
    assert page.stat().st_size < 1_000_000


def test_a_report_without_evaluation_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="latentpath evaluate"):
        write_report(tmp_path, tmp_path / "report")
