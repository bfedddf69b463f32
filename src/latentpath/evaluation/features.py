"""What a classifier sees before it decides: the input of its last layer, noted while it judges."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


@contextmanager
def noting_features(network: Any) -> Iterator[list[Tensor]]:
    """Within the block every forward of `network`, a timm model, adds its features (n, d), on the CPU, to the
    list: no pass besides the one that gives the probabilities."""
    seen: list[Tensor] = []
    layer = network.get_classifier()
    handle = layer.register_forward_pre_hook(
        lambda module, inputs: seen.append(inputs[0].detach().flatten(1).float().cpu())
    )
    try:
        yield seen
    finally:
        handle.remove()


def features_of(classifier: Any, images: Tensor) -> Tensor:
    """Features (n, d) of images (n, 3, h, w) in [-1, 1]."""
    with noting_features(classifier.network) as seen:
        classifier.predict(images)
    return torch.cat(seen)
