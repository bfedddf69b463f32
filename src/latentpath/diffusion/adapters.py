"""Loads low-rank adapters, such as sliders, into a U-Net, and turns them on by a scale."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError

from latentpath.errors import UserError
from latentpath.runs.files import check_whole

if TYPE_CHECKING:
    from latentpath.diffusion.networks import UNet

ADAPTER = "pytorch_lora_weights.safetensors"  # as `StableDiffusionPipeline.load_lora_weights` reads it


def load_adapter(unet: UNet, folder: Path, name: str) -> None:
    """Add the adapter in `folder` to `unet` under `name`; it is on, at scale 1.

    Raises UserError if there is none, or if it does not fit the U-Net.
    """
    if not (folder / ADAPTER).is_file():
        raise UserError(f"no adapter {folder / ADAPTER}: train it with `latentpath sliders`.")
    check_whole(folder / ADAPTER)
    try:
        unet.load_lora_adapter(str(folder), weight_name=ADAPTER, prefix="unet", adapter_name=name)
    except (RuntimeError, ValueError, KeyError, OSError, SafetensorError) as error:
        raise UserError(
            f"{folder / ADAPTER} does not fit this U-Net: {error}. Run `latentpath sliders` again."
        ) from None


def set_scales(unet: UNet, scales: Mapping[str, float]) -> None:
    """Set the scales of loaded adapters; all others are off. At scale 0 the U-Net is exactly the one without.

    unet(z) = base(z) + sum_k scale_k (alpha_k / rank_k) B_k A_k in each adapted layer.
    """
    on = {name: scale for name, scale in scales.items() if scale}
    if not on:
        unet.disable_adapters()
        return
    unet.enable_adapters()
    unet.set_adapters(list(on), list(on.values()))
