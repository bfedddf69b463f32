"""Selects the weights of the U-Net that are trained: all, attention only, or low-rank adapters (LoRA)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latentpath.diffusion.networks import UNet


ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")


def make_trainable(unet: UNet, way: str, *, rank: int = 8, alpha: int = 8) -> None:
    """Freeze all weights of `unet` except those that `way` selects.

    way: "full", "attention" (projections of self- and cross-attention), or "lora", which adds alpha / rank B
    A to each of those projections (Hu et al. 2022), with B = 0 at first. Raises ValueError for other values.
    """
    if way == "full":
        unet.requires_grad_(True)
    elif way == "attention":
        unet.requires_grad_(False)
        for name, parameter in unet.named_parameters():
            if any(f".{part}." in name for part in ATTENTION):
                parameter.requires_grad_(True)
    elif way == "lora":
        from peft import LoraConfig

        unet.requires_grad_(False)
        unet.add_adapter(LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(ATTENTION)))
    else:
        raise ValueError(f"trainable {way!r}: expected full, attention or lora")


def restore_frozen(unet: UNet, base: UNet) -> None:
    """Restore the frozen weights of `unet` to their exact values in `base`."""
    values = base.state_dict()
    for name, parameter in unet.named_parameters():
        if not parameter.requires_grad:
            parameter.data.copy_(values[name.replace(".base_layer", "")])


def save_lora(unet: UNet, folder: Path) -> Path:
    """Write pytorch_lora_weights.safetensors as `StableDiffusionPipeline.load_lora_weights` reads it.

    The metadata of the adapter is written too; without it a reader would silently take the rank for alpha.
    """
    from diffusers import StableDiffusionPipeline
    from diffusers.utils.state_dict_utils import convert_state_dict_to_diffusers
    from peft.utils.save_and_load import get_peft_model_state_dict

    layers: Any = convert_state_dict_to_diffusers(get_peft_model_state_dict(unet))  # Any: of peft
    metadata = unet.peft_config["default"].to_dict()
    StableDiffusionPipeline.save_lora_weights(
        folder, unet_lora_layers=layers, unet_lora_adapter_metadata=metadata
    )
    return folder / "pytorch_lora_weights.safetensors"


def merge_lora(unet: UNet) -> None:
    """Add the low-rank matrices to their weights, and remove them."""
    unet.fuse_lora()
    unet.unload_lora()
