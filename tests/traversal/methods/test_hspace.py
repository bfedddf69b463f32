"""The h-space direction equals full runs that are written out, at the cost that the plan counts."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from latentpath.config.methods import HspaceConfig, MaskConfig, MethodsConfig, SwapConfig
from latentpath.diffusion.bottleneck import reading
from latentpath.diffusion.components import BaseModel
from latentpath.diffusion.noise import initial_noise, step_noise
from latentpath.diffusion.solvers import build_solver, ddim_step, predictions
from latentpath.errors import UserError
from latentpath.traversal.directions import FIRST_SEED
from latentpath.traversal.methods import chosen
from latentpath.traversal.methods.hspace import Hspace
from latentpath.traversal.methods.mask import Mask
from latentpath.traversal.methods.sega import Sega
from latentpath.traversal.words import Swap

N, SHAPE, G, K = 6, (4, 8, 8), 3.0, 3
NEUTRAL = "a dermoscopic image with melanoma"
TARGET = f"{NEUTRAL} showing hair"


def spelled(*methods: Hspace) -> dict:
    return {"hspace": {method.dial: Swap(method) for method in methods}}


class Plain:
    """A full run as one would write it for one image: a hook, and z_0 and direction from different eps."""

    def __init__(self, tiny_sd, solver: str) -> None:
        model = BaseModel(str(tiny_sd))
        self.unet: Any = model.unet().eval()
        texts: list[str] = ["", NEUTRAL, TARGET]
        self.embeds = dict(zip(texts, model.prompt_encoder(32)(texts).hidden, strict=True))
        self.solver = build_solver(solver, model.schedule(), N)

    def eps(self, z: Tensor, step: int, text: str, shift: Tensor | float = 0.0) -> tuple[Tensor, Tensor]:
        """Return eps and h, both of one image."""
        seen = []
        hook = self.unet.mid_block.register_forward_hook(lambda block, given, h: seen.append(h) or h + shift)
        time = torch.tensor([self.solver.timesteps[step]])
        with torch.no_grad():
            (eps,) = self.unet(z, time, self.embeds[text][None], return_dict=False)
        hook.remove()
        return eps, seen[0]

    def step(self, z: Tensor, step: int, seed: int, shift: Tensor | float = 0.0) -> Tensor:
        u, n = self.eps(z, step, "")[0], self.eps(z, step, NEUTRAL)[0]
        shifted = u + G * (self.eps(z, step, NEUTRAL, shift)[0] - u)
        alpha, after = self.solver.levels[step]
        eta = self.solver.eta
        sigma = eta * math.sqrt((1 - after) / (1 - alpha) * (1 - alpha / after))
        clean = (z - math.sqrt(1 - alpha) * shifted) / math.sqrt(alpha)
        mean = math.sqrt(after) * clean + math.sqrt(max(0, 1 - after - sigma**2)) * (u + G * (n - u))
        return mean + sigma * step_noise([seed], step, SHAPE)

    def start(self, seed: int) -> Tensor:
        return self.solver.init_noise_sigma * initial_noise([seed], SHAPE)

    def directions(self) -> list[Tensor]:
        """dh of each step, from K images one after the other."""
        found = torch.zeros(0)
        for seed in range(FIRST_SEED, FIRST_SEED + K):
            z, own = self.start(seed), []
            for step in range(N):
                own.append(self.eps(z, step, TARGET)[1] - self.eps(z, step, NEUTRAL)[1])
                z = self.step(z, step, seed)
            found = torch.stack(own) / K + (found if len(found) else 0)
        return list(found)


@pytest.mark.parametrize("solver", ["ddim", "euler", "euler_ancestral"])
def test_every_leaf_equals_a_full_run_that_is_written_out(plan, sample, tiny_sd, solver):
    methods = spelled(Hspace(300.0, K), Hspace(-200.0, K))  # random weights have small directions
    found = sample(plan(methods=methods, attributes=["hair"]), solver)
    plain = Plain(tiny_sd, solver)
    directions = plain.directions()
    for (seed, _, method, s, dial), latents in found.items():
        if method in ("neutral", "hspace"):
            z = plain.start(seed)
            for step in range(N):
                edited = method == "hspace" and step >= s
                z = plain.step(z, step, seed, dial * directions[step] if edited else 0.0)
            torch.testing.assert_close(latents, z[0], atol=2e-4, rtol=1e-4)
            if method == "hspace":
                assert (latents - found[seed, "", "neutral", N, 1.0]).abs().max() > 0.02


@pytest.mark.parametrize("solver", ["ddim", "euler", "euler_ancestral"])
@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_a_plain_step_with_the_asymmetry_is_the_asymmetric_step(tiny_sd, solver, prediction_type):
    steps = build_solver(solver, BaseModel(str(tiny_sd)).schedule(), N)
    steps = replace(steps, prediction_type=prediction_type)
    z, output, change = torch.randn(3, 1, *SHAPE, generator=torch.Generator().manual_seed(0))
    for i, (alpha, after) in enumerate(steps.levels):
        clean, _ = predictions(z, output + change, alpha, prediction_type)
        _, epsilon = predictions(z, output, alpha, prediction_type)
        expected, _ = ddim_step(clean, epsilon, alpha=alpha, alpha_after=after, eta=steps.eta)
        (found, *_), _ = steps.step((z,), output + steps.asymmetry(i) * change, i)
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_with_dial_0_it_is_the_neutral_image_and_costs_nothing(plan, sample, of):
    asked = plan(methods=spelled(Hspace(0.0)))
    assert asked.unet_rows == plan().unet_rows
    latents = sample(asked)
    for (seed, _, _), z in of(latents, "hspace").items():
        assert torch.equal(z, latents[seed, "", "neutral", N, 1.0])


def test_a_node_costs_three_rows_and_a_direction_is_found_once_a_class(plan, sample):
    """`sample` compares both with what was denoised."""
    asked, bare = plan(methods=spelled(Hspace(1.0, K), Hspace(2.0, K))), plan()
    nodes, attributes = 2 * 2 * (6 + 4 + 2), 2
    assert asked.rows_per_seed - bare.rows_per_seed == 3 * nodes
    assert asked.unet_rows - 2 * asked.rows_per_seed == K * N * (3 + attributes)
    assert asked.unet_calls - 2 * asked.calls_per_seed == K * N * (2 + attributes)
    sample(asked)


@pytest.mark.parametrize("batch_size", [1, 8])
def test_an_image_depends_on_its_seed_alone_whatever_methods_run_beside_it(plan, sample, batch_size):
    both = spelled(Hspace(1.0, K), Hspace(2.0, K)) | {"sega": {5.0: Swap(Sega())}}
    alone = plan(methods=spelled(Hspace(1.0, K)), seeds=[11], attributes=["ink"], swap_steps=[2])
    among = sample(plan(methods=both, placebo="this is {neutral}", removal=True), batch_size=batch_size)
    for key, z in sample(alone, batch_size=batch_size).items():
        assert torch.equal(z, among[key])


def test_no_other_image_is_changed(plan, sample):
    among = sample(plan(methods=spelled(Hspace(2.0, K))))
    for key, z in sample(plan()).items():
        assert torch.equal(z, among[key])


def test_a_mask_of_all_is_the_bare_method_and_a_mask_of_nothing_the_neutral_image(plan, sample, of):
    bare = Swap(Hspace(1.0, K))
    masked = {dial: replace(bare, late=Mask(dial)) for dial in (-1.0, 1.0)}
    latents = sample(plan(methods={"hspace": {1.0: bare}, "masked": masked}))
    for (seed, attribute, method, step, dial), z in latents.items():
        if method == "masked":
            neutral = latents[seed, "", "neutral", N, 1.0]
            assert torch.equal(z, of(latents, "hspace")[seed, attribute, step] if dial < 0 else neutral)


def test_a_multistep_solver_and_a_network_without_a_mid_block_are_refused(plan, sample, tiny_sd):
    with pytest.raises(ValueError, match="of DDIM and Euler"):
        sample(plan(methods=spelled(Hspace())), "dpmpp_2m")
    unet: Any = BaseModel(str(tiny_sd)).unet()
    unet.mid_block = None
    with pytest.raises(UserError, match="this U-Net has none"), reading(unet):
        pass


def test_its_settings_reach_it():
    settings = MethodsConfig(swap=SwapConfig(), hspace=HspaceConfig(dials=[0.5, 2], seeds=7))
    assert chosen(settings)["hspace"] == {dial: Swap(Hspace(dial, 7)) for dial in (0.5, 2)}
    masked = MethodsConfig(swap=SwapConfig(), mask=MaskConfig(of=["swap"]))
    assert "hspace" not in chosen(masked)
