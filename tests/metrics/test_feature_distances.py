"""Closed forms, symmetries, and torchmetrics as a peer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from latentpath.metrics import fidelity, vendi_score
from latentpath.metrics.feature_distances import frechet_distance

RNG = np.random.default_rng(0)


def normal(n: int, d: int = 6, mean: float = 0.0, std: float = 1.0) -> np.ndarray:
    return RNG.normal(mean, std, (n, d))


def test_the_same_distribution_is_as_near_as_real_images_and_another_far():
    same, other = fidelity(normal(400), normal(400)), fidelity(normal(400), normal(400, mean=3.0))
    assert same["fid"] < 2 * same["fid_real"] < 1 < 40 < other["fid"]
    assert abs(same["kid"]) < 0.2 < other["kid"] and abs(other["kid_real"]) < 30
    assert same["precision"] > 0.8 > 0.1 > other["precision"]
    assert same["recall"] > 0.8 > 0.1 > other["recall"] and other["recall_real"] > 0.8
    assert same["vendi"] == pytest.approx(same["vendi_real"], rel=0.1)
    assert (same["each"], same["reason"]) == (200, "")


def test_frechet_distance_is_its_closed_form():
    """|mu - mu'|^2 + d (s - s')^2 for covariances s^2 I and s'^2 I, which these samples have exactly."""
    x = normal(200)
    x -= x.mean(axis=0)
    x = x @ np.linalg.inv(np.linalg.cholesky(np.cov(x, rowvar=False))).T
    assert frechet_distance(1 + 2 * x, x) == pytest.approx(6 * (1.0 + 1.0), rel=1e-6)


def test_frechet_distance_of_few_images_with_many_features_is_that_of_the_covariances():
    from scipy.linalg import sqrtm

    x, y = normal(9, 30), normal(12, 30, mean=0.3)
    s, t = (np.cov(z, rowvar=False) + 1e-12 * np.eye(30) for z in (x, y))
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(s + t - 2 * np.real(sqrtm(s @ t)))
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-4)


def test_both_sides_have_as_many_images():
    """FID falls with the number of images: of twice as many real ones the same number is drawn."""
    assert fidelity(normal(30), normal(60))["each"] == fidelity(normal(30), normal(400))["each"] == 30
    assert fidelity(normal(300), normal(60))["each"] == 30
    few, many = (fidelity(normal(30), normal(m))["fid"] for m in (60, 400))
    assert few == pytest.approx(many, rel=0.3)


def test_few_modes_lower_recall_alone():
    narrow = fidelity(normal(300, std=0.1), normal(300))
    assert narrow["precision"] > 0.9 > 0.2 > narrow["recall"]


def test_fid_equals_torchmetrics():
    from torchmetrics.image.fid import FrechetInceptionDistance

    class Flat(nn.Module):
        num_features = 6

        def forward(self, x):
            return x.flatten(1)

    x, y = normal(200), normal(300, mean=0.5)
    peer = FrechetInceptionDistance(feature=Flat(), input_img_size=(6, 1, 1), normalize=True).set_dtype(
        torch.float64
    )
    peer.update(torch.tensor(y)[:, :, None, None], real=True)
    peer.update(torch.tensor(x)[:, :, None, None], real=False)
    assert frechet_distance(x, y) == pytest.approx(float(peer.compute()), rel=1e-3)


def test_vendi_counts_what_differs():
    assert vendi_score(np.ones((5, 3))) == pytest.approx(1)
    assert vendi_score(np.eye(7)) == pytest.approx(7)
    assert vendi_score(np.repeat(np.eye(4), 3, axis=0)) == pytest.approx(4)
    assert vendi_score(10 * np.eye(4)) == pytest.approx(4)  # the length of a feature does not count
    tall = normal(50, 3)
    gram = tall / np.linalg.norm(tall, axis=1, keepdims=True)
    eigenvalues = np.linalg.eigvalsh(gram @ gram.T / 50).clip(1e-15)
    assert vendi_score(tall) == pytest.approx(np.exp(-(eigenvalues * np.log(eigenvalues)).sum()), rel=1e-6)


def test_too_few_images_have_no_figure():
    found = fidelity(normal(3), normal(100))
    assert np.isnan(found["fid"]) and np.isnan(found["vendi_real"])
    assert (found["generated"], found["real"]) == (3, 100)
    assert found["reason"] == "needs 8 generated and 16 real images; there are 3 and 100"
    with pytest.raises(ValueError, match="features are"):
        fidelity(normal(10, 3), normal(10, 4))
