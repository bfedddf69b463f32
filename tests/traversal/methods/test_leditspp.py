"""LEDITS++ equals diffusers' own pipeline, step by step, on the same weights and the same inverted image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    LEditsPPPipelineStableDiffusion,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from torch import Tensor

from latentpath.data.captions import CaptionTemplate
from latentpath.diffusion.components import BaseModel
from latentpath.diffusion.inversion import ddpm_inversion
from latentpath.diffusion.mix import Mix
from latentpath.diffusion.sampler import Sampler
from latentpath.diffusion.solvers import build_solver
from latentpath.traversal.engine import walk
from latentpath.traversal.methods.leditspp import Leditspp, Where, blurred, largest
from latentpath.traversal.methods.p2p import P2p
from latentpath.traversal.methods.sega import Sega
from latentpath.traversal.plan import plan_sweep
from latentpath.traversal.sampling import denoiser
from latentpath.traversal.words import Swap

N = 6


@pytest.fixture(scope="module")
def deep_sd(tiny_sd, tmp_path_factory):
    """`tiny_sd` with a U-Net that attends at 8 x 8, 4 x 4 and 2 x 2, a quarter of the latents' side."""
    folder = tmp_path_factory.mktemp("deep_sd")
    pipe = StableDiffusionPipeline.from_pretrained(tiny_sd, safety_checker=None)
    torch.manual_seed(1)
    pipe.unet = UNet2DConditionModel(
        **{k: v for k, v in pipe.unet.config.items() if not k.startswith("_")}
        | {
            "block_out_channels": (8, 16, 16),
            "down_block_types": ("CrossAttnDownBlock2D",) * 3,
            "up_block_types": ("CrossAttnUpBlock2D",) * 3,
        }
    )
    pipe.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def compared(deep_sd) -> Callable[..., tuple[list[Tensor], list[Tensor], Tensor]]:
    """`compared(method)`: the latents after each step, diffusers' and ours, and our unedited image."""
    pipe: Any = LEditsPPPipelineStableDiffusion.from_pretrained(
        deep_sd, safety_checker=None, requires_safety_checker=False
    )
    pipe.set_progress_bar_config(disable=True)
    scheduler: Any = DDIMScheduler.from_config(pipe.scheduler.config, clip_sample=False)
    scheduler.set_timesteps(N)
    pipe.scheduler, pipe.inversion_steps, pipe.eta, pipe.batch_size = scheduler, scheduler.timesteps, 1.0, 1
    # It takes the padded length for the number of words, which is that of slow tokenizers: 3 here.
    encode = pipe.encode_prompt
    pipe.encode_prompt = lambda **options: (*encode(**options)[:2], torch.tensor([3]))
    model = BaseModel(str(deep_sd))
    unet, encoder = model.unet().eval(), model.prompt_encoder(32)
    solver = build_solver("ddim", model.schedule(), N, eta=1.0)
    image = torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(5))
    sigmas = [solver.step((image,), image, i)[1] for i in range(N)]
    # Without guidance the base of diffusers is the empty prompt: so here the neutral caption is empty.
    captions = CaptionTemplate("{attributes}", "", {"MEL": "melanoma"}, {"hair": "a dark hair"})

    def run(method: Leditspp) -> tuple[list[Tensor], list[Tensor], Tensor]:
        plan = plan_sweep(
            captions, classes=["MEL"], attributes=["hair"], swap_steps=[0], num_inference_steps=N, seeds=[0],
            methods={"leditspp": {method.dial: Swap(method)}},
        )  # fmt: skip
        assert plan.rows_per_seed == plan.plain([0]).rows_per_seed + 2 * N
        denoise = denoiser(plan, unet=unet, encoder=encoder)
        predict = lambda z, t: denoise(z, t, [0] * len(z))  # noqa: E731
        noise = ddpm_inversion(image, seeds=[0], denoise=predict, solver=solver)
        assert noise.residuals is not None

        # The inversion of the pipeline itself fails for DDIM (its timestep is a float), so it gets ours.
        pipe.init_latents = noise.start
        pipe.zs = torch.stack([r / sigma for r, sigma in zip(noise.residuals, sigmas, strict=True)])
        theirs: list[Tensor] = []
        pipe(
            editing_prompt="a dark hair",
            edit_guidance_scale=method.dial,
            edit_threshold=method.quantile,
            edit_warmup_steps=0,
            output_type="latent",
            callback_on_step_end=lambda pipe, i, t, found: theirs.append(found["latents"][0].clone()) or {},
        )
        ours: list[Tensor] = []

        class Watched(Sampler):
            def step(self, state, step_index, **rows):
                after = super().step(state, step_index, **rows)
                ours.append(after[0][-1].clone())
                return after

        leaves, latents = walk(plan, Watched(denoise, solver, noise), cls="MEL", seeds=[0])
        assert [leaf.branch.method for leaf in leaves] == ["neutral", "swap", "leditspp"]
        torch.testing.assert_close(latents[0], image[0], atol=1e-4, rtol=0)
        return theirs, ours, latents[0]

    return run


