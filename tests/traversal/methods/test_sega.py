"""Semantic guidance equals diffusers' own pipeline on the same weights."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDIMScheduler
from diffusers.pipelines.deprecated.semantic_stable_diffusion.pipeline_semantic_stable_diffusion import (
    SemanticStableDiffusionPipeline,
)

from latentpath.diffusion.mix import Mix
from latentpath.traversal.methods.sega import Sega, SegaGate
from latentpath.traversal.words import Swap

NEUTRAL = "a dermoscopic image with melanoma"


@pytest.fixture(scope="module")
def peer(tiny_sd):
    """`peer(seed, method)`: the latents after each step of diffusers' pipeline, with hair as the concept."""
    pipe = SemanticStableDiffusionPipeline.from_pretrained(
        tiny_sd, safety_checker=None, requires_safety_checker=False
    )
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config, clip_sample=False)

    def run(seed: int, method: Sega) -> list[torch.Tensor]:
        steps: list[torch.Tensor] = []
        pipe(
            NEUTRAL,
            height=32,
            width=32,
            num_inference_steps=6,
            guidance_scale=3.0,
            generator=torch.Generator().manual_seed(seed),
            output_type="latent",
            callback=lambda i, t, latents: steps.append(latents[0].clone()),
            editing_prompt="hair",
            edit_guidance_scale=method.dial,
            edit_warmup_steps=0,
            edit_threshold=method.quantile,
            edit_momentum_scale=method.momentum,
            edit_mom_beta=method.decay,
        )
        return steps

    return run


@pytest.mark.parametrize("method", [Sega(), Sega(8.0, 0.5, 0.3, 0.6), Sega(4.0, 0.0, 0.0)])
def test_every_step_equals_that_of_diffusers(plan, sample, peer, method):
    """From step 0 on, where both begin their momentum; a difference in any step would grow until the last."""
    spelled = {"sega": {method.dial: Swap(method)}}
    asked = plan(methods=spelled, swap_steps=[0], attributes=["hair"])
    latents = sample(asked)
    for seed in (3, 11):
        expected = peer(seed, method)
        found = latents[seed, "hair", "sega", 0, method.dial]
        torch.testing.assert_close(found, expected[-1], atol=1e-4, rtol=0)
        neutral = latents[seed, "", "neutral", 6, 1.0]
        assert (found - neutral).abs().max() > 1e-2


def test_without_gate_and_momentum_it_is_a_linear_mix(plan, sample, of):
    g, dial = 3.0, 4.0
    linear = lambda p: Mix.of((p.negative, 1 - g - dial), (p.neutral, g), (p.attribute, dial))  # noqa: E731
    asked = plan(methods={"sega": {dial: Swap(Sega(dial, 0.0, 0.0))}, "linear": {dial: Swap(linear)}})
    latents = sample(asked)
    for key, z in of(latents, "sega").items():
        torch.testing.assert_close(z, of(latents, "linear")[key], atol=1e-4, rtol=0)


def test_the_gate_keeps_the_largest_values_of_each_channel_and_remembers_the_rest():
    direction = torch.randn(2, 3, 10, 10, generator=torch.Generator().manual_seed(0))
    phi, nu = SegaGate(2.0, 0.9, 0.1, 0.4)(direction, torch.zeros_like(direction))
    assert (phi != 0).flatten(2).sum(2).eq(10).all()
    assert torch.equal(phi[phi != 0], 2.0 * direction[phi != 0])
    torch.testing.assert_close(nu, 0.6 * phi)
    again, _ = SegaGate(2.0, 0.9, 0.1, 0.4)(direction, nu)
    torch.testing.assert_close(again, phi + 0.1 * nu)


@pytest.mark.parametrize("solver", ["ddim", "dpmpp_2m", "euler_ancestral"])
def test_an_image_depends_on_its_seed_alone_whatever_methods_run_beside_it(plan, sample, solver):
    sega = {"sega": {5.0: Swap(Sega())}}
    both = {**sega, "other": {3.0: Swap(Sega(3.0, 0.5))}}
    alone = sample(plan(methods=sega, seeds=[11], attributes=["ink"], swap_steps=[2]), solver)
    among = sample(plan(methods=both, placebo="this is {neutral}"), solver)
    for key, z in alone.items():
        assert torch.equal(z, among[key])
