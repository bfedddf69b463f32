"""The site: the reference holds everything that the code holds, and the pages render without a warning."""

from __future__ import annotations

import re
from typing import get_args, get_type_hints

import build
import pytest
import reference
import screenshots
import yaml
from PIL import Image

from latentpath.config.methods import MethodsConfig
from latentpath.config.schema import Config
from latentpath.metrics.figures import FIGURES


def test_every_setting_has_a_type_a_default_and_a_meaning(compose):
    from omegaconf import OmegaConf

    settings = list(reference.settings())
    assert all(setting.type and setting.default for setting in settings)
    assert [setting.key for setting in settings if not setting.meaning] == []
    config = OmegaConf.structured(Config)
    for name, kind in get_type_hints(MethodsConfig).items():  # no method is in the schema's defaults
        config.method[name] = OmegaConf.structured(get_args(kind)[0])
    bare = {f"method.{name}" for name in get_type_hints(MethodsConfig)}  # methods without settings
    flat = set(_keys(OmegaConf.to_container(config))) - bare
    assert {setting.key for setting in settings} == flat


def _keys(node, prefix=""):
    for key, value in node.items():
        if isinstance(value, dict) and value:
            yield from _keys(value, f"{prefix}{key}.")
        else:
            yield prefix + key


@pytest.mark.parametrize(
    ("key", "cells"),
    [
        ("sampler.eta", ("number", "0.0", "from 0 (deterministic) to 1")),
        ("sampler.batch_size", ("integer or text", "32", "from 1 to 65,536, or auto")),
        ("dataset.resize", ("name", "squash", "`squash`, `crop`")),
        ("timesteps.windows", ("list of lists of integers", "[]", "from 0 to 1,000")),
        ("inversion.method", ("text or null", "null", "`ddpm`, `ddim`")),
    ],
)
def test_a_setting_is_shown_as_the_schema_has_it(key, cells):
    (setting,) = (each for each in reference.settings() if each.key == key)
    assert (setting.type, setting.default, setting.values) == cells


def test_every_column_of_a_run_has_a_meaning(work):
    meanings = yaml.safe_load((build.HERE / "artefacts.yml").read_text(encoding="utf-8"))
    page = reference.artefacts_page(work / "outputs" / "demo", meanings)
    assert "| `prob_{attribute}` | float32 | the judge's probability of the attribute |" in page
    meanings["common"].pop("until")
    with pytest.raises(ValueError, match=r"no meaning in artefacts\.yml for"):
        reference.artefacts_page(work / "outputs" / "demo", meanings)


@pytest.mark.skipif(screenshots.find_browser() is None, reason="no chromium on this machine")
def test_screenshots_show_the_page_and_the_explorer_of_a_run(work, tmp_path):
    files = screenshots.photograph(
        work / "outputs" / "demo", tmp_path, browser=str(screenshots.find_browser())
    )
    assert [file.name for file in files] == [
        "report.png",
        "explore.png",
        "report_dark.png",
        "explore_dark.png",
    ]
    for file in files:
        image = Image.open(file).convert("RGB")
        assert image.width == (390 if "dark" in file.name else 1000)
        assert len(image.getcolors(2**24) or []) > 1000  # images of the run, not text alone
        assert (sum(image.getpixel((2, 2))) < 300) == ("dark" in file.name)


def test_every_figure_is_described():
    page = reference.figures_page()
    assert [key for key in FIGURES if f"| `{key}` |" not in page] == []


def test_the_site_renders_and_asks_nothing_of_the_network(tmp_path):
    """MkDocs fails for a link, an anchor or a page of the navigation that is not there."""
    build.stage(tmp_path / "docs", work=None)
    build.render(tmp_path / "docs", tmp_path / "site")
    page = (tmp_path / "site" / "docs" / "reference" / "configuration.html").read_text()
    assert "dataset.table.group_column" in page
    assert (tmp_path / "site" / "docs" / "reference" / "api" / "traversal.html").exists()
    for file in (tmp_path / "site").rglob("*.html"):
        fetched = re.findall(
            r"<(?:script|img|link|iframe)[^>]+(?:src|href)=\"?(https?:[^\" >]+)", file.read_text()
        )
        assert [url for url in fetched if "canonical" not in url] == [], file
    broken = tmp_path / "docs" / "README.md"
    broken.write_text(broken.read_text() + "\n[gone](docs/gone.md)\n")
    with pytest.raises(SystemExit, match=r"docs/gone\.md"):
        build.render(tmp_path / "docs", tmp_path / "site")
