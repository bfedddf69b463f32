"""Several runs on one page."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml

from latentpath.errors import UserError
from latentpath.report.artefacts import read_run
from latentpath.report.compare import write_comparison
from latentpath.report.compare_seeds import compared

MakeRun = Callable[..., Path]


@pytest.fixture
def two(make_run: MakeRun) -> list[Path]:
    """`one`, and `two`, which differs in a setting and in one figure."""
    first = make_run(example_seeds=2)
    first = first.rename(first.with_name("one"))
    second = make_run()
    second = second.rename(second.with_name("two"))
    figures = pd.read_parquet(second / "evaluate" / "figures.parquet")
    strict = (figures["figure"] == "cfrt_strict") & (figures["method"] == "swap")
    one = strict & (figures["class"] == "MEL") & (figures["attribute"] == "hair")
    figures.loc[one & figures["position"].isna(), "value"] += 0.05
    figures.to_parquet(second / "evaluate" / "figures.parquet")
    for file in second.glob("*/config.yaml"):
        config = yaml.safe_load(file.read_text())
        config["sampler"] = {"guidance_scale": 3.0}
        config["dataset"]["root"] = "/mnt/secret-ward/elsewhere"
        file.write_text(yaml.safe_dump(config))
    return [first, second]


def test_figures_differences_settings_and_shared_seeds(two: list[Path], tmp_path: Path) -> None:
    page = write_comparison(two, tmp_path).read_text()
    assert "<h1>one against two</h1>" in page
    strict = page[
        page.index('data-table="compare_cfrt_strict"') : page.index('data-table="compare_all_strict"')
    ]
    assert "two − one" in strict
    runs = [read_run(folder).figures for folder in two]
    values = [run.value("cfrt_strict", c, a) for run in runs for c in ("MEL", "NV") for a in ("hair", "ink")]
    zeros = sum(f"{value:.2f}" == "0.00" for value in values)
    assert ">+0.05</data>" in strict
    assert strict.count(">0.00</data>") == 3 + zeros  # the differences of the other class and attribute
    assert "sampler.guidance_scale" in page and ">3.0<" in page
    assert "MEL, seed 0" in page and "MEL, seed 1" not in page  # the second run has pictures of one seed
    assert "secret-ward" not in page and str(tmp_path) not in page


def test_differences_are_of_the_same_seeds(two: list[Path], tmp_path: Path) -> None:
    """Every seed of the second run is kept 0.2 less often: the difference of each seed, not of the means."""
    file = two[1] / "evaluate" / "seeds.parquet"
    seeds = pd.read_parquet(file)
    kept = (seeds["figure"] == "others_kept") & (seeds["class"] == "MEL") & (seeds["attribute"] == "hair")
    seeds.loc[kept, "value"] -= 0.2
    seeds.to_parquet(file)
    first, other = (read_run(folder) for folder in two)
    found = compared(first, other, ["MEL", "NV"], ["hair", "ink"])
    assert found is not None
    table = found.table
    mean, hair, ink = table.groups[0][0], table.groups[1][0], table.groups[1][1]
    assert hair[-1].text == "−0.20" and ink[-1].text == "0.00"
    assert hair[-1].high is not None and hair[-1].high > 0  # three seeds that agree are not certainty
    assert mean[-1].value == pytest.approx(-0.05)
    assert "p = 0.25 among" in hair[-1].tooltip  # three seeds: 2 / 2^3 at least
    assert "on the 3 seeds of both: no difference can be told from chance" in found.verdict
    page = write_comparison(two, tmp_path).read_text()
    assert "two − one on the 3 seeds of both" in page and found.verdict.split(";")[0] in page
    file.unlink()
    assert compared(first, read_run(two[1]), ["MEL"], ["hair"]) is None


def test_runs_of_different_seeds_are_compared_unpaired_and_it_says_so(two: list[Path]) -> None:
    file = two[1] / "evaluate" / "seeds.parquet"
    seeds = pd.read_parquet(file)
    seeds.assign(seed=seeds["seed"] + 100).to_parquet(file)
    found = compared(*(read_run(folder) for folder in two), ["MEL", "NV"], ["hair", "ink"])
    assert found is not None and "different seeds, so unpaired" in found.verdict
    assert "different seeds, so unpaired" in found.table.caption
    cells = [cell for row in found.table.groups[0] for cell in row if cell.value is not None]
    assert all(c.low < c.value < c.high for c in cells if c.low is not None and c.high is not None)


def test_runs_that_share_nothing_are_not_compared(two: list[Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="two or more"):
        write_comparison(two[:1], tmp_path)
    with pytest.raises(UserError, match="latentpath evaluate"):
        write_comparison([two[0], tmp_path / "none"], tmp_path)
    metrics = json.loads((two[1] / "evaluate" / "metrics.json").read_text())
    (two[1] / "evaluate" / "metrics.json").write_text(json.dumps(metrics | {"attributes": ["other"]}))
    with pytest.raises(UserError, match="share no class and attribute"):
        write_comparison(two, tmp_path)
