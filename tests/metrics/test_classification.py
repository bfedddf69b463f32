"""The classifier's table against scikit-learn and by hand."""

import json
import math

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from latentpath.metrics import classification_metrics
from latentpath.metrics.classification import mean_auroc


def test_agrees_with_sklearn():
    rng = np.random.default_rng(0)
    n, classes, attributes = 200, ("MEL", "NV", "BCC"), ("hair", "ink")
    logits = rng.normal(size=(n, 5))
    y = rng.integers(0, 3, size=n)
    y[:10] = -1
    labels = rng.integers(0, 2, size=(n, 2)).astype(float)
    labels[:60, 1] = np.nan
    logits[:, 3:] += np.nan_to_num(labels)
    table = classification_metrics(
        torch.tensor(logits), torch.tensor(y), torch.tensor(labels), classes=classes, attributes=attributes
    )
    assert list(table) == ["class", "hair", "ink"]
    known = y >= 0
    probs = np.exp(logits[:, :3]) / np.exp(logits[:, :3]).sum(axis=1, keepdims=True)
    decision = probs.argmax(axis=1)
    assert table["class"]["accuracy"] == pytest.approx(accuracy_score(y[known], decision[known]))
    assert table["class"]["f1"] == pytest.approx(f1_score(y[known], decision[known], average="macro"))
    assert table["class"]["auroc"] == pytest.approx(roc_auc_score(y[known], probs[known], multi_class="ovr"))
    assert table["class"]["count"] == 190 and sum(table["class"]["support"].values()) == 190
    for i, name in enumerate(attributes):
        known = ~np.isnan(labels[:, i])
        truth, logit = labels[known, i], logits[known, 3 + i]
        assert table[name]["accuracy"] == pytest.approx(accuracy_score(truth, logit > 0))
        assert table[name]["f1"] == pytest.approx(f1_score(truth, logit > 0))
        assert table[name]["auroc"] == pytest.approx(roc_auc_score(truth, logit))
        assert (table[name]["count"], table[name]["positives"]) == (known.sum(), truth.sum())
        assert table[name]["undefined"] == {}
    assert table["ink"]["count"] == 140
    json.dumps(table)


def one_attribute(logits, labels):
    return classification_metrics(
        torch.tensor(logits)[:, None],
        torch.zeros(len(labels), dtype=torch.long),
        torch.tensor(labels)[:, None],
        classes=("chest",),
        attributes=("effusion",),
    )


def test_logits_between_0_and_1_are_still_logits():
    """All are positive decisions; torchmetrics alone would read them as probabilities below 0.5."""
    table = one_attribute([0.1, 0.2, 0.3, 0.4], [1.0, 1.0, 1.0, 0.0])
    assert table["effusion"]["accuracy"] == 0.75
    assert "class" not in table  # a single class is no decision


def test_large_logits_keep_their_order():
    assert one_attribute([20.0, 25.0, 30.0], [0.0, 0.0, 1.0])["effusion"]["auroc"] == 1.0


def test_undefined_is_none_with_a_reason():
    none = one_attribute([1.0, -1.0], [0.0, 0.0])["effusion"]
    assert (none["accuracy"], none["f1"], none["auroc"]) == (0.5, None, None)
    assert none["undefined"] == {"f1": "no positive images", "auroc": "no positive images"}
    full = one_attribute([1.0, -1.0], [1.0, 1.0])["effusion"]
    assert full["auroc"] is None and full["undefined"] == {"auroc": "no negative images"}
    assert full["f1"] == pytest.approx(2 / 3)
    empty = one_attribute([1.0, -1.0], [math.nan, math.nan])["effusion"]
    assert (empty["accuracy"], empty["count"], empty["positives"]) == (None, 0, 0)
    assert set(empty["undefined"]) == {"accuracy", "f1", "auroc"}


def class_only(logits, y, classes):
    return classification_metrics(
        torch.tensor(logits), torch.tensor(y), torch.empty(len(y), 0), classes=classes, attributes=()
    )["class"]


def test_absent_class_is_left_out_of_the_mean_and_named():
    row = class_only([[3.0, 0, 0], [0, 3.0, 0], [3.0, 0, 0]], [0, 1, 1], ("MEL", "NV", "BCC"))
    assert row["f1"] == pytest.approx((2 / 3 + 2 / 3) / 2)  # not a third less
    assert row["auroc"] == pytest.approx(0.75)
    assert "without BCC" in row["undefined"]["auroc"]


def test_one_class_only_has_no_auroc():
    row = class_only([[3.0, 0], [0, 3.0]], [1, 1], ("MEL", "NV"))
    assert (row["accuracy"], row["f1"], row["auroc"]) == (0.5, None, None)
    assert row["undefined"]["auroc"] == "all images are NV"


def test_shapes_are_checked():
    with pytest.raises(ValueError, match="logits must be"):
        class_only([[1.0]], [0], ("MEL", "NV"))


def test_a_temperature_changes_calibration_alone():
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(200, 4, generator=generator)
    y, labels = torch.randint(0, 2, (200,), generator=generator), torch.randint(0, 2, (200, 2)).float()
    names = {"classes": ("MEL", "NV"), "attributes": ("hair", "ink")}
    plain = classification_metrics(logits, y, labels, **names)
    soft = classification_metrics(
        logits, y, labels, **names, temperatures={"class": 2.0, "hair": 4.0, "ink": 1.0}
    )
    for label, row in soft.items():
        for key in ("accuracy", "f1", "auroc", "count"):
            assert row[key] == plain[label][key]
        assert row["uncalibrated"] == {key: plain[label][key] for key in row["uncalibrated"]}
    assert plain["hair"]["temperature"] is None and plain["hair"]["uncalibrated"] is None
    assert soft["hair"]["ece"] < plain["hair"]["ece"] and soft["class"]["nll"] < plain["class"]["nll"]
    assert soft["ink"]["ece"] == plain["ink"]["ece"]
    json.dumps(soft, allow_nan=False)


def test_mean_auroc_leaves_out_what_has_none():
    logits = torch.tensor([[1.0, 2.0], [2.0, 1.0], [3.0, 0.0]])
    labels = torch.tensor([[0.0, 1.0], [1.0, 1.0], [1.0, 1.0]])
    arguments = {"classes": ("chest",), "attributes": ("x", "y")}
    assert mean_auroc(logits, torch.zeros(3), labels, **arguments) == 1.0
    assert mean_auroc(logits[:0], torch.zeros(0), labels[:0], **arguments) is None
