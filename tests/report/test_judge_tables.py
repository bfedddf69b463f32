"""The classifier's table shows its calibration where a run has it, and is as before where it has none."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from latentpath.report.judge_tables import classifier_table, cross_validation_table


def table_of(**row: Any):
    scores = {"accuracy": 0.9, "f1": 0.8, "auroc": 0.95, "positives": 3, "count": 9, **row}
    run: Any = SimpleNamespace(classes=["chest"], classification={"test": {"edema": scores}})
    table = classifier_table(run.classification, run.classes, "test")
    assert table is not None
    return table.head, [cell.text for cell in table.groups[0][0]]


def test_calibration_error_before_and_after():
    head, cells = table_of(ece=0.0123, uncalibrated={"ece": 0.0456}, temperature=1.7)
    assert head == ["label", "AUROC", "accuracy", "F1", "ECE before", "ECE after", "positives", "images"]
    assert cells[4:6] == ["0.046", "0.012"]


def test_without_calibration_one_error_and_of_old_runs_none():
    head, cells = table_of(ece=0.0456, uncalibrated=None, temperature=None)
    assert "ECE" in head and "ECE after" not in head and cells[4] == "0.046"
    head, cells = table_of()
    assert head == ["label", "AUROC", "accuracy", "F1", "positives", "images"] and len(cells) == 6


def test_the_auroc_after_the_vae_comes_first_with_its_interval():
    scores = {"class": {"accuracy": 0.9, "f1": 0.8, "auroc": 0.95, "positives": None, "count": 9}}
    scores["ink"] = scores["class"] | {"positives": 3}
    found = {"MEL": {"auroc": {"value": 0.7, "low": 0.5, "high": 0.9}}, "ink": {"auroc": {"value": 0.6}}}
    held_out = {"originals": found, "round_trips": found}
    run: Any = SimpleNamespace(classes=["MEL", "NV"], classification={"test": scores, "held_out": held_out})
    table = classifier_table(run.classification, run.classes, "test")
    assert table is not None and table.head[:3] == ["label", "AUROC after the VAE", "AUROC"]
    of_class, ink = table.groups[0]
    assert (of_class[1].text, of_class[1].interval) == ("0.70", "0.50–0.90")
    assert (of_class[2].text, of_class[2].interval) == ("0.95", "0.50–0.90")
    assert ink[1].text == "0.60" and ink[1].interval == ""


def test_a_cross_validated_judge_has_a_table_of_all_images():
    figure = {"value": 0.79, "low": 0.71, "high": 0.85}
    row = {
        "auroc": figure,
        "sensitivity": figure,
        "specificity": figure,
        "positives": 64,
        "negatives": 647,
        "groups": 483,
    }
    found = {"folds": 10, "images": 711, "heads": {"effusion": row}}
    table = cross_validation_table({"cross_validation": found})
    assert table is not None and "711 images" in table.caption and "10 folds" in table.caption
    cells = table.groups[0][0]
    assert [cell.text for cell in cells] == ["effusion", *["0.79"] * 3, *["64", "647", "483"]]
    assert {cell.interval for cell in cells[1:4]} == {"0.71–0.85"}
    assert cross_validation_table({}) is None
