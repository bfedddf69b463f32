"""The chart of the validation loss says what metrics.csv says, and is left out where there was none."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pandas as pd
import pytest

from latentpath.report.artefacts import read_run
from latentpath.report.charts import Curves
from latentpath.report.loss_curves import loss_curves
from latentpath.report.page import write_report


@pytest.fixture
def losses() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "step": [0, 9, 10, 20],
            "train/loss": [None, 0.5, None, None],
            "val/loss": [1.0, None, 0.6, 0.7],
            "val/loss_ema": [1.0, None, 0.5, 0.4],
            "val/loss_ema_t0-249": [2.0, None, 1.0, 0.9],
            "val/loss_ema_t250-499": [0.5, None, 0.2, 0.1],
            "val/loss_t0-249": [2.0, None, 1.1, 1.3],
        }
    )


def test_loss_curves_are_the_rows_of_metrics_csv(complete_run, losses, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(complete_run, run)
    (run / "finetune").mkdir(exist_ok=True)
    losses.to_csv(run / "finetune" / "metrics.csv", index=False)
    chart = loss_curves(read_run(run))
    assert chart is not None
    mean, each = (panel for panel in chart.panels if isinstance(panel, Curves))
    assert list(mean.positions) == [0, 10, 20]
    assert [list(line.values) for line in mean.lines] == [[1.0, 0.6, 0.7], [1.0, 0.5, 0.4]]
    assert [(line.name, list(line.values)) for line in each.lines] == [
        ("t = 0-249", [2.0, 1.0, 0.9]),
        ("t = 250-499", [0.5, 0.2, 0.1]),
    ]
    assert "Loss on held-out images" in write_report(run, tmp_path / "page").read_text()


@pytest.mark.parametrize("rows", [[], [0]])
def test_one_validation_makes_no_loss_chart(complete_run, losses, rows):
    run = replace(read_run(complete_run), training=losses.iloc[rows])
    assert loss_curves(run) is None
    assert loss_curves(replace(run, training=losses[["step", "train/loss"]])) is None
