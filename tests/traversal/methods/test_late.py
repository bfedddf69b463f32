"""Masks and SDEdit branch off the finished neutral image, exactly, and at the cost that the plan counts."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from latentpath.config import methods as config_of_methods
from latentpath.config.methods import (
    MASKABLE,
    MaskConfig,
    MethodsConfig,
    SdeditConfig,
    SegaConfig,
    SwapConfig,
)
from latentpath.diffusion.components import BaseModel
from latentpath.diffusion.noise import SeededNoise, step_noise
from latentpath.diffusion.sampler import Sampler
from latentpath.diffusion.solvers import build_solver
from latentpath.traversal.engine import walk
from latentpath.traversal.late import Trunk
from latentpath.traversal.methods import chosen
from latentpath.traversal.methods.mask import Mask
from latentpath.traversal.methods.p2p import P2p
from latentpath.traversal.methods.sdedit import NOISE, Sdedit
from latentpath.traversal.methods.sega import Sega
from latentpath.traversal.sampling import denoiser
from latentpath.traversal.words import Swap, target

SHAPE, N = (4, 8, 8), 6
SOLVERS = pytest.mark.parametrize("solver", ["ddim", "dpmpp_2m", "euler_ancestral"])


@SOLVERS
def test_a_mask_of_all_is_the_bare_method_and_a_mask_of_nothing_the_neutral_image(plan, sample, of, solver):
    """The map lies in [0, 1]: all of it is above -1, nothing above 1. Sega also shows that memory is kept."""
    sega = Swap(Sega())
    masked = {dial: replace(sega, late=Mask(dial)) for dial in (-1.0, 1.0)}
    latents = sample(plan(methods={"sega": {5.0: sega}, "masked": masked}), solver)
    bare = of(latents, "sega")
    for (seed, attribute, method, step, dial), z in latents.items():
        if method == "masked":
            neutral = latents[seed, "", "neutral", N, 1.0]
            assert torch.equal(z, bare[seed, attribute, step] if dial < 0 else neutral)


@SOLVERS
@pytest.mark.parametrize("name", MASKABLE)
def test_every_method_can_be_masked(plan, sample, of, solver, name):
    """Its letter may differ from step to step, look at attention, or borrow that of the neutral image."""
    if name == "slider" or (name == "hspace" and solver == "dpmpp_2m"):
        pytest.skip("no adapter here, and no asymmetric step")
    settings = MethodsConfig(swap=SwapConfig(), mask=MaskConfig(of=[name], dials=[0.4, 1.0]))
    section = getattr(config_of_methods, f"{name.capitalize()}Config")()
    if hasattr(section, "quantile"):
        section.quantile = 0.3  # of so few pixels
    methods = chosen(replace(settings, **{name: section}))
    bare = methods.get(name, {1.0: Swap(target)})
    (dial,) = bare
    masked = f"masked-{name}"
    all_of_it = {-1.0: replace(bare[dial], late=Mask(-1.0))}
    latents = sample(plan(methods={"bare": bare, masked: methods[masked] | all_of_it}), solver)
    found = of(latents, "bare")
    for (seed, attribute, method, step, threshold), z in latents.items():
        neutral = latents[seed, "", "neutral", N, 1.0]
        if method == masked and threshold == 1:
            assert torch.equal(z, neutral)
        elif method == masked and threshold == -1:
            assert torch.equal(z, found[seed, attribute, step])
        elif method == masked:
            assert 0 < (z != neutral).any(dim=0).float().mean() < 1


def test_the_neutral_image_lends_its_attention_to_masked_rows_for_one_row_a_step(plan):
    masked = {"masked": {0.5: replace(Swap(P2p(1.0)), late=Mask(0.5))}}
    asked, nodes = plan(methods=masked), 2 * (6 + 4 + 2)
    assert asked.rows_per_seed - plan().rows_per_seed == 2 * nodes + 2 * 20 + 6


def test_a_masked_image_depends_on_its_seed_alone_also_if_it_borrows(plan, sample):
    methods = {
        "masked": {d: replace(Swap(P2p()), late=Mask(d)) for d in (0.3, 0.5)},
        "p2p": {0.8: Swap(P2p())},
    }
    among = sample(plan(methods=methods | {"sdedit": {1.0: Swap(target, late=Sdedit())}}))
    one = {"masked": {0.5: methods["masked"][0.5]}}
    for key, z in sample(plan(methods=one, seeds=[11], attributes=["ink"], swap_steps=[2])).items():
        assert torch.equal(z, among[key])


def test_outside_the_mask_the_neutral_image_stays_and_inside_it_does_not(plan, sample):
    latents = sample(plan(methods={"masked": {0.5: Swap(target, late=Mask(0.5))}}))
    for (seed, _, method, step, _), z in latents.items():
        if method == "masked":
            changed = (z != latents[seed, "", "neutral", N, 1.0]).any(dim=0)
            assert 0 < changed.float().mean() < 1, step


def test_masks_of_one_attribute_share_their_map(plan, sample):
    """10 noises under two captions for each of two attributes, whatever the number of thresholds."""
    one, two = ({d: Swap(target, late=Mask(d)) for d in dials} for dials in ((0.5,), (0.3, 0.6)))
    nodes = 2 * (6 + 4 + 2)
    calls = plan().calls_per_seed
    assert plan(methods={"masked": one}).calls_per_seed == calls + nodes + 2 * 20
    assert plan(methods={"masked": two}).calls_per_seed == calls + 2 * nodes + 2 * 20
    sample(plan(methods={"masked": two}))  # counts what it denoises, and compares


def test_the_map_is_the_mean_disagreement_clamped_at_three_times_its_mean(plan, tiny_sd):
    asked = plan(methods={"masked": {0.5: Swap(target, late=Mask(0.5))}}, attributes=["hair"])
    model = BaseModel(str(tiny_sd))
    solver = build_solver("ddim", model.schedule(), N)
    rise = torch.arange(64.0).reshape(1, 1, 8, 8)
    neutral, _ = (asked.letters.index(x) for x in Mask().asks(asked.prompts_of("MEL", asked.branches[1])))
    predict = lambda z, t, letters: torch.zeros_like(z) if letters[0] == neutral else 0 * z + rise**3  # noqa: E731
    trunk = Trunk(
        asked, Sampler(predict, solver, SeededNoise(SHAPE)), "MEL", [3], [(torch.zeros(1, *SHAPE),)]
    )
    Mask().region(trunk, asked.prompts_of("MEL", asked.branches[1]))
    expected = (rise**3).clamp(max=3 * (rise**3).mean()) / (3 * (rise**3).mean())
    torch.testing.assert_close(trunk.maps["hair",], expected)


@pytest.mark.parametrize("solver, s", [("ddim", 2), ("euler_ancestral", 4), ("ddim", 0)])
def test_sdedit_is_the_neutral_image_noised_anew_and_sampled_under_the_target(plan, tiny_sd, solver, s):
    asked = plan(methods={"sdedit": {1.0: Swap(target, late=Sdedit())}}, seeds=[11])
    model = BaseModel(str(tiny_sd))
    denoise = denoiser(asked, unet=model.unet().eval(), encoder=model.prompt_encoder(32))
    steps = build_solver(solver, model.schedule(), N)
    sampler = Sampler(denoise, steps, SeededNoise(SHAPE))
    leaves, latents = walk(asked, sampler, cls="MEL", seeds=[11])
    found = {
        (f.branch.method, f.branch.attribute, f.branch.swap_step): z
        for f, z in zip(leaves, latents, strict=True)
    }
    alpha = steps.levels[s][0]
    z = math.sqrt(alpha) * found["neutral", "", N] + math.sqrt(1 - alpha) * step_noise([11], NOISE, SHAPE)
    state = (z,)
    hair = next(b for b in asked.branches if b.attribute == "hair")
    for step in range(s, N):
        state = sampler.step(state, step, seeds=[11], letters=[asked.letters.index(asked.edit("MEL", hair))])
    torch.testing.assert_close(found["sdedit", "hair", s], state[0][0], atol=1e-5, rtol=0)


@SOLVERS
def test_an_image_depends_on_its_seed_alone_whatever_methods_run_beside_it(plan, sample, solver):
    methods = chosen(
        MethodsConfig(
            swap=SwapConfig(), sega=SegaConfig(), mask=MaskConfig(of=["swap", "sega"]), sdedit=SdeditConfig()
        )
    )
    assert list(methods) == ["sega", "masked-swap", "masked-sega", "sdedit"]
    among = sample(plan(methods=methods), solver)
    for name in ("masked-sega", "sdedit"):
        alone = sample(
            plan(methods={name: methods[name]}, seeds=[11], attributes=["ink"], swap_steps=[2]), solver
        )
        for key, z in alone.items():
            assert torch.equal(z, among[key])
