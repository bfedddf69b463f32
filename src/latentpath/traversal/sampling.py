"""Builds the sampler of a sweep: its tables of prompts and letters, its denoiser, and settings for speed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from latentpath.config.schema import SamplerConfig
from latentpath.diffusion.adapters import load_adapter
from latentpath.diffusion.components import BaseModel
from latentpath.diffusion.conditioning import Conditioning, concatenate
from latentpath.diffusion.execution import prepare, should_compile
from latentpath.diffusion.guidance import GuidedDenoiser
from latentpath.diffusion.noise import SeededNoise
from latentpath.diffusion.prompts import PromptEncoder
from latentpath.diffusion.sampler import Sampler
from latentpath.diffusion.solvers import build_solver
from latentpath.traversal.plan import SweepPlan
from latentpath.traversal.tuning import tune
from latentpath.traversal.words import Prompt

if TYPE_CHECKING:
    from latentpath.diffusion.networks import UNet


def build_sampler(
    plan: SweepPlan,
    model: BaseModel,
    *,
    image_size: int,
    solver: str = "ddim",
    eta: float = 0.0,
    guidance_rescale: float = 0.0,
    device: torch.device | str = "cpu",
) -> Sampler:
    """Build the sampler that walks `plan` with `model` from random noise, in float32.

    `image_size` is in pixels. `solver` is one of ddim (with `eta` in [0, 1]), dpmpp_2m, euler,
    euler_ancestral. `guidance_rescale` in [0, 1] is that of diffusers' pipelines. Raises UserError if a part
    of the model is missing, or where the schedule does not have as many steps as the plan.
    """
    unet = prepare(model.unet(), device=device, dtype=torch.float32, channels_last=True)
    return Sampler(
        denoiser(plan, unet=unet, encoder=model.prompt_encoder(image_size), rescale=guidance_rescale),
        build_solver(solver, model.schedule(), plan.num_inference_steps, eta=eta),
        SeededNoise(model.latent_shape(image_size)),
        device,
        plan.remembers,
        plan.borrows,
    )


def build_denoiser(
    plan: SweepPlan,
    model: BaseModel,
    settings: SamplerConfig,
    *,
    image_size: int,
    device: torch.device,
    dtype: torch.dtype,
    tuned: GuidedDenoiser | None = None,
    sliders: Mapping[str, Path] | None = None,
) -> GuidedDenoiser:
    """Build the guided U-Net of `model` on `device`, tuned for `plan`, compiled if `settings` say so.

    If `tuned` is given, a denoiser whose U-Net has the same architecture, its batch size and attention kernel
    are used instead of being tried again, so a compiled U-Net keeps its shape. `sliders`: the folder
    of the adapter of each attribute, for the method slider.
    """
    plain = model.unet(dtype)
    for name in plan.adapters:
        load_adapter(plain, (sliders or {})[name], name)
    unet = prepare(plain, device=device, dtype=dtype, channels_last=settings.channels_last)
    compiles = not any(letter.inside for letter in plan.letters) and should_compile(
        settings.compile, device, lambda: plan.unet_rows * model.flop_per_row(image_size)
    )
    denoise = denoiser(
        plan,
        unet=unet,
        encoder=model.prompt_encoder(image_size),
        static=compiles or device.type == "cuda",
        rescale=settings.guidance_rescale,
    )
    if tuned is None:
        seeds = min(settings.shard_seeds, len(plan.seeds))
        tune(
            denoise,
            latent_shape=model.latent_shape(image_size),
            batch_size=settings.batch_size,
            attention=settings.attention,
            step_rows=[math.ceil(seeds * rows / len(plan.letters[0])) for rows in plan.rows],
            device=device,
        )
    else:
        denoise.batch_size, denoise.attention = tuned.batch_size, tuned.attention
    denoise.unet = prepare(unet, device=device, dtype=dtype, compile=compiles)
    return denoise


def denoiser(
    plan: SweepPlan,
    *,
    unet: UNet,
    encoder: PromptEncoder,
    batch_size: int = 32,
    static: bool = False,
    attention: str | None = None,
    rescale: float = 0.0,
) -> GuidedDenoiser:
    """Build a denoiser for the letters of `plan`, with the U-Net unchanged."""
    inside = any(letter.inside for letter in plan.letters)
    return GuidedDenoiser(
        unet=unet,
        conditioning=prompt_table(plan, encoder).to(unet.device, unet.dtype),
        letters=[plan.indexed(letter) for letter in plan.letters],
        batch_size=batch_size,
        static=static,
        attention=attention,
        rescale=rescale,
        tokens=encoder.tokens([prompt.text for prompt in plan.prompts]) if inside else (),
    )


def prompt_table(plan: SweepPlan, encoder: PromptEncoder) -> Conditioning:
    """Encode `plan.prompts` in their order.

    Raises UserError if the text encoder cannot tell two of them apart.
    """
    encoder.check_distinct([prompt.text for prompt in plan.prompts])
    return conditioning_of(plan.prompts, encoder)


def conditioning_of(
    prompts: Sequence[Prompt], encode: Callable[[Sequence[str]], Conditioning]
) -> Conditioning:
    """Encode every prompt, and blend embeddings for prompts that are blends; each text is encoded once."""
    texts = list(dict.fromkeys(text for p in prompts for text in (p.text, p.origin) if text is not None))
    encoded = encode(texts)

    def of(text: str) -> Conditioning:
        return encoded[[texts.index(text)]]

    def blend(prompt: Prompt) -> Conditioning:
        target, strength = of(prompt.text), prompt.strength
        if prompt.origin is None:
            return target.map(lambda e: strength * e)
        return target.map(lambda e, origin: origin + strength * (e - origin), of(prompt.origin))

    return concatenate([blend(prompt) for prompt in prompts])
