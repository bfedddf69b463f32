"""Fits the last layer of a frozen classifier by logistic regression, on features that are computed once."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from latentpath.config.schema import TrainerConfig
from latentpath.data.pixels import to_model_range
from latentpath.diffusion.execution import device_of
from latentpath.judge.classifier import Classifier
from latentpath.judge.stage_features import StageFeatures
from latentpath.metrics.calibration import nll
from latentpath.runs.progress import bar
from latentpath.runs.ranks import Rank
from latentpath.training.classify import LabelWeights
from latentpath.training.labelled_images import ImageData, LabelledImages

Array = NDArray[np.float32]
STRENGTHS = (1e-3, 1e-2, 1e-1)  # inverse strengths C of the L2 penalty, tried on the validation split
MOST_STEPS = 300


def fit_head(classifier: Classifier, data: ImageData, *, weights: LabelWeights) -> dict[str, float]:
    """Fit the last layer on the training split; return for each head the strength C that was chosen.

    Each head is fitted alone, on the images whose label is known, with the `weights` that training a whole
    network would have.
    """
    network = classifier.network
    assert isinstance(network, StageFeatures)
    train, val = data.splits["train"], data.splits["val"]
    x = split_features(classifier, train)
    network.center.copy_(torch.from_numpy(x.mean(axis=0)))
    network.scale.copy_(torch.from_numpy(np.maximum(x.std(axis=0), 1e-6)))
    x = (x - network.center.cpu().numpy()) / network.scale.cpu().numpy().astype(np.float32)
    val_x = split_features(classifier, val)
    chosen, layers = {}, []
    if classifier.class_outputs:
        y, val_y = train.class_labels.numpy(), val.class_labels.numpy()
        weight, bias, chosen["class"] = fit_layer(x, y, val_x, val_y, weights=weights.classes)
        layers.append((weight, bias))
    for i, name in enumerate(classifier.attributes):
        known, val_known = (~split.attribute_labels[:, i].isnan().numpy() for split in (train, val))
        y, val_y = (split.attribute_labels[:, i].numpy() for split in (train, val))
        weight, bias, chosen[name] = fit_layer(
            x[known],
            y[known].astype(np.int64),
            val_x[val_known],
            val_y[val_known].astype(np.int64),
            weights=torch.tensor([1.0, float(weights.positives[i])]),
        )
        layers.append((weight[1:] - weight[:1], bias[1:] - bias[:1]))  # present against absent: one logit
    with torch.no_grad():
        network.head.weight.copy_(torch.cat([weight for weight, _ in layers]))
        network.head.bias.copy_(torch.cat([bias for _, bias in layers]))
    return chosen


def fit_on_first_rank(
    classifier: Classifier, data: ImageData, trainer: TrainerConfig, *, weights: LabelWeights, rank: Rank
) -> dict[str, Any]:
    """Call `fit_head` on rank 0, which is enough, and return what the manifest says of it."""
    if not rank.is_zero:
        return {}
    data.prepare_data()
    data.setup()
    classifier.to(device_of(trainer.accelerator, rank.local_index))
    return {"penalty": fit_head(classifier, data, weights=weights)}


def split_features(classifier: Classifier, images: LabelledImages, *, batch_size: int = 128) -> Array:
    """Return the features (n, d) of a split, as the last layer of the classifier gets them."""
    assert isinstance(classifier.network, StageFeatures)
    found = [np.zeros((0, classifier.network.head.in_features), np.float32)]
    with bar("features of images", len(images)) as advance:
        for start in range(0, len(images), batch_size):
            batch = images[list(range(start, min(start + batch_size, len(images))))]
            found.append(classifier.predict_with_features(to_model_range(batch["images"]))[2].numpy())
            advance(len(found[-1]))
    return np.concatenate(found)


def fit_layer(
    x: Array, y: NDArray[np.int64], val_x: Array, val_y: NDArray[np.int64], *, weights: Tensor
) -> tuple[Tensor, Tensor, float]:
    """Fit logits (n, K) of K labels on features x (n, d): return weight (K, d), bias (K,) and C.

    weights (K,): of the labels in the loss. Of `STRENGTHS` the C is taken with the least negative
    log-likelihood on the validation split, where the logits are rid of the weights; without such images, the
    one in the middle.
    """
    model = LogisticRegression(
        class_weight=dict(enumerate(weights.tolist())), max_iter=MOST_STEPS, tol=1e-3, warm_start=True
    )
    tried = []
    for strength in STRENGTHS if len(val_y) else STRENGTHS[1:2]:
        model.set_params(C=strength).fit(x, y)
        weight = torch.from_numpy(np.asarray(model.coef_, np.float32))
        bias = torch.from_numpy(np.asarray(model.intercept_, np.float32))
        if len(weight) == 1:  # of two labels scikit-learn gives the logit of the second against the first
            weight, bias = torch.cat([-weight / 2, weight / 2]), torch.cat([-bias / 2, bias / 2])
        logits = torch.from_numpy(val_x) @ weight.T + bias - weights.log()
        loss = nll(logits, torch.from_numpy(val_y)) if len(val_y) else 0.0
        tried.append((loss, weight, bias, strength))
    _, weight, bias, strength = min(tried, key=lambda each: each[0])
    return weight, bias, strength
