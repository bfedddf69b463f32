"""The tree gives what diffusers' pipeline gives at the counted price; a sample depends on its seed alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline

from latentpath.data.captions import CaptionTemplate
from latentpath.diffusion.components import BaseModel
from latentpath.diffusion.solvers import DDIM, initial_noise
from latentpath.traversal.engine import walk
from latentpath.traversal.plan import SweepPlan, plan_sweep
from latentpath.traversal.sweep import denoiser

N, SWAPS, SEEDS, GUIDANCE = 10, [0, 1, 4, 7, 10], [3, 11], 7.5
CAPTIONS = CaptionTemplate(
    "a dermoscopic image with {cls} showing {attributes}",
    "a dermoscopic image with {cls}",
    {"MEL": "melanoma", "NV": "nevus"},
    {"hair": "hair", "ink": "ink", "ruler": "ruler"},
)


def plan(**changes) -> SweepPlan:
    whole = plan_sweep(
        CAPTIONS,
        classes=["MEL", "NV"],
        attributes=["hair", "ink"],
        swap_steps=SWAPS,
        num_inference_steps=N,
        seeds=SEEDS,
    )
    return replace(whole, **changes)


def sample(
    model: BaseModel,
    plan: SweepPlan,
    *,
    batch_size: int = 64,
    guidance: float = GUIDANCE,
    eta: float = 0.0,
    cls="MEL",
):
    denoise = denoiser(
        plan,
        unet=model.unet().eval(),
        tokenizer=model.tokenizer(),
        text_encoder=model.text_encoder(),
        negative_prompt="blurry",
        guidance_scale=guidance,
        batch_size=batch_size,
    )
    solver = DDIM(model.schedule(), plan.num_inference_steps, eta=eta)
    noise = initial_noise(plan.seeds, model.latent_shape(32))
    leaves, latents = walk(plan, cls=cls, noise=noise, seeds=plan.seeds, denoise=denoise, solver=solver)
    return {
        (leaf.seed, leaf.attribute, leaf.swap_step): z for leaf, z in zip(leaves, latents, strict=True)
    }, denoise.calls


@pytest.fixture(scope="module")
def model(tiny_sd) -> BaseModel:
    return BaseModel(str(tiny_sd))


@pytest.fixture(scope="module")
def pipeline(tiny_sd) -> StableDiffusionPipeline:
    pipe = StableDiffusionPipeline.from_pretrained(
        tiny_sd, safety_checker=None, requires_safety_checker=False
    )
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config, clip_sample=False)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def reference(
    pipe,
    neutral: str,
    target: str,
    seed: int,
    swap_step: int,
    *,
    guidance: float = GUIDANCE,
    eta: float = 0.0,
):
    """diffusers alone: the target prompt takes over at swap_step through the pipeline's own callback, which
    acts from the step after the one at whose end it is called."""
    embeds, negative = pipe.encode_prompt(target, "cpu", 1, guidance > 1, negative_prompt="blurry")
    both = torch.cat([negative, embeds]) if guidance > 1 else embeds

    def swap(pipe, step_index, timestep, tensors):
        return {"prompt_embeds": both} if step_index == swap_step - 1 else {}

    return pipe(
        target if swap_step == 0 else neutral,
        negative_prompt="blurry",
        num_inference_steps=N,
        guidance_scale=guidance,
        generator=torch.Generator().manual_seed(seed),
        output_type="latent",
        eta=eta,
        callback_on_step_end=swap,
    ).images[0]


@pytest.mark.parametrize("guidance", [7.5, 1.0])
def test_every_leaf_equals_a_full_pipeline_run_that_swaps(model, pipeline, guidance):
    leaves, _ = sample(model, plan(), guidance=guidance)
    for (seed, attribute, swap_step), latents in leaves.items():
        neutral = CAPTIONS.caption("MEL")
        target = CAPTIONS.caption("MEL", [attribute]) if attribute else neutral
        expected = reference(pipeline, neutral, target, seed, swap_step, guidance=guidance)
        torch.testing.assert_close(latents, expected, atol=1e-4, rtol=0)


def test_swapping_changes_something(model):
    leaves, _ = sample(model, plan())
    assert (leaves[3, "hair", 0] - leaves[3, "", N]).abs().max() > 1e-3
    assert (leaves[3, "hair", 0] - leaves[3, "ink", 0]).abs().max() > 1e-4


def test_calls_equal_the_formula(model):
    asked = plan(seeds=(1, 2, 3))
    _, calls = sample(model, asked)
    assert calls == 3 * (N + 2 * sum(N - s for s in SWAPS)) == 3 * asked.calls_per_seed
    assert asked.unet_calls == 2 * calls  # two classes


def test_the_papers_sweep_costs_950_calls_instead_of_1850():
    asked = plan(
        attributes=("a", "b", "c", "d"),
        swap_steps=tuple(range(5, 50, 5)),
        num_inference_steps=50,
        target_prompts={},
    )
    assert (asked.calls_per_seed, asked.plain_calls_per_seed) == (950, 1850)


def test_swap_step_n_is_the_neutral_image(model):
    leaves, _ = sample(model, plan())
    assert torch.equal(leaves[3, "hair", N], leaves[3, "", N])


def test_one_step_late_is_a_swap_one_step_later(model):
    late, _ = sample(model, plan(swap_steps=(3, 6), one_step_late=True))
    usual, _ = sample(model, plan(swap_steps=(4, 7)))
    torch.testing.assert_close(late[3, "hair", 3], usual[3, "hair", 4], atol=1e-5, rtol=0)
    torch.testing.assert_close(late[11, "ink", 6], usual[11, "ink", 7], atol=1e-5, rtol=0)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_a_sample_depends_on_its_seed_alone(model, eta):
    together, _ = sample(model, plan(), eta=eta)
    alone, _ = sample(model, plan(seeds=(11,), attributes=("ink",), swap_steps=(4,)), batch_size=1, eta=eta)
    for key, latents in alone.items():
        torch.testing.assert_close(together[key], latents, atol=1e-4, rtol=0)


def test_stochastic_branches_share_their_noise(model):
    """With the same prompt on both sides of the swap, a branch is its trunk even at eta = 1."""
    same = {(c, a): CAPTIONS.caption(c) for c in ("MEL", "NV") for a in ("hair", "ink")}
    leaves, _ = sample(model, plan(target_prompts=same), eta=1.0)
    for (seed, _, _), latents in leaves.items():
        torch.testing.assert_close(latents, leaves[seed, "", N], atol=1e-4, rtol=0)


def test_a_swap_step_outside_the_sampler_is_refused():
    with pytest.raises(ValueError, match=r"swap step 11 lies outside 0\.\.10"):
        plan(swap_steps=(11,))
