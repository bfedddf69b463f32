"""What networks see in images: the judge before it decides, Inception, the DenseNet of TorchXRayVision."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import densenet121

from latentpath.data.pixels import to_uint8
from latentpath.errors import UserError
from latentpath.judge.networks import deciding_layer
from latentpath.runs.weights import FEATURES, FROM_ENVIRONMENT, WeightsFolder

log = logging.getLogger(__name__)


@contextmanager
def noting_features(network: Any) -> Iterator[list[Tensor]]:
    """Within the block every forward of `network` adds its features (n, d), on the CPU, to the list: no pass
    besides the one that gives the probabilities. Features are the input of `networks.deciding_layer`."""
    seen: list[Tensor] = []
    layer = deciding_layer(network, name=type(network).__name__)
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


class Inception(nn.Module):
    """Images (n, 3, h, w) in [-1, 1] -> features (n, 2048): the network of FID as it is published.

    It takes 8 bits a channel, and enlarges to 299 px as TensorFlow 1 did. Source: Szegedy et al. 2016, by
    torch-fidelity.
    """

    def __init__(self, state: dict[str, Tensor]) -> None:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        super().__init__()
        # It would unpickle a file of anybody's without bounds: it gets one of tensors written here.
        weights = io.BytesIO()
        torch.save(state, weights)
        weights.seek(0)
        self.network = FeatureExtractorInceptionV3(
            "inception-v3-compat", ["2048"], feature_extractor_weights_path=weights
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.network(to_uint8(images))[0]


class XRayVision(nn.Module):
    """Images (n, 3, h, w) in [-1, 1] -> features (n, 1024): a DenseNet-121 of seven sets of chest X-rays.

    It takes one grey channel in [-1024, 1024] of 224 px. Source: Cohen et al. 2022, TorchXRayVision,
    weights densenet121-res224-all. Its layers have the names of torchvision's, so the package itself, which
    unpickles its weights without bounds, is not needed.
    """

    def __init__(self, state: dict[str, Tensor]) -> None:
        super().__init__()
        self.network = densenet121(weights=None).features
        self.network.conv0 = nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
        prefix = "features."
        self.network.load_state_dict(
            {name.removeprefix(prefix): state[name] for name in state if name.startswith(prefix)}
        )

    def forward(self, images: Tensor) -> Tensor:
        grey = 1024 * images.mean(dim=1, keepdim=True)
        if grey.shape[-2:] != (224, 224):
            grey = F.interpolate(grey, (224, 224), mode="bilinear", antialias=True, align_corners=False)
        return F.relu(self.network(grey)).mean(dim=(2, 3))


_NETWORKS: dict[str, Callable[[dict[str, Tensor]], nn.Module]] = {
    "inception": Inception,
    "xrayvision": XRayVision,
}


def network_or_none(name: str, weights: WeightsFolder = FROM_ENVIRONMENT) -> nn.Module | None:
    """A network of `metric.features` besides the judge, on the CPU, with its weights in `weights`.

    Without them: None, and a warning that names the file to provide; the network is never asked.
    Raises UserError if the file holds other weights.
    """
    file, source = weights.feature_network(name), FEATURES[name].source
    if not file.is_file():
        log.warning(
            "FID (%s) is left out: put the weights of %s at %s (`latentpath fetch` gets them into a folder)",
            name,
            source,
            file,
        )
        return None
    try:
        whole = file.suffix == ".safetensors"
        state = load_file(file) if whole else torch.load(file, map_location="cpu", weights_only=True)
        with torch.random.fork_rng(devices=[]):  # random weights come first
            network = _NETWORKS[name](state)
    except Exception as error:
        raise UserError(
            f"{file}: expected the weights of {source} ({error}); replace the file, or take {name} out of "
            "metric.features"
        ) from error
    return network.eval().requires_grad_(False)


@torch.inference_mode()
def in_batches(network: nn.Module, images: Tensor, batch_size: int = 32) -> Tensor:
    """`network` of images (n, 3, h, w) in [-1, 1], on its device: features (n, d) float32, on the CPU."""
    device = next(network.parameters()).device
    return torch.cat([network(part.to(device)).float().cpu() for part in images.split(batch_size)])
