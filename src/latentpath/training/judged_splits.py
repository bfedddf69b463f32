"""Calibrates, evaluates and saves the trained classifier, and prints its table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from latentpath.config.choices import Calibrate
from latentpath.errors import UserError
from latentpath.judge.classifier import Classifier
from latentpath.metrics.classification import classification_metrics
from latentpath.report.judge_tables import classifier_table, cross_validation_table, round_trip_table
from latentpath.report.terminal import print_table
from latentpath.runs.files import Json, write_json
from latentpath.training.classify import LabelWeights
from latentpath.training.fit_head import Change, twice
from latentpath.training.held_out import RoundTrip, after_round_trip, held_out_figures
from latentpath.training.labelled_images import ImageData, LabelledImages


def judge_splits(
    classifier: Classifier,
    data: ImageData,
    folder: Path,
    *,
    calibrate: Calibrate,
    weights: LabelWeights,
    round_trip: RoundTrip | None = None,
    calibrate_after_it: bool = False,
    cross_validation: Callable[[], Json] | None = None,
) -> dict[str, float | None]:
    """Calibrate on the validation split, save classifier and metrics.json; return mean accuracies by split.

    weights: of the labels in training, which full calibration undoes. round_trip: held-out images are also
    measured after it, and with `calibrate_after_it` the classifier is calibrated on validation images as they
    are and after it. cross_validation: called after calibration, for the key of that name. The calibration
    error on the validation split is optimistic, because the temperatures were fitted there.
    """
    logits = {name: split_logits(classifier, data.splits[name]) for name in ("test", "val")}
    if not all(values.isfinite().all() for values in logits.values()):
        raise UserError(
            "the classifier's outputs are not finite. Try a smaller `lr`, or `precision=32-true`."
        )
    if calibrate is not Calibrate.none:
        val, undone = data.splits["val"], weights.logs if calibrate is Calibrate.full else None
        seen = logits["val"]
        if calibrate_after_it and round_trip is not None:
            val, changed = twice(val), split_logits(classifier, val, change=round_trip.function)
            seen = torch.cat([seen, changed])
        classifier.calibrate(seen, val.class_labels, val.attribute_labels, log_weights=undone)
    metrics: Json = {
        name: classification_metrics(
            values,
            data.splits[name].class_labels,
            data.splits[name].attribute_labels,
            classes=classifier.classes,
            attributes=classifier.attributes,
            temperatures=classifier.temperatures,
            log_weights=classifier.log_weight.tolist(),
        )
        for name, values in logits.items()
    }
    test = data.splits["test"]
    metrics["held_out"] = {
        "images": len(test),
        "originals": held_out_figures(classifier, test, logits["test"]),
    }
    if round_trip is not None and round_trip.most and len(test):
        metrics["held_out"] = after_round_trip(classifier, test, round_trip)
    if cross_validation is not None:
        metrics["cross_validation"] = cross_validation()
    classifier.save(folder)
    write_json(folder / "metrics.json", metrics)
    if table := classifier_table(metrics, classifier.classes, "test"):
        print_table(table)
    if "round_trips" in metrics["held_out"]:
        print_table(round_trip_table(metrics["held_out"]))
    if table := cross_validation_table(metrics):
        print_table(table)
    return {name: _mean_accuracy(metrics[name]) for name in logits}


def _mean_accuracy(rows: Json) -> float | None:
    accuracies = [row["accuracy"] for row in rows.values() if row["accuracy"] is not None]
    return sum(accuracies) / len(accuracies) if accuracies else None


def split_logits(
    classifier: Classifier, data: LabelledImages, *, change: Change | None = None, batch_size: int = 256
) -> torch.Tensor:
    """Return the logits (n, C + A) of a split, as trained: not calibrated."""
    logits = [torch.zeros(0, classifier.class_outputs + len(classifier.attributes))]
    for pixels in data.batches(batch_size):
        logits.append(classifier.logits(change(pixels) if change else pixels))
    return torch.cat(logits)
