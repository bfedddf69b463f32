"""The tree equals diffusers' pipeline at the predicted cost, and a sample depends on its seed alone."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
)
from torch import Tensor

from latentpath.config.choices import SOLVERS
from latentpath.data.captions import CaptionTemplate
from latentpath.diffusion.components import BaseModel
from latentpath.diffusion.noise import SeededNoise, step_noise
from latentpath.diffusion.sampler import Sampler
from latentpath.diffusion.solvers import State, build_solver
from latentpath.traversal.engine import Leaf, walk
from latentpath.traversal.plan import Branch, SweepPlan, plan_sweep
from latentpath.traversal.sampling import denoiser

N, SWAPS, SEEDS, NEGATIVE, SHAPE = 7, [0, 3, 7], [3, 11], "blurry", (4, 8, 8)
CAPTIONS = CaptionTemplate(
    "a dermoscopic image with {cls} showing {attributes}",
    "a dermoscopic image with {cls}",
    {"MEL": "melanoma", "NV": "nevus"},
    {"hair": "hair", "ink": "ink", "ruler": "ruler"},
)
EVERYTHING = {
    "combinations": [("hair", "ink")],
    "removal": True,
    "strengths": [1.5],
    "windows": [(3, 5)],
}
PEERS = {
    "ddim": DDIMScheduler,
    "dpmpp_2m": DPMSolverMultistepScheduler,
    "euler": EulerDiscreteScheduler,
    "euler_ancestral": EulerAncestralDiscreteScheduler,
}
# diffusers makes arrays of tensors in a way that numpy 2 asks not to.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def plan(**changes) -> SweepPlan:
    asked = {
        "classes": ["MEL", "NV"],
        "attributes": ["hair", "ink"],
        "swap_steps": SWAPS,
        "num_inference_steps": N,
        "seeds": SEEDS,
        "negative_prompt": NEGATIVE,
    }
    return plan_sweep(CAPTIONS, **(asked | changes))


@pytest.fixture(scope="module")
def model(tiny_sd) -> BaseModel:
    return BaseModel(str(tiny_sd))


@pytest.fixture(scope="module")
def pipeline(tiny_sd) -> StableDiffusionPipeline:
    pipe = StableDiffusionPipeline.from_pretrained(
        tiny_sd, safety_checker=None, requires_safety_checker=False
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def sample(model) -> Callable:
    """`sample(plan, ...)`: the leaves with their latents, and the U-Net calls that they took."""
    unet, encoder = model.unet().eval(), model.prompt_encoder(32)

    def sampled(
        asked: SweepPlan,
        *,
        solver: str = "ddim",
        eta: float = 0.0,
        guidance: float = 7.5,
        batch_size: int = 64,
        static: bool = False,
        waves: Sequence[Sequence[int]] | None = None,
        cls: str = "MEL",
    ) -> tuple[dict[Leaf, Tensor], int]:
        asked = replace(asked, guidance_scale=guidance)
        denoise = denoiser(
            asked,
            unet=unet,
            encoder=encoder,
            batch_size=batch_size,
            static=static,
        )
        steps = build_solver(solver, model.schedule(), asked.num_inference_steps, eta=eta)
        found: dict[Leaf, Tensor] = {}
        for seeds in waves or [asked.seeds]:
            sampler = Sampler(denoise, steps, SeededNoise(SHAPE))
            leaves, latents = walk(asked, sampler, cls=cls, seeds=seeds)
            found |= dict(zip(leaves, latents, strict=True))
        return found, denoise.calls

    return sampled


def embeds_by_step(encode: Callable[..., Tensor], branch: Branch) -> list[Tensor]:
    """What a branch's U-Net attends to in each step, told anew: not by the plan."""
    neutral, target = encode(), encode(*branch.attributes)
    s, r = branch.swap_step, branch.until
    if branch.method == "strength":
        target = neutral + branch.strength * (target - neutral)
    if branch.method in ("present", "removal"):
        neutral, target = target, neutral
    return [*[neutral] * s, *[target] * (r - s), *[neutral] * (N - r)]


