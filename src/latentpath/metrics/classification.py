"""The classifier's table: accuracy, F1, AUROC and calibration per label on real images."""

import warnings
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torchmetrics.functional.classification import (
    binary_accuracy,
    binary_auroc,
    binary_f1_score,
    multiclass_accuracy,
    multiclass_auroc,
    multiclass_f1_score,
)

from latentpath.metrics.calibration import calibration
from latentpath.runs.files import Json


def classification_metrics(
    logits: Tensor,
    class_labels: Tensor,
    attribute_labels: Tensor,
    *,
    classes: Sequence[str],
    attributes: Sequence[str],
    temperatures: Mapping[str, float] | None = None,
    log_weights: Sequence[float] | None = None,
) -> dict[str, Json]:
    """Metrics of one split, as in classify/metrics.json.

    Returns {label: {accuracy, f1, auroc, positives, count, undefined, temperature, ece, adaptive_ece, nll,
    reliability, uncalibrated}}; the calibration as `metrics.calibration` defines it, of the calibrated logits
    (logits - log_weights) / temperature, which also decide. `uncalibrated` has the same four figures of the
    logits themselves; without `temperatures` it and `temperature` are None. log_weights: C + A, default 0.

    logits (n, C + A): C = number of classes if there are two or more, else 0; then one logit an attribute.
    class_labels (n,): index into `classes`, -1 where unknown. attribute_labels (n, A): 0, 1, NaN (left out).
    "class" (only with two or more classes): argmax of the softmax; accuracy = fraction right, F1 and
    one-vs-rest AUROC = mean over the classes that occur; `positives` is None, `support` has the images per
    class.
    Attributes: sigmoid > 0.5; F1 of the positive label. A metric without the label values that it needs is
    None, and `undefined` maps it to the reason. Raises ValueError on shapes that do not fit.
    """
    count = len(classes) if len(classes) > 1 else 0
    expected = (len(class_labels), count + len(attributes))
    if tuple(logits.shape) != expected or tuple(attribute_labels.shape) != (expected[0], len(attributes)):
        raise ValueError(
            f"logits must be {expected} and attribute_labels {(expected[0], len(attributes))}; "
            f"got {tuple(logits.shape)} and {tuple(attribute_labels.shape)}"
        )
    # our own probabilities, in float64: torchmetrics takes logits that all lie in [0, 1] for probabilities
    logits = logits.detach().double().cpu()
    class_labels, attribute_labels = class_labels.cpu(), attribute_labels.cpu()
    table: dict[str, Json] = {}
    heads: dict[str, tuple[Tensor, Tensor, Tensor]] = {}
    shifts = torch.zeros(expected[1]) if log_weights is None else torch.tensor(log_weights)
    shifted = logits - shifts.double()
    if count:
        known = class_labels >= 0
        heads["class"] = logits[known, :count], shifted[known, :count], class_labels[known].long()
    for i, attribute in enumerate(attributes):
        known = ~attribute_labels[:, i].isnan()
        column = count + i
        heads[attribute] = logits[known, column], shifted[known, column], attribute_labels[known, i].long()
    for label, (raw, unweighted, labels) in heads.items():
        temperature = None if temperatures is None else temperatures[label]
        scaled = unweighted / (temperature or 1.0)
        if raw.ndim == 2:
            row = _class_row(scaled.softmax(dim=1), labels, classes)
        else:
            row = _attribute_row(scaled.sigmoid(), labels)
        before = None if temperature is None else calibration(raw, labels)
        table[label] = (
            row | calibration(scaled, labels) | {"temperature": temperature, "uncalibrated": before}
        )
    return table


def mean_auroc(
    logits: Tensor,
    class_labels: Tensor,
    attribute_labels: Tensor,
    *,
    classes: Sequence[str],
    attributes: Sequence[str],
) -> float | None:
    """The mean of the AUROCs of `classification_metrics` that are defined, None if none is."""
    table = classification_metrics(
        logits, class_labels, attribute_labels, classes=classes, attributes=attributes
    )
    known = [row["auroc"] for row in table.values() if row["auroc"] is not None]
    return sum(known) / len(known) if known else None


def _attribute_row(probs: Tensor, labels: Tensor) -> Json:
    """probs, labels: (n,)"""
    row: Json = {"accuracy": None, "f1": None, "auroc": None}
    positives, n = int(labels.sum()), len(labels)
    undefined: dict[str, str] = {}
    if n == 0:
        undefined = dict.fromkeys(row, "no labelled images")
    else:
        row["accuracy"] = float(binary_accuracy(probs, labels))
        if positives == 0:
            undefined["f1"] = "no positive images"
        else:
            row["f1"] = float(binary_f1_score(probs, labels))
        if positives in (0, n):
            undefined["auroc"] = f"no {'negative' if positives else 'positive'} images"
        else:
            row["auroc"] = float(binary_auroc(probs, labels))
    return row | {"positives": positives, "count": n, "undefined": undefined}


def _class_row(probs: Tensor, labels: Tensor, classes: Sequence[str]) -> Json:
    """probs (n, C), labels (n,)"""
    row: Json = {"accuracy": None, "f1": None, "auroc": None}
    support = torch.bincount(labels, minlength=len(classes))
    occurs = support > 0
    undefined: dict[str, str] = {}
    if len(labels) == 0:
        undefined = dict.fromkeys(row, "no labelled images")
    else:
        row["accuracy"] = float(multiclass_accuracy(probs, labels, len(classes), average="micro"))
        if occurs.sum() < 2:
            only = classes[int(support.argmax())]
            undefined = {"f1": f"all images are {only}", "auroc": f"all images are {only}"}
        else:
            # absent classes would enter torchmetrics' macro average as zeros
            f1 = multiclass_f1_score(probs, labels, len(classes), average="none")
            with warnings.catch_warnings():  # about the absent classes, which `undefined` names
                warnings.simplefilter("ignore", UserWarning)
                auroc = multiclass_auroc(probs, labels, len(classes), average="none")
            row["f1"], row["auroc"] = float(f1[occurs].mean()), float(auroc[occurs].mean())
            if not occurs.all():
                absent = ", ".join(c for c, there in zip(classes, occurs.tolist(), strict=True) if not there)
                undefined = dict.fromkeys(("f1", "auroc"), f"mean without {absent}: no images of it")
    return row | {
        "positives": None,
        "count": len(labels),
        "support": {c: int(n) for c, n in zip(classes, support, strict=True)},
        "undefined": undefined,
    }
