"""experiments/planted_correlation: what is planted is drawn and not told, and what follows r comes first."""

import sys
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from PIL import Image

FOLDER = Path(__file__).parents[1] / "experiments" / "planted_correlation"


@pytest.fixture(scope="module")
def study():
    """run.py and planted.py, imported as the script imports them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        sys.modules.pop("run", None)
        import planted
        import run

        yield SimpleNamespace(run=run, planted=planted)
        for name in ("planted", "run"):
            sys.modules.pop(name, None)


def images(root: Path) -> dict[str, np.ndarray]:
    files = sorted((root / "ISIC_2019_Training_Input").glob("*.jpg"))
    return {file.stem: np.asarray(Image.open(file), dtype=float) for file in files}


def test_a_share_of_the_hairy_images_gets_a_ruler_that_no_table_mentions(study, tmp_path):
    roots = {
        share: study.planted.write_planted(tmp_path / f"{share:g}", share, count=60, size=32, seed=5)
        for share in (0.0, 0.5, 1.0)
    }
    tables = {share: (root / "isic_inferred_wocarcinoma.csv").read_text() for share, root in roots.items()}
    assert tables[0.0] == tables[0.5] == tables[1.0]
    rows = pd.read_csv(roots[0.0] / "isic_inferred_wocarcinoma.csv").set_index("image")
    drawn = {share: images(root) for share, root in roots.items()}
    changed = {
        share: {name for name, image in drawn[share].items() if np.abs(image - drawn[0.0][name]).max() > 20}
        for share in (0.5, 1.0)
    }
    hidden = rows[(rows["hair"] > 0.9) & (rows["ruler"] < 0.1)].index
    assert {name.removesuffix("_downsampled") for name in changed[1.0]} == set(hidden)
    assert changed[0.5] < changed[1.0] and changed[0.5]
    name = next(iter(changed[1.0]))
    same = np.abs(drawn[1.0][name] - drawn[0.0][name]).max(axis=-1) < 12  # JPEG changes its blocks a little
    assert same.mean() > 0.5  # the rest of the picture is the same
    assert study.planted.write_planted(roots[0.5], 0.5, count=60, size=32, seed=5) == roots[0.5]


def test_a_figure_that_follows_r_comes_first(study):
    rng, rows = np.random.default_rng(0), []
    for r in study.run.SHARES:
        for judge in study.run.JUDGES:
            values = dict.fromkeys(study.run.FOLLOWED, 0.3) | {
                "leak": 0.1 * r,
                "cfrt_strict": 1 - r + 0.4 * rng.normal(),
                "selectivity": np.nan,
            }
            point = {"r": r, "run": 0, "judge": judge}
            rows += [point | {"figure": k, "value": v, "low": v, "high": v} for k, v in values.items()]
    points = pd.DataFrame(rows)
    table = study.run.tracking(points).set_index("figure")
    assert table.index[0] == "leak over placebo" and table["rank correlation"].iloc[0] == pytest.approx(1)
    assert table.loc["leak over placebo", "range"] == pytest.approx(0.05)  # of a figure from -1 to 1
    assert table.loc["leak over placebo", "r = 0.5"] == pytest.approx(0.05)
    assert np.isnan(table.loc["selectivity", "rank correlation"])
    ElementTree.fromstring(study.run.drawn(points))
