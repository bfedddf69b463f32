"""A sweep of Stable Diffusion XL equals diffusers' pipeline, which gets both embeddings and the size."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    StableDiffusionXLPipeline,
)
from torch import Tensor

from latentpath.data.captions import CaptionTemplate
from latentpath.diffusion.components import BaseModel
from latentpath.diffusion.noise import step_noise
from latentpath.traversal.engine import Leaf, walk
from latentpath.traversal.methods.contrast import Contrast
from latentpath.traversal.methods.hspace import Hspace
from latentpath.traversal.methods.leditspp import Leditspp
from latentpath.traversal.methods.p2p import P2p
from latentpath.traversal.plan import SweepPlan, plan_sweep
from latentpath.traversal.sampling import build_sampler
from latentpath.traversal.words import Swap

N, SIZE, SHAPE = 5, 32, (4, 8, 8)
CAPTIONS = CaptionTemplate("{cls} showing {attributes}", "{cls}", {"MEL": "melanoma"}, {"hair": "hair"})
PEERS = {
    "ddim": DDIMScheduler,
    "dpmpp_2m": DPMSolverMultistepScheduler,
    "euler": EulerDiscreteScheduler,
    "euler_ancestral": EulerAncestralDiscreteScheduler,
}
# diffusers makes arrays of tensors in a way that numpy 2 asks not to.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def plan(*, guidance: float = 7.5, negative: str = "") -> SweepPlan:
    return plan_sweep(
        CAPTIONS,
        classes=["MEL"],
        attributes=["hair"],
        swap_steps=[0, 2, N],
        num_inference_steps=N,
        seeds=[3],
        removal=True,
        strengths=[1.5],
        windows=[(1, 3)],
        placebo="{neutral} at noon",
        methods={"contrast": {5.0: Swap(Contrast(5.0))}} if guidance > 1 else {},
        guidance_scale=guidance,
        negative_prompt=negative,
    )


@pytest.fixture(scope="module")
def pipeline(tiny_sdxl) -> StableDiffusionXLPipeline:
    pipe = StableDiffusionXLPipeline.from_pretrained(tiny_sdxl)
    pipe.set_progress_bar_config(disable=True)
    return pipe


Prompt = tuple[Tensor, Tensor]  # hidden states and the pooled embedding


@pytest.fixture
def reference(pipeline, monkeypatch) -> Callable:
    """diffusers alone, one image a run. The prompt is changed through the pipeline's own callback, which acts
    from the step after the one at whose end it is called."""

    def encode(caption: str) -> Prompt:
        hidden, _, pooled, _ = pipeline.encode_prompt(caption, device="cpu")
        return hidden, pooled

    def prompts_by_step(leaf: Leaf) -> list[Prompt]:
        neutral, target = encode("melanoma"), encode("melanoma showing hair")
        branch = leaf.branch
        if branch.method == "strength":
            blends = [n + branch.strength * (t - n) for n, t in zip(neutral, target, strict=True)]
            target = blends[0], blends[1]
        if branch.method == "placebo":
            target = encode("melanoma at noon")
        if branch.method in ("present", "removal"):
            neutral, target = target, neutral
        s, r = branch.swap_step, branch.until
        return [*[neutral] * s, *[target] * (r - s), *[neutral] * (N - r)]

    def run(leaf: Leaf, *, solver: str, eta: float, guidance: float, negative: str) -> Tensor:
        prompts, step, neutral = prompts_by_step(leaf), 0, encode("melanoma")
        # The pipeline's empty negative prompt is none: zeros.
        _, none, _, none_pooled = pipeline.encode_prompt("", device="cpu", negative_prompt=negative or None)

        def at(step: int) -> tuple[Prompt, Prompt, float]:
            """The negative prompt, the prompt and the guidance scale of a step."""
            if leaf.branch.method == "contrast" and step >= leaf.branch.swap_step:
                return neutral, prompts[step], 5.0
            return (none, none_pooled), prompts[step], guidance

        def swap(pipe, step_index, timestep, tensors):
            nonlocal step
            step = step_index + 1
            *pairs, pipe._guidance_scale = at(min(step, N - 1))
            pairs = pairs if guidance > 1 else pairs[1:]
            return {
                "prompt_embeds": torch.cat([hidden for hidden, _ in pairs]),
                "add_text_embeds": torch.cat([pooled for _, pooled in pairs]),
            }

        clip = {"clip_sample": False} if solver == "ddim" else {}
        pipeline.scheduler = PEERS[solver].from_config(pipeline.scheduler.config, **clip)
        module = sys.modules[inspect.getmodule(pipeline.scheduler).__name__]
        draw = lambda *args, **kwargs: step_noise([leaf.seed], step, SHAPE)  # noqa: E731
        monkeypatch.setattr(module, "randn_tensor", draw, raising=False)
        away, toward, scale = at(0)
        return pipeline(
            prompt_embeds=toward[0],
            pooled_prompt_embeds=toward[1],
            negative_prompt_embeds=away[0] if guidance > 1 else None,
            negative_pooled_prompt_embeds=away[1] if guidance > 1 else None,
            height=SIZE,
            width=SIZE,
            num_inference_steps=N,
            guidance_scale=scale,
            generator=torch.Generator().manual_seed(leaf.seed),
            output_type="latent",
            eta=eta,
            callback_on_step_end=swap,
            callback_on_step_end_tensor_inputs=["prompt_embeds", "add_text_embeds"],
        ).images[0]

    return run


@pytest.mark.parametrize("guidance, negative", [(7.5, ""), (7.5, "blurry"), (1.0, "")])
@pytest.mark.parametrize(
    "solver, eta", [("ddim", 0.0), ("ddim", 1.0), *((s, 0.0) for s in PEERS if s != "ddim")]
)
def test_every_leaf_equals_a_full_pipeline_run_that_swaps(
    tiny_sdxl, reference, solver, eta, guidance, negative
):
    asked = plan(guidance=guidance, negative=negative)
    sampler = build_sampler(asked, BaseModel(str(tiny_sdxl)), image_size=SIZE, solver=solver, eta=eta)
    leaves, latents = walk(asked, sampler, cls="MEL", seeds=asked.seeds)
    assert len(leaves) == len(asked.branches)
    settings = {"solver": solver, "eta": eta, "guidance": guidance, "negative": negative}
    for leaf, found in zip(leaves, latents, strict=True):
        torch.testing.assert_close(found, reference(leaf, **settings), atol=1e-4, rtol=0)


def test_pooled_embedding_and_size_matter(tiny_sdxl):
    """What the test above compares would differ if either part of the conditioning were lost."""
    sampler = build_sampler(plan(), BaseModel(str(tiny_sdxl)), image_size=SIZE)
    table = sampler.denoise.conditioning
    whole, z = sampler.denoise(torch.ones(1, *SHAPE), 500, [0]), torch.ones(1, *SHAPE)
    for lost in (table.pooled * 0, table.image_size), (table.pooled, 2 * SIZE):
        sampler.denoise.conditioning = type(table)(table.hidden, *lost)
        assert (sampler.denoise(z, 500, [0]) - whole).abs().max() > 1e-3


def test_methods_work_inside_the_network_of_sdxl_as_well(tiny_sdxl):
    model = BaseModel(str(tiny_sdxl))
    methods = {"p2p": {0.8: Swap(P2p())}, "leditspp": {5.0: Swap(Leditspp(quantile=0.5))}}
    methods |= {"hspace": {1.0: Swap(Hspace(300.0, seeds=2))}}  # random weights have small directions
    captions = CaptionTemplate("{cls} showing {attributes}", "{cls}", {"MEL": "melanoma"}, {"hair": "hair"})
    plan = plan_sweep(
        captions, classes=["MEL"], attributes=["hair"], swap_steps=[0], num_inference_steps=4, seeds=[3],
        methods=methods,
    )  # fmt: skip
    sampler = build_sampler(plan, model, image_size=32)
    leaves, latents = walk(plan, sampler, cls="MEL", seeds=[3])
    of = {leaf.branch.method: z for leaf, z in zip(leaves, latents, strict=True)}
    assert sampler.denoise.rows == plan.unet_rows
    assert (of["p2p"] - of["swap"]).abs().max() > 1e-4
    for method in ("leditspp", "hspace"):
        assert (of[method] - of["neutral"]).abs().max() > 1e-4
