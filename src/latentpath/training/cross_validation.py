"""Judges every image by a last layer that was fitted without its group: for data with few held-out images."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from latentpath.data.splits import hash_unit
from latentpath.errors import UserError
from latentpath.judge.classifier import Classifier
from latentpath.runs.files import Json
from latentpath.training.classify import LabelWeights
from latentpath.training.fit_head import heads_of, split_features
from latentpath.training.held_out import held_out_figures
from latentpath.training.labelled_images import ImageData, LabelledImages


def cross_validate(
    classifier: Classifier, data: ImageData, *, weights: LabelWeights, penalty: dict[str, float], folds: int
) -> Json:
    """Fit the last layer `folds` times, each time without a part of the groups, and judge that part by it.

    Returns {folds, images, heads}: `held_out_figures` of all images of all splits. The frozen network, the
    penalties and the calibration are those of the classifier, which were chosen on its validation split; the
    layers are new. Raises UserError if a label occurs in one fold only.
    """
    images = _all_images(data)
    x = split_features(classifier, images)
    fold = fold_of(images.groups, folds)
    logits = torch.zeros(len(x), classifier.class_outputs + len(classifier.attributes))
    for number in range(folds):
        inside = fold == number
        layers = []
        for head in heads_of(classifier, images, weights):
            answers = np.unique(head.labels[~inside & np.isfinite(head.labels)])
            if len(answers) < len(head.weights):
                raise UserError(
                    f"`folds={folds}`: outside one of the folds all images have the same {head.name}, so it "
                    "cannot be learned there. Take fewer folds"
                )
            layers.append(head.outputs(*head.fit(x, penalty[head.name], ~inside)))
        weight, bias = (torch.cat(parts) for parts in zip(*layers, strict=True))
        logits[torch.from_numpy(inside)] = torch.from_numpy(x[inside]) @ weight.T + bias
    return {"folds": folds, "images": len(x), "heads": held_out_figures(classifier, images, logits)}


def fold_of(groups: np.ndarray, folds: int) -> np.ndarray:
    """Return the fold (n,) in 0..folds - 1 of each image, a hash of its group: new images move no others."""
    return np.floor(hash_unit([str(group) for group in groups], salt="folds") * folds).astype(int)


def _all_images(data: ImageData) -> LabelledImages:
    splits = [data.splits[name] for name in ("train", "val", "test")]

    def joined(name: str) -> Tensor:
        return torch.cat([getattr(split, name) for split in splits])

    return LabelledImages(
        splits[0].images,
        np.concatenate([split.positions for split in splits]),
        joined("class_labels"),
        joined("attribute_labels"),
        np.concatenate([split.groups for split in splits]),
    )
