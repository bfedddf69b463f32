"""Distances between an edited image and its neutral image: LPIPS, SSIM and L1, one value per image.

Images are float tensors (n, 3, h, w) in [0, 1]; `reference` is (n, 3, h, w), or (1, 3, h, w) for one
neutral image against n edits (its LPIPS features are then computed once).
Other shapes and values outside [0, 1] raise ValueError.
"""

import logging
import warnings

import lpips
import torch
from safetensors.torch import load_file
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from latentpath.errors import UserError
from latentpath.runs.weights import BACKBONES, BACKBONES_URL, FROM_ENVIRONMENT, WeightsFolder, checkpoints

log = logging.getLogger(__name__)


def l1(images: Tensor, reference: Tensor) -> Tensor:
    """Mean absolute difference over channels and pixels: (n,) in [0, 1]."""
    images, reference = _checked(images, reference)
    return (images - reference).abs().mean(dim=(1, 2, 3))


def ssim(images: Tensor, reference: Tensor) -> Tensor:
    """Structural similarity: (n,) in [-1, 1], 1 for equal images. Gaussian window of 11 pixels, sigma 1.5.

    Source: Wang et al. 2004, by torchmetrics.
    """
    images, reference = _checked(images, reference)
    values = structural_similarity_index_measure(
        images, reference.expand_as(images).contiguous(), data_range=1.0, reduction="none"
    )
    assert isinstance(values, Tensor)
    return values.reshape(len(images))


@torch.inference_mode()
def lpips_distance(model: lpips.LPIPS, images: Tensor, reference: Tensor) -> Tensor:
    """LPIPS: (n,), 0 for equal images, symmetric. `model` from `lpips_or_none`; sides of at least 32 pixels.

    Source: Zhang et al. 2018, equation 1; the paper uses AlexNet at 512 pixels.
    """
    images, reference = _checked(images, reference)
    return model(reference, images, normalize=True).reshape(len(images))  # lpips broadcasts one reference


@torch.inference_mode()
def lpips_maps(model: lpips.LPIPS, images: Tensor, reference: Tensor) -> Tensor:
    """LPIPS before its average over space, upsampled to pixels: (n, h, w), >= 0."""
    images, reference = _checked(images, reference)
    model.spatial = True
    try:
        return model(reference, images, normalize=True)[:, 0]
    finally:
        model.spatial = False


def lpips_or_none(net: str, weights: WeightsFolder = FROM_ENVIRONMENT) -> lpips.LPIPS | None:
    """Load LPIPS on the CPU, or return None if its ImageNet backbone is missing; nothing is downloaded.

    The backbone is taken from the folder `weights`, else from torch hub's checkpoint folder (`TORCH_HOME`
    moves it); a warning says how to get a missing one. The linear heads ship inside the `lpips` package.
    Raises UserError if the file does not hold the backbone's weights.
    """
    file = weights.backbone(net)
    if file is None:
        log.warning(
            "LPIPS (%s) is left out: get it by `latentpath fetch 'metric.lpips=[%s]'`, or put %s at %s",
            net,
            net,
            BACKBONES_URL + BACKBONES[net],
            checkpoints() / BACKBONES[net],
        )
        return None
    # a random backbone first, because lpips itself would download, and unpickle more than weights
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore", UserWarning)  # lpips calls torchvision by a deprecated argument
        model = lpips.LPIPS(net=net, pnet_rand=True, verbose=False)
    try:
        whole = file.suffix == ".safetensors"
        state = load_file(file) if whole else torch.load(file, map_location="cpu", weights_only=True)
        # lpips cuts torchvision's `features` into slices and keeps the layer numbers:
        # slice2.3.weight = features.3.weight
        ours = {name: state["features." + name.split(".", 1)[1]] for name in model.net.state_dict()}
        model.net.load_state_dict(ours)
    except Exception as error:
        raise UserError(
            f"{file}: expected torchvision's weights of {net} ({error}); replace the file, or remove it to "
            "go without LPIPS"
        ) from error
    return model.eval().requires_grad_(False)


def _checked(images: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    if images.ndim != 4 or images.shape[1] != 3 or len(reference) not in (1, len(images)):
        raise ValueError(f"images must be (n, 3, h, w); got {tuple(images.shape)}, {tuple(reference.shape)}")
    if images.shape[1:] != reference.shape[1:]:
        raise ValueError(f"image sizes differ: {tuple(images.shape)} and {tuple(reference.shape)}")
    images, reference = images.float(), reference.float()
    for name, x in (("images", images), ("reference", reference)):
        low, high = (v.item() for v in torch.aminmax(x))
        if not (low >= -1e-4 and high <= 1 + 1e-4):
            raise ValueError(f"{name} must lie in [0, 1]; they run from {low:.3g} to {high:.3g}")
    return images, reference
