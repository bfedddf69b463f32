"""The selected weights are trained and no others, and a LoRA adapter reloads unchanged."""

from __future__ import annotations

import pytest
import torch
from diffusers import StableDiffusionPipeline

from latentpath.diffusion.components import BaseModel
from latentpath.training.trainable import make_trainable, merge_lora, save_lora


@pytest.fixture
def unet(tiny_sd):
    return BaseModel(str(tiny_sd)).unet()


def output(unet) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    z, embeds = torch.randn(2, 4, 8, 8, generator=generator), torch.randn(2, 3, 16, generator=generator)
    with torch.no_grad():
        return unet(z, torch.tensor([10, 500]), encoder_hidden_states=embeds, return_dict=False)[0]


def shake(unet) -> None:
    """Change all trainable weights, as training would."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in unet.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)


def test_full_trains_all_weights_and_attention_its_projections_alone(unet):
    make_trainable(unet, "full")
    assert all(p.requires_grad for p in unet.parameters())
    make_trainable(unet, "attention")
    moved = {name for name, p in unet.named_parameters() if p.requires_grad}
    assert moved == {
        n
        for n, _ in unet.named_parameters()
        if any(f".{k}." in n for k in ("to_q", "to_k", "to_v", "to_out.0"))
    }
    assert 0 < len(moved) < len(list(unet.parameters()))


def test_lora_begins_at_the_base_and_moves_only_its_matrices(unet):
    before = output(unet)
    make_trainable(unet, "lora", rank=4, alpha=8)
    torch.testing.assert_close(output(unet), before)
    moved = [name for name, p in unet.named_parameters() if p.requires_grad]
    assert moved and all("lora_" in name for name in moved)


@pytest.mark.parametrize("rank, alpha", [(4, 4), (4, 16), (2, 1)])
def test_an_adapter_reloads_right_also_where_rank_is_not_alpha(tiny_sd, unet, tmp_path, rank, alpha):
    base = output(unet)
    make_trainable(unet, "lora", rank=rank, alpha=alpha)
    shake(unet)
    trained = output(unet)
    assert (trained - base).abs().max() > 1e-3
    assert save_lora(unet, tmp_path).name == "pytorch_lora_weights.safetensors"
    pipe = StableDiffusionPipeline.from_pretrained(tiny_sd)
    pipe.load_lora_weights(tmp_path)
    torch.testing.assert_close(output(pipe.unet), trained, atol=1e-5, rtol=0)
    merge_lora(unet)
    torch.testing.assert_close(output(unet), trained, atol=1e-5, rtol=0)
    assert not any("lora_" in name for name in unet.state_dict())
    assert unet.state_dict().keys() == BaseModel(str(tiny_sd)).unet().state_dict().keys()


def test_an_unknown_way_of_training_is_refused(unet):
    with pytest.raises(ValueError, match="full, attention or lora"):
        make_trainable(unet, "half")
