"""A frozen pretrained network with one trainable linear layer on the feature maps of all its stages."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class StageFeatures(nn.Module):
    """Maps normalised images (n, 3, h, w) to logits (n, num_outputs) by a linear layer on features of `body`.

        features = ( concat over stages k of [ mean(map_k), std(map_k) ] - center ) / scale

    mean and std are taken over the positions of a map: features of early stages tell how much of an edge or a
    texture there is, those of late stages what the image shows. `body`, a network of timm, stays in
    evaluation mode and is not trained. `center` and `scale`, set by the training, standardise the features
    (n, 2 * channels) on its images. Source: linear probes of all layers, Alain and Bengio 2016.
    """

    center: Tensor
    scale: Tensor

    def __init__(self, body: nn.Module, *, num_outputs: int) -> None:
        super().__init__()
        self.body: Any = body.eval().requires_grad_(False)  # Any: of timm
        self.pretrained_cfg = getattr(body, "pretrained_cfg", None)
        with torch.no_grad():
            count = self._pooled(torch.zeros(1, 3, 64, 64)).shape[1]
        self.register_buffer("center", torch.zeros(count))
        self.register_buffer("scale", torch.ones(count))
        self.head = nn.Linear(count, num_outputs)

    def forward(self, images: Tensor) -> Tensor:
        return self.head((self._pooled(images) - self.center) / self.scale)

    def train(self, mode: bool = True) -> StageFeatures:
        super().train(mode)
        self.body.eval()  # its batch norms keep the statistics that it was trained with
        return self

    def get_classifier(self) -> nn.Linear:
        """Return the layer that turns features into logits (timm's name for this method)."""
        return self.head

    def _pooled(self, images: Tensor) -> Tensor:
        maps = self.body.forward_intermediates(images, intermediates_only=True)
        return torch.cat([pool(m.float()) for m in maps for pool in (_mean, _std)], dim=1)


def _mean(maps: Tensor) -> Tensor:
    return maps.mean(dim=(2, 3))


def _std(maps: Tensor) -> Tensor:
    return maps.std(dim=(2, 3), correction=0)