@pytest.fixture
def reference(pipeline, monkeypatch) -> Callable:
    """diffusers alone, one image a run. The prompt is changed through the pipeline's own callback, which acts
    from the step after the one at whose end it is called."""

    def run(leaf: Leaf, *, solver: str = "ddim", eta: float = 0.0, guidance: float = 7.5) -> Tensor:
        def encode(*attributes: str) -> Tensor:
            return pipeline.encode_prompt(CAPTIONS.caption(leaf.cls, attributes), "cpu", 1, False)[0]

        embeds = embeds_by_step(encode, leaf.branch)
        negative = pipeline.encode_prompt(NEGATIVE, "cpu", 1, False)[0]
        step = 0

        def swap(pipe, step_index, timestep, tensors):
            nonlocal step
            step = step_index + 1
            following = embeds[min(step, N - 1)]
            return {"prompt_embeds": torch.cat([negative, following]) if guidance > 1 else following}

        clip = {"clip_sample": False} if solver == "ddim" else {}
        pipeline.scheduler = PEERS[solver].from_config(pipeline.scheduler.config, **clip)
        module = sys.modules[inspect.getmodule(pipeline.scheduler).__name__]
        draw = lambda *args, **kwargs: step_noise([leaf.seed], step, SHAPE)  # noqa: E731
        monkeypatch.setattr(module, "randn_tensor", draw, raising=False)
        return pipeline(
            prompt_embeds=embeds[0],
            negative_prompt_embeds=negative if guidance > 1 else None,
            num_inference_steps=N,
            guidance_scale=guidance,
            generator=torch.Generator().manual_seed(leaf.seed),
            output_type="latent",
            eta=eta,
            callback_on_step_end=swap,
        ).images[0]

    return run


@pytest.mark.parametrize("guidance", [7.5, 1.0])
@pytest.mark.parametrize("solver, eta", [("ddim", 0.0), ("ddim", 1.0), *((s, 0.0) for s in SOLVERS[1:])])
def test_every_leaf_equals_a_full_pipeline_run_that_swaps(sample, reference, solver, eta, guidance):
    settings = {"solver": solver, "eta": eta, "guidance": guidance}
    leaves, _ = sample(plan(attributes=["hair"], **EVERYTHING), **settings)
    for leaf, latents in leaves.items():
        torch.testing.assert_close(latents, reference(leaf, **settings), atol=1e-4, rtol=0)


def test_other_prompts_give_other_images_and_equal_ones_equal_images(sample):
    """What is compared above is farther apart than 1e-4, guided or not."""
    asked = plan(attributes=["hair"], **EVERYTHING)
    leaves, _ = sample(asked, guidance=1.0)
    of = [(asked.word("MEL", leaf.branch), z) for leaf, z in leaves.items() if leaf.seed == 3]
    for prompts, z in of:
        for others, other in of:
            assert torch.equal(z, other) if prompts == others else (z - other).abs().max() > 4e-4


@pytest.mark.parametrize("changes", [{}, EVERYTHING, {"one_step_late": True}, {"swap_steps": [N]}])
def test_calls_equal_the_plan(sample, changes):
    asked = plan(seeds=[1, 2, 3], **changes)
    for options in ({"guidance": 1.0}, {"batch_size": 5, "static": True, "waves": [[1], [2, 3]]}):
        assert sample(asked, **options)[1] == 3 * asked.calls_per_seed


def test_calls_equal_the_formula(sample):
    _, calls = sample(plan(seeds=[1, 2, 3]))
    assert calls == 3 * (N + 2 * sum(N - s for s in SWAPS))


def test_one_step_late_is_a_swap_one_step_later(sample):
    late, _ = sample(plan(swap_steps=[2, 5], one_step_late=True))
    usual, _ = sample(plan(swap_steps=[3, 6]))
    for leaf, latents in late.items():
        if leaf.branch.method == "swap":
            later = Branch("swap", leaf.branch.attributes, leaf.branch.swap_step + 1, N)
            assert torch.equal(latents, usual[Leaf("MEL", leaf.seed, later)])


@pytest.fixture(scope="module")
def among_all(sample) -> Callable:
    """`among_all(solver)`: a sweep of all that the tests below ask parts of."""
    asked = plan(seeds=[3, 11, 12], **EVERYTHING)
    return cache(lambda solver: sample(asked, solver=solver, batch_size=8, static=True)[0])


