"""The classifier's table shows its calibration where a run has it, and is as before where it has none."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from latentpath.report.judge_tables import classifier_table


def table_of(**row: Any):
    scores = {"accuracy": 0.9, "f1": 0.8, "auroc": 0.95, "positives": 3, "count": 9, **row}
    run: Any = SimpleNamespace(classes=["chest"], classification={"test": {"edema": scores}})
    table = classifier_table(run, "test")
    assert table is not None
    return table.head, [cell.text for cell in table.groups[0][0]]


def test_calibration_error_before_and_after():
    head, cells = table_of(ece=0.0123, uncalibrated={"ece": 0.0456}, temperature=1.7)
    assert head == ["label", "accuracy", "F1", "AUROC", "ECE before", "ECE after", "positives", "images"]
    assert cells[4:6] == ["0.046", "0.012"]


def test_without_calibration_one_error_and_of_old_runs_none():
    head, cells = table_of(ece=0.0456, uncalibrated=None, temperature=None)
    assert "ECE" in head and "ECE after" not in head and cells[4] == "0.046"
    head, cells = table_of()
    assert head == ["label", "accuracy", "F1", "AUROC", "positives", "images"] and len(cells) == 6
