"""A slider is the neutral prompt by a U-Net with an adapter, which no row beside it sees."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from latentpath.diffusion.adapters import load_adapter, set_scales
from latentpath.diffusion.components import BaseModel
from latentpath.diffusion.noise import SeededNoise
from latentpath.diffusion.sampler import Sampler
from latentpath.diffusion.solvers import build_solver
from latentpath.training.trainable import make_trainable, save_lora
from latentpath.traversal.engine import walk
from latentpath.traversal.methods.slider import Slider
from latentpath.traversal.sampling import denoiser
from latentpath.traversal.words import Swap

N = 6


@pytest.fixture(scope="module")
def adapted(tiny_sd, tmp_path_factory):
    """A model and its U-Net with an adapter each for hair and ink, of random weights."""
    model = BaseModel(str(tiny_sd))
    unet = model.unet()
    for seed, name in enumerate(("hair", "ink")):
        other = model.unet()
        make_trainable(other, "lora", rank=2, alpha=2)
        generator = torch.Generator().manual_seed(seed)
        for weights in other.parameters():
            if weights.requires_grad:
                weights.data.copy_(torch.randn(weights.shape, generator=generator) / 2)
        folder = tmp_path_factory.mktemp(name)
        save_lora(other, folder)
        load_adapter(unet, folder, name)
    return model, unet.eval()


@pytest.fixture(scope="module")
def sampled(adapted) -> Callable:
    model, unet = adapted

    def run(plan, **options) -> dict[tuple, Tensor]:
        denoise = denoiser(plan, unet=unet, encoder=model.prompt_encoder(32), **options)
        solver = build_solver("ddim", model.schedule(), N)
        leaves, latents = walk(
            plan, Sampler(denoise, solver, SeededNoise((4, 8, 8))), cls="MEL", seeds=plan.seeds
        )
        assert denoise.rows == len(plan.seeds) * plan.rows_per_seed
        branches = [(leaf.seed, leaf.branch) for leaf in leaves]
        keys = [(seed, b.method, b.attribute, b.swap_step, b.strength) for seed, b in branches]
        return dict(zip(keys, latents, strict=True))

    return run


def spelled(*dials: float) -> dict:
    return {"slider": {dial: Swap(Slider(dial)) for dial in dials}}


def test_at_scale_zero_it_is_the_neutral_image(plan, sampled):
    asked = plan(methods=spelled(0.0))
    assert asked.calls_per_seed == plan().calls_per_seed
    latents = sampled(asked)
    for (seed, method, *_), z in latents.items():
        if method == "slider":
            assert torch.equal(z, latents[seed, "neutral", "", N, 1.0])


def test_from_its_step_on_the_adapter_of_its_attribute_is_on(plan, sampled, adapted):
    model, unet = adapted
    latents = sampled(plan(methods=spelled(1.0, 2.0)))
    neutral = denoiser(plan(), unet=unet, encoder=model.prompt_encoder(32))
    sampler = Sampler(neutral, build_solver("ddim", model.schedule(), N), SeededNoise((4, 8, 8)))
    for attribute, dial, s in (("hair", 1.0, 2), ("ink", 2.0, 4), ("ink", 1.0, 0)):
        state = sampler.start([11])
        for step in range(N):
            set_scales(unet, {attribute: dial} if step >= s else {})
            state = sampler.step(state, step, seeds=[11], letters=[0])
        found = latents[11, "slider", attribute, s, dial]
        torch.testing.assert_close(found, state[0][0], atol=1e-4, rtol=0)
        assert (found - latents[11, "neutral", "", N, 1.0]).abs().max() > 1e-2


def test_no_other_image_sees_the_adapter(plan, sampled, adapted):
    options = {"batch_size": 8, "static": True}
    among = sampled(plan(methods=spelled(1.0)), **options)
    set_scales(adapted[1], {})
    for key, z in sampled(plan(), **options).items():
        assert torch.equal(z, among[key])
