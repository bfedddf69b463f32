"""Measures a trained classifier on held-out images, and on the same images after the base model's VAE."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from latentpath.judge.classifier import Classifier
from latentpath.metrics.held_out import head_figures, psnr
from latentpath.metrics.intervals import mean_intervals
from latentpath.runs.files import Json
from latentpath.runs.progress import bar
from latentpath.training.labelled_images import LabelledImages

CHUNK = 128  # images that are decoded at once


@dataclass(frozen=True)
class RoundTrip:
    """The VAE whose decoder makes the images to be judged; held-out images are encoded and decoded by it."""

    vae: str  # its name
    function: Callable[[Tensor], Tensor]  # images (n, 3, h, w) in [-1, 1] -> the same shape and range
    most: int  # images that are sent through it, spread over the split


def held_out_figures(
    classifier: Classifier, images: LabelledImages, logits: Tensor, *, decided_at: float = 0.5
) -> Json:
    """Return `head_figures` of each head: the classes by name (of two only the first), then the attributes.

    logits (n, C + A): of `images`, as trained. A class is decided by argmax, an attribute by its calibrated
    probability. Intervals are over groups.
    """
    calibrated, c = classifier.calibrated(logits).double(), classifier.class_outputs
    figures = {}
    for i, name in enumerate(classifier.classes[:1] if c == 2 else classifier.classes[:c]):
        labels = (images.class_labels == i).double()
        others = calibrated[:, [j for j in range(c) if j != i]]
        score = calibrated[:, i] - others.logsumexp(dim=1)  # log-odds, which unlike probabilities never tie
        decided = calibrated[:, :c].argmax(dim=1) == i
        figures[name] = head_figures(score, decided, labels, images.groups)
    for i, name in enumerate(classifier.attributes):
        score, labels = calibrated[:, c + i], images.attribute_labels[:, i]
        figures[name] = head_figures(score, score.sigmoid() > decided_at, labels, images.groups)
    return figures


def after_round_trip(classifier: Classifier, images: LabelledImages, round_trip: RoundTrip) -> Json:
    """Measure the classifier on the same images before and after the round trip.

    Returns {vae, images, psnr {value, low, high} in dB, originals, round_trips}, the last two as
    `held_out_figures`; psnr is the mean over groups.
    """
    most = min(len(images), round_trip.most)
    chosen = images.subset(np.linspace(0, len(images) - 1, most).astype(int))
    before, after, quality = [], [], []
    with bar("images after the VAE", len(chosen)) as advance:
        for originals in chosen.batches(CHUNK):
            decoded = round_trip.function(originals)
            before.append(classifier.logits(originals))
            after.append(classifier.logits(decoded))
            quality.append(psnr(originals.numpy(), decoded.numpy()))
            advance(len(originals))
    return {
        "vae": round_trip.vae,
        "images": len(chosen),
        "psnr": _mean_over_groups(np.concatenate(quality), chosen.groups),
        "originals": held_out_figures(classifier, chosen, torch.cat(before)),
        "round_trips": held_out_figures(classifier, chosen, torch.cat(after)),
    }


def _mean_over_groups(values: np.ndarray, groups: ArrayLike) -> dict[str, float | None]:
    """Return the mean of the groups' means and its interval; what is not finite is None."""
    _, member, sizes = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    means = (np.bincount(member, values) / sizes)[:, None]
    ends = mean_intervals(means) if np.isfinite(means).all() else None
    found = (means.mean(), ends.low[0], ends.high[0]) if ends else (np.nan,) * 3
    names = ("value", "low", "high")
    return {k: float(v) if np.isfinite(v) else None for k, v in zip(names, found, strict=True)}
