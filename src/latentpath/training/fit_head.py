"""Fits the last layer of a frozen classifier by logistic regression, on features that are computed once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from latentpath.config.training import TrainerConfig
from latentpath.diffusion.execution import device_of
from latentpath.judge.classifier import Classifier
from latentpath.judge.stage_features import StageFeatures
from latentpath.metrics.calibration import nll
from latentpath.runs.progress import bar
from latentpath.runs.ranks import Rank
from latentpath.training.classify import LabelWeights
from latentpath.training.labelled_images import ImageData, LabelledImages

Array = NDArray[np.float32]
Flags = NDArray[np.bool_]
Change = Callable[[Tensor], Tensor]
STRENGTHS = (1e-3, 1e-2, 1e-1)  # inverse strengths C of the L2 penalty, tried on the validation split
MOST_STEPS = 300


def fit_on_first_rank(
    classifier: Classifier,
    data: ImageData,
    trainer: TrainerConfig,
    *,
    weights: LabelWeights,
    rank: Rank,
    change: Change | None = None,
) -> dict[str, float]:
    """Call `fit_head` on rank 0, which is enough; other ranks return nothing."""
    if not rank.is_zero:
        return {}
    data.prepare_data()
    data.setup()
    classifier.to(device_of(trainer.accelerator, rank.local_index))
    return fit_head(classifier, data, weights=weights, change=change)


def fit_head(
    classifier: Classifier, data: ImageData, *, weights: LabelWeights, change: Change | None = None
) -> dict[str, float]:
    """Fit the last layer on the training split; return for each head the C that was chosen.

    Each head is fitted alone, on the images whose label is known, with the `weights` that training a whole
    network would have. Of `STRENGTHS` it takes the C with the least `loss` on the validation split; without
    such images, the one in the middle. change: images (n, 3, h, w) in [-1, 1] -> the same, such as a VAE's
    round trip; the layer is then fitted on every image twice, as it is and changed.
    """
    network = classifier.network
    assert isinstance(network, StageFeatures)
    train, val = data.splits["train"], data.splits["val"]
    kinds = (None, change) if change else (None,)
    x = np.concatenate([split_features(classifier, train, change=kind) for kind in kinds])
    network.center.copy_(torch.from_numpy(x.mean(axis=0)))
    network.scale.copy_(torch.from_numpy(np.maximum(x.std(axis=0), 1e-6)))
    x = (x - network.center.cpu().numpy()) / network.scale.cpu().numpy().astype(np.float32)
    val_x = np.concatenate([split_features(classifier, val, change=kind) for kind in kinds])
    train, val = (twice(split) if change else split for split in (train, val))
    penalty, layers = {}, []
    for head, check in zip(
        heads_of(classifier, train, weights), heads_of(classifier, val, weights), strict=True
    ):
        tried = []
        for strength in STRENGTHS if len(val_x) else STRENGTHS[1:2]:
            layer = head.fit(x, strength)
            tried.append((check.loss(val_x, *layer) if len(val_x) else 0.0, strength, layer))
        _, penalty[head.name], layer = min(tried, key=lambda each: each[:2])
        layers.append(head.outputs(*layer))
    with torch.no_grad():
        network.head.weight.copy_(torch.cat([weight for weight, _ in layers]))
        network.head.bias.copy_(torch.cat([bias for _, bias in layers]))
    return penalty


@dataclass(frozen=True)
class Head:
    """One head: its labels (n,), 0..K-1 or NaN (unknown), and the weight of each label in the loss (K,)."""

    name: str
    labels: NDArray[np.float64]
    weights: Tensor
    one_logit: bool  # an attribute has one output, present against absent; classes have one each

    def fit(self, x: Array, strength: float, rows: Flags | None = None) -> tuple[Tensor, Tensor]:
        """Fit logits (n, K) on features x (n, d), of `rows` (n,) only: return weight (K, d) and bias (K,)."""
        known = np.isfinite(self.labels) & (True if rows is None else rows)
        model = LogisticRegression(
            C=strength, class_weight=dict(enumerate(self.weights.tolist())), max_iter=MOST_STEPS, tol=1e-3
        ).fit(x[known], self.labels[known].astype(np.int64))
        weight = torch.from_numpy(np.asarray(model.coef_, np.float32))
        bias = torch.from_numpy(np.asarray(model.intercept_, np.float32))
        if len(weight) == 1:  # of two labels scikit-learn gives the logit of the second against the first
            return torch.cat([-weight / 2, weight / 2]), torch.cat([-bias / 2, bias / 2])
        return weight, bias

    def loss(self, x: Array, weight: Tensor, bias: Tensor) -> float:
        """Return the mean negative log-likelihood of the logits minus the log weights of the labels."""
        known = np.isfinite(self.labels)
        logits = torch.from_numpy(x[known]) @ weight.T + bias - self.weights.log()
        return nll(logits, torch.from_numpy(self.labels[known]))

    def outputs(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Turn weight and bias of K logits into those of the network's outputs: K, or 1 for an attribute."""
        return (weight[1:] - weight[:1], bias[1:] - bias[:1]) if self.one_logit else (weight, bias)


def heads_of(classifier: Classifier, images: LabelledImages, weights: LabelWeights) -> list[Head]:
    """Return every head with the labels of `images`, in the order of the outputs of the classifier."""
    heads = []
    if classifier.class_outputs:
        heads.append(Head("class", images.class_labels.double().numpy(), weights.classes, one_logit=False))
    for i, name in enumerate(classifier.attributes):
        present = torch.tensor([1.0, float(weights.positives[i])])
        heads.append(Head(name, images.attribute_labels[:, i].double().numpy(), present, one_logit=True))
    return heads


def twice(images: LabelledImages) -> LabelledImages:
    """Return the images followed by the same images again."""
    return images.subset(np.tile(np.arange(len(images)), 2))


def split_features(
    classifier: Classifier, images: LabelledImages, *, change: Change | None = None, batch_size: int = 128
) -> Array:
    """Return the features (n, d) of images, as the last layer of the classifier gets them."""
    assert isinstance(classifier.network, StageFeatures)
    found = [np.zeros((0, classifier.network.head.in_features), np.float32)]
    with bar("features of images", len(images)) as advance:
        for pixels in images.batches(batch_size):
            pixels = change(pixels) if change else pixels
            found.append(classifier.predict_with_features(pixels)[2].numpy())
            advance(len(found[-1]))
    return np.concatenate(found)