with_memory_or_noise = pytest.mark.parametrize("solver", ["dpmpp_2m", "euler_ancestral"])


@with_memory_or_noise
@pytest.mark.parametrize(
    "changes, waves",
    [
        pytest.param({"seeds": [12, 3, 11]}, None, id="order"),
        pytest.param({}, [[11], [12, 3]], id="waves"),
        pytest.param({"seeds": [11]}, None, id="one seed"),
        pytest.param({"classes": ["MEL"]}, None, id="one class"),
        pytest.param({"attributes": ["ruler", "ink"]}, None, id="attributes"),
        pytest.param({"swap_steps": [1, 3, 5]}, None, id="swaps"),
        pytest.param({"combinations": [], "removal": False, "strengths": []}, None, id="methods"),
    ],
)
def test_a_sample_depends_on_its_seed_alone(sample, among_all, solver, changes, waves):
    """To the bit where the U-Net sees batches of one shape, whatever else is in them."""
    asked = plan(**({"seeds": [3, 11, 12], **EVERYTHING} | changes))
    found, _ = sample(asked, solver=solver, waves=waves, batch_size=8, static=True)
    common = found.keys() & among_all(solver).keys()
    assert len(common) >= 2 * len(asked.seeds)
    for leaf in common:
        assert torch.equal(found[leaf], among_all(solver)[leaf])


@with_memory_or_noise
@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_batches_of_another_shape_change_no_more_than_rounding(sample, among_all, solver, batch_size):
    found, _ = sample(plan(), solver=solver, batch_size=batch_size)
    for leaf, latents in found.items():
        torch.testing.assert_close(latents, among_all(solver)[leaf], atol=1e-4, rtol=0)


@with_memory_or_noise
def test_a_branch_under_the_same_prompt_is_its_trunk(sample, solver):
    """Strength 0 is the neutral prompt by another name: branches share memory and noise with the trunk."""
    asked = plan(strengths=[0.0], swap_steps=[0, 3, 6])
    leaves, _ = sample(asked, solver=solver, batch_size=8, static=True)
    for leaf, latents in leaves.items():
        if leaf.branch.method == "strength":
            assert torch.equal(latents, leaves[Leaf("MEL", leaf.seed, asked.branches[0])])


@pytest.mark.parametrize("seeds", [[3, 11, 3, 11], [11, 3, 3], [3, 3, 11], [11]])
def test_every_row_of_a_step_gets_its_own_seeds_noise_in_any_order(model, seeds):
    steps = build_solver("euler_ancestral", model.schedule(), N)
    z = torch.zeros(len(seeds), *SHAPE)
    sampler = Sampler(lambda z, t, p: z, steps, SeededNoise(SHAPE))
    (latents,) = sampler.step((z,), 2, seeds=seeds, letters=[0] * len(seeds))
    sigma = steps.step((z,), z, 2)[1]
    torch.testing.assert_close(latents, sigma * step_noise(seeds, 2, SHAPE))


@with_memory_or_noise
def test_the_returned_trunk_is_the_path_of_the_neutral_image(model, solver):
    """From any state of it the walk can go on, whatever was walked beside it."""
    asked, steps = plan(), build_solver(solver, model.schedule(), N)
    denoise = lambda z, t, letters: z.cos() + torch.tensor(letters)[:, None, None, None] / 9  # noqa: E731
    sampler = Sampler(denoise, steps, SeededNoise(SHAPE))
    trunk: list[State] = []
    leaves, latents = walk(asked, sampler, cls="NV", seeds=SEEDS, trunk=trunk)
    found = dict(zip(leaves, latents, strict=True))
    assert len(trunk) == N + 1
    hair = asked.letters.index(asked.edit("NV", Branch("swap", ("hair",), 3, N)))
    state = trunk[3]
    for step_index in range(3, N):
        state = sampler.step(state, step_index, seeds=SEEDS, letters=[hair, hair])
    for row, seed in enumerate(SEEDS):
        assert torch.equal(trunk[N][0][row], found[Leaf("NV", seed, asked.branches[0])])
        expected = found[Leaf("NV", seed, Branch("swap", ("hair",), 3, N))]
        torch.testing.assert_close(state[0][row], expected)
