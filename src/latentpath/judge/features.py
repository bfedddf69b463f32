"""Features of images: from the judge's last hidden layer, Inception, or the DenseNet of TorchXRayVision."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import densenet121

from latentpath.data.pixels import to_uint8
from latentpath.errors import UserError
from latentpath.judge.networks import deciding_layer
from latentpath.judge.protocol import Judge
from latentpath.runs.weights import FEATURES, FROM_ENVIRONMENT, WeightsFolder

log = logging.getLogger(__name__)


@contextmanager
def collecting_features(network: nn.Module) -> Iterator[list[Tensor]]:
    """Collect the features (n, d), on the CPU, of every forward pass of `network` within the block.

    Features are the input of `networks.deciding_layer`. The pass that gives the probabilities gives them too,
    so they cost no pass of their own.
    """
    seen: list[Tensor] = []
    layer = deciding_layer(network, name=type(network).__name__)
    handle = layer.register_forward_pre_hook(
        lambda module, inputs: seen.append(inputs[0].detach().flatten(1).float().cpu())
    )
    try:
        yield seen
    finally:
        handle.remove()


def judge_features(judge: Judge, images: Tensor) -> Tensor:
    """Return the judge's features (n, d), on the CPU, of images (n, 3, h, w) in [-1, 1]."""
    return judge.predict_with_features(images)[2]


class Inception(nn.Module):
    """The network of the published FID: maps images (n, 3, h, w) in [-1, 1] to features (n, 2048).

    It rounds images to 8 bits per channel and resizes them to 299 px as TensorFlow 1 did. Source: Szegedy et
    al. 2016, as implemented by torch-fidelity.
    """

    def __init__(self, state: dict[str, Tensor]) -> None:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        super().__init__()
        # torch-fidelity loads its file with an unrestricted pickle, so it gets one that is written here.
        weights = io.BytesIO()
        torch.save(state, weights)
        weights.seek(0)
        self.network = FeatureExtractorInceptionV3(
            "inception-v3-compat", ["2048"], feature_extractor_weights_path=weights
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.network(to_uint8(images))[0]


class XRayVision(nn.Module):
    """A DenseNet-121 of chest X-rays: maps images (n, 3, h, w) in [-1, 1] to features (n, 1024).

    Trained on seven data sets. It is given one grey channel in [-1024, 1024] at 224 px. Source: Cohen et al.
    2022, TorchXRayVision, weights densenet121-res224-all. Its layers are named as in torchvision, so the
    weights are loaded without TorchXRayVision, whose loader uses an unrestricted pickle.
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


def load_feature_network(name: str, weights: WeightsFolder = FROM_ENVIRONMENT) -> nn.Module | None:
    """Load the feature network `name`, "inception" or "xrayvision", on the CPU, from the folder `weights`.

    If the weights are missing, it returns None and warns with the file to provide; it downloads nothing.
    Raises UserError if the file holds other weights.
    """
    file, source = weights.feature_network(name), FEATURES[name].source
    if not file.is_file():
        log.warning(
            "FID (%s) is left out: expected the weights of %s at %s (`latentpath fetch` gets them)",
            name,
            source,
            file,
        )
        return None
    try:
        safe = file.suffix == ".safetensors"
        state = load_file(file) if safe else torch.load(file, map_location="cpu", weights_only=True)
        with torch.random.fork_rng(devices=[]):  # building the network draws random weights
            network = _NETWORKS[name](state)
    except Exception as error:
        raise UserError(
            f"{file}: expected the weights of {source} ({error}); replace the file, or take {name} out of "
            "`features`"
        ) from error
    return network.eval().requires_grad_(False)


@torch.inference_mode()
def features_in_batches(network: nn.Module, images: Tensor, batch_size: int = 32) -> Tensor:
    """Return features (n, d) of images (n, 3, h, w) in [-1, 1], in float32, on the CPU."""
    device = next(network.parameters()).device
    return torch.cat([network(part.to(device)).float().cpu() for part in images.split(batch_size)])
