"""The model that the benchmarks time, by its shapes alone, and how they measure time and memory."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.utils.logging import set_verbosity_error
from transformers import CLIPTextConfig, CLIPTextModel

from latentpath.diffusion.components import BaseModel
from latentpath.diffusion.execution import unet_flops
from latentpath.diffusion.guidance import GuidedDenoiser
from latentpath.diffusion.prompts import PromptEncoder
from latentpath.diffusion.schedule import NoiseSchedule
from latentpath.traversal.plan import SweepPlan
from latentpath.traversal.sampling import denoiser

set_verbosity_error()  # diffusers would warn about every cast of a network
SCHEDULER = DDIMScheduler(
    beta_start=0.00085,
    beta_end=0.012,
    beta_schedule="scaled_linear",
    steps_offset=1,
    set_alpha_to_one=False,
    clip_sample=False,
)


@dataclass
class Model:
    """phantom-sd, a diffusers folder, or `sd15`: the shapes of Stable Diffusion 1.5 with random weights."""

    name: str
    image_size: int
    device: str
    dtype: torch.dtype

    @cached_property
    def unet(self) -> Any:
        if self.name == "sd15":
            unet = UNet2DConditionModel(
                sample_size=64,
                cross_attention_dim=768,
                attention_head_dim=8,
                down_block_types=(*["CrossAttnDownBlock2D"] * 3, "DownBlock2D"),
                up_block_types=("UpBlock2D", *["CrossAttnUpBlock2D"] * 3),
                block_out_channels=(320, 640, 1280, 1280),
            )
        else:
            unet = BaseModel(self.name).unet()
        unet: Any = unet.to(self.device, self.dtype)
        return unet.eval().requires_grad_(False)

    @cached_property
    def tokenizer(self) -> Any:
        return BaseModel("phantom-sd" if self.name == "sd15" else self.name).tokenizer()

    @cached_property
    def text_encoder(self) -> Any:
        if self.name != "sd15":
            return BaseModel(self.name).text_encoder()
        torch.manual_seed(0)
        length = self.tokenizer.model_max_length
        shape = {
            "hidden_size": 768,
            "intermediate_size": 3072,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
        }
        config = CLIPTextConfig(vocab_size=len(self.tokenizer), max_position_embeddings=length, **shape)
        encoder: Any = CLIPTextModel(config).eval()
        return encoder.requires_grad_(False)

    @cached_property
    def vae(self) -> Any:
        if self.name != "sd15":
            return BaseModel(self.name).vae()
        vae: Any = AutoencoderKL(
            latent_channels=4,
            block_out_channels=(128, 256, 512, 512),
            layers_per_block=2,
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
        )
        return vae.eval().requires_grad_(False)

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        factor = 2 ** (len(self.vae.config.block_out_channels) - 1)
        return 4, self.image_size // factor, self.image_size // factor

    @property
    def flop(self) -> int:
        """FLOP of one forward pass of the U-Net on one row."""
        context = (self.tokenizer.model_max_length, self.unet.config["cross_attention_dim"])
        return unet_flops(self.unet.config, self.latent_shape, context)

    @property
    def schedule(self) -> NoiseSchedule:
        return NoiseSchedule.from_config(SCHEDULER.config)

    def denoiser(self, plan: SweepPlan, **options: Any) -> GuidedDenoiser:
        return denoiser(
            plan,
            unet=self.unet,
            encoder=PromptEncoder(self.tokenizer, self.text_encoder),
            **options,
        )

    def pipeline(self, unet: Any = None) -> StableDiffusionPipeline:
        no_checker: Any = {"safety_checker": None, "feature_extractor": None}
        pipe = StableDiffusionPipeline(
            vae=self.vae,
            text_encoder=self.text_encoder,
            tokenizer=self.tokenizer,
            unet=self.unet if unet is None else unet,
            scheduler=SCHEDULER,
            requires_safety_checker=False,
            **no_checker,
        )
        pipe.to(self.device, self.dtype)
        pipe.set_progress_bar_config(disable=True)
        return pipe


def seconds(run: Callable[[], object], device: str) -> tuple[float, Any]:
    """Return the wall time of `run` in seconds, and its result."""
    if device == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    result = run()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began, result


def peak_gb(device: str) -> float:
    """Return the peak memory so far in GB: torch's on a GPU, else the process's."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 1e9
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e9