@pytest.mark.parametrize("method", [Leditspp(), Leditspp(12.0, 0.5), Leditspp(4.0, 0.0)])
def test_every_step_equals_that_of_diffusers(compared, method):
    theirs, ours, neutral = compared(method)
    assert len(theirs) == len(ours) == N
    for found, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(found, expected, atol=2e-4, rtol=0)
    assert (ours[-1] - neutral).abs().max() > 1e-2


def spelled(*dials: float, quantile: float = 0.9) -> dict:
    return {"leditspp": {dial: Swap(Leditspp(dial, quantile)) for dial in dials}}


def test_with_dial_0_it_is_the_neutral_image_and_costs_nothing(plan, sample, of):
    asked = plan(methods=spelled(0.0))
    assert asked.letters == plan().letters and asked.calls_per_seed == plan().calls_per_seed
    latents = sample(asked)
    for (seed, *_), z in of(latents, "leditspp").items():
        assert torch.equal(z, latents[seed, "", "neutral", 6, 1.0])


def test_with_quantile_0_it_is_a_linear_mix(plan, sample, of):
    g, dial = 3.0, 4.0
    linear = lambda p: Mix.of((p.negative, 1 - g - dial), (p.neutral, g), (p.attribute, dial))  # noqa: E731
    latents = sample(plan(methods=spelled(dial, quantile=0.0) | {"linear": {dial: Swap(linear)}}))
    for key, z in of(latents, "leditspp").items():
        torch.testing.assert_close(z, of(latents, "linear")[key], atol=1e-4, rtol=0)


def test_a_node_costs_three_rows(plan):
    asked = plan(methods=spelled(5.0))
    assert asked.rows_per_seed - plan().rows_per_seed == 3 * 2 * (6 + 4 + 2)


@pytest.mark.parametrize("solver", ["ddim", "dpmpp_2m", "euler_ancestral"])
def test_an_image_depends_on_its_seed_alone_whatever_methods_run_beside_it(plan, sample, solver):
    both = spelled(5.0, 3.0) | {"sega": {5.0: Swap(Sega())}, "p2p": {0.8: Swap(P2p())}}
    alone = sample(plan(methods=spelled(5.0), seeds=[11], attributes=["ink"], swap_steps=[2]), solver)
    among = sample(plan(methods=both, placebo="this is {neutral}"), solver)
    for key, z in alone.items():
        assert torch.equal(z, among[key])


def test_both_masks_keep_the_largest_share_and_the_first_fifth_of_the_steps_has_one():
    u, n, a = torch.randn((3, 2, 4, 10, 10), generator=torch.Generator().manual_seed(0))
    attention = torch.rand((2, 5, 5), generator=torch.Generator().manual_seed(1))
    letter = Where(Mix.of(("u", -2.0), ("n", 3.0)), "a", "u", 2.0, 0.8)
    base = letter.base(torch.stack([u, n]))[0]
    changed = {}
    for step in (0, 1, 2, 9):
        at = letter.at(step, 10)
        eps, _ = at.seeing(attention[None])(torch.stack([u, n, a]))
        changed[step] = (eps != base).all(dim=1, keepdim=True)
        torch.testing.assert_close(eps, base + 2 * (a - u) * changed[step])
        assert (eps[~changed[step].expand_as(eps)] == base[~changed[step].expand_as(eps)]).all()
    m1 = largest(blurred(attention), 0.8).repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    m2 = largest((a - u).abs().sum(dim=1, keepdim=True), 0.8)
    assert m1.flatten(1).sum(1).tolist() == [20, 20] == m2.flatten(1).sum(1).tolist()
    assert torch.equal(changed[0], m1) and torch.equal(changed[1], m1)
    assert torch.equal(changed[2], m1 & m2) and torch.equal(changed[9], m1 & m2)
