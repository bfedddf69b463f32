"""Calibration against torchmetrics, and a temperature against one that is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import binary_calibration_error, multiclass_calibration_error

from latentpath.metrics.calibration import (
    adaptive_ece,
    calibration,
    ece,
    fit_temperature,
    nll,
    reliability,
)


def drawn(
    n: int, temperature: float, *, classes: int = 0, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits whose right temperature is known: labels are drawn from them divided by it."""
    generator = torch.Generator().manual_seed(seed)
    shape = (n, classes) if classes else (n,)
    logits = 4 * torch.randn(shape, generator=generator, dtype=torch.float64)
    if classes:
        return logits, torch.multinomial((logits / temperature).softmax(1), 1, generator=generator).flatten()
    uniform = torch.rand(n, generator=generator, dtype=torch.float64)
    return logits, (uniform < (logits / temperature).sigmoid()).double()


@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_known_temperature_is_found(classes: int, temperature: float):
    logits, labels = drawn(40_000, temperature, classes=classes)
    found = fit_temperature(logits, labels)
    assert found == pytest.approx(temperature, rel=0.03)
    assert found == fit_temperature(logits, labels)


@pytest.mark.parametrize("classes", [0, 3])
def test_the_temperature_minimises_the_nll(classes: int):
    """Up to the prior, which 40,000 images outweigh."""
    logits, labels = drawn(40_000, 2.0, classes=classes, seed=1)
    found = fit_temperature(logits, labels)
    assert all(nll(logits / found, labels) < nll(logits / (found * off), labels) for off in (0.97, 1.03))


def test_few_images_never_make_it_worse():
    for seed in range(20):
        logits, labels = drawn(7, 1.5, classes=seed % 2 * 3, seed=seed)
        found = fit_temperature(logits, labels)
        assert 0.05 <= found <= 20
        assert nll(logits / found, labels) <= nll(logits, labels)


def test_without_an_error_there_is_still_a_temperature():
    """The likelihood alone would sharpen forever."""
    logits = torch.linspace(-4, 4, 300)
    found = fit_temperature(logits, (logits > 0).float())
    assert 0.1 < found < 1
    certain = 30 * logits.sign()
    assert fit_temperature(certain, (certain > 0).float()) == pytest.approx(1.0, abs=1e-3)


def test_no_images_no_change():
    assert fit_temperature(torch.zeros(0), torch.zeros(0)) == 1.0
    assert fit_temperature(torch.zeros(0, 3), torch.zeros(0)) == 1.0
    assert set(calibration(torch.zeros(0), torch.zeros(0)).values()) == {None}


def test_ece_agrees_with_torchmetrics():
    logits, labels = drawn(3000, 2.0)
    found = calibration(logits, labels)["ece"]
    theirs = binary_calibration_error(logits.sigmoid(), labels.long(), n_bins=15, norm="l1")
    assert found == pytest.approx(float(theirs), abs=1e-6) and found > 0.05
    logits, labels = drawn(3000, 2.0, classes=4)
    theirs = multiclass_calibration_error(logits.softmax(1), labels, num_classes=4, n_bins=15, norm="l1")
    assert calibration(logits, labels)["ece"] == pytest.approx(float(theirs), abs=1e-6)


def test_temperature_mends_what_a_temperature_broke():
    logits, labels = drawn(20_000, 3.0)
    before, after = calibration(logits, labels), calibration(logits / fit_temperature(logits, labels), labels)
    for figure, small in (("ece", 0.015), ("adaptive_ece", 0.015)):
        assert after[figure] < small < before[figure] / 5
    assert after["nll"] < before["nll"]


def test_by_hand():
    probs, came_true = np.array([0.9, 0.9, 0.1, 1.0]), np.array([1.0, 0.0, 0.0, 1.0])
    # 0.9 and 1.0 lie in bins 13 and 14 of 15, 0.1 in bin 1
    assert ece(probs, came_true) == pytest.approx((0.8 + 0.1 + 0.0) / 4)
    bins = reliability(probs, came_true)
    assert [bins["count"][i] for i in (1, 13, 14)] == [1, 2, 1] and sum(bins["count"]) == 4
    assert (bins["predicted"][13], bins["observed"][13]) == (pytest.approx(0.9), 0.5)
    assert bins["predicted"][0] is None
    assert adaptive_ece(probs, came_true, bins=2) == pytest.approx((abs(0.1 - 0.1) + 0.9) / 4)
    assert adaptive_ece(probs, came_true) == pytest.approx((0.1 + 0.1 + 0.9 + 0.0) / 4)  # one a bin


def test_ece_is_the_reliability_diagrams_gap():
    logits, labels = drawn(500, 2.0)
    found = calibration(logits, labels)
    gaps = [
        n * abs(observed - predicted)
        for n, predicted, observed in zip(*found["reliability"].values(), strict=True)
        if n
    ]
    assert found["ece"] == pytest.approx(sum(gaps) / 500)
    assert math.isfinite(found["nll"])
