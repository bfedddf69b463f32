"""Inversion reproduces a real image: DDPM inversion exactly, DDIM inversion for small steps."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from latentpath.data.captions import CaptionTemplate
from latentpath.diffusion.components import BaseModel
from latentpath.diffusion.inversion import ddim_inversion, ddpm_inversion
from latentpath.diffusion.sampler import Sampler
from latentpath.diffusion.solvers import build_solver
from latentpath.errors import UserError
from latentpath.traversal.engine import walk
from latentpath.traversal.plan import plan_sweep
from latentpath.traversal.sampling import denoiser

SEEDS = (3, 11)
CAPTIONS = CaptionTemplate("{cls} with {attributes}", "{cls}", {"MEL": "melanoma"}, {"hair": "hair"})


@pytest.fixture(scope="module")
def model(tiny_sd) -> BaseModel:
    return BaseModel(str(tiny_sd))


@pytest.fixture(scope="module")
def originals() -> Tensor:
    return torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(5))


def there_and_back(
    model: BaseModel, z: Tensor, method: str, *, guidance: float, steps: int = 20, iterations: int = 1
):
    """Invert under the neutral prompt, then walk neutral and a late swap from it: {(seed, attribute):
    latents}.
    """
    swap = steps - 2
    plan = plan_sweep(
        CAPTIONS,
        classes=["MEL"],
        attributes=["hair"],
        swap_steps=[swap],
        num_inference_steps=steps,
        seeds=SEEDS,
        guidance_scale=guidance,
    )
    denoise = denoiser(plan, unet=model.unet().eval(), encoder=model.prompt_encoder(32), batch_size=8)
    solver = build_solver("ddim", model.schedule(), steps, eta=1.0 if method == "ddpm" else 0.0)
    predict = lambda z, timestep: denoise(z, timestep, [0] * len(z))  # noqa: E731
    if method == "ddpm":
        noise = ddpm_inversion(z, seeds=SEEDS, denoise=predict, solver=solver)
    else:
        noise = ddim_inversion(z, seeds=SEEDS, denoise=predict, solver=solver, iterations=iterations)
    calls = denoise.calls
    leaves, latents = walk(plan, Sampler(denoise, solver, noise), cls="MEL", seeds=SEEDS)
    found = {(leaf.seed, leaf.branch.attribute): z for leaf, z in zip(leaves, latents, strict=True)}
    return (
        torch.stack([found[seed, ""] for seed in SEEDS]),
        torch.stack([found[s, "hair"] for s in SEEDS]),
        calls,
    )


@pytest.mark.parametrize("guidance", [1.0, 7.5])
def test_ddpm_inversion_reconstructs_at_any_guidance(model, originals, guidance):
    neutral, edited, calls = there_and_back(model, originals, "ddpm", guidance=guidance)
    torch.testing.assert_close(neutral, originals, atol=1e-4, rtol=0)
    assert (edited - originals).abs().max() > 1e-5
    assert calls == 20 * len(SEEDS)


def test_a_row_is_inverted_by_its_own_seed(model, originals):
    """The order of the images does not matter, nor which others there are."""
    schedule = build_solver("ddim", model.schedule(), 5, eta=1.0)
    predict = lambda z, timestep: 0.1 * z  # noqa: E731
    both = ddpm_inversion(originals, seeds=SEEDS, denoise=predict, solver=schedule)
    alone = ddpm_inversion(originals[1:], seeds=SEEDS[1:], denoise=predict, solver=schedule)
    assert torch.equal(both.initial([11]), alone.initial([11]))
    for step in range(5):
        twice, once = both.step_noise([11, 11], step, 1.0), alone.step_noise([11], step, 1.0)
        torch.testing.assert_close(twice[1], once[0])


def test_the_steps_of_ddpm_inversion_are_noised_each_on_its_own(model, originals):
    """What makes it edit-friendly: residuals far larger than those of one noise for all steps, and z_T
    normal.
    """
    solver = build_solver("ddim", model.schedule(), 10, eta=1.0)
    truth = lambda z, timestep: torch.zeros_like(z)  # noqa: E731
    noise = ddpm_inversion(originals.repeat(8, 1, 1, 1), seeds=range(16), denoise=truth, solver=solver)
    assert abs(noise.start.std() - 1) < 0.05
    assert noise.residuals is not None
    assert noise.residuals.shape == (10, 16, 4, 8, 8)
    assert noise.residuals.flatten(1).std(dim=1).min() > 0


def test_ddim_inversion_comes_nearer_with_steps_and_iterations(model, originals):
    def error(**options) -> float:
        neutral, _, _ = there_and_back(model, originals, "ddim", guidance=1.0, **options)
        return float((neutral - originals).norm() / originals.norm())

    assert error(steps=40) < error(steps=10)
    assert error(steps=10, iterations=6) < error(steps=10, iterations=2) < error(steps=10)
    assert there_and_back(model, originals, "ddim", guidance=1.0, steps=10, iterations=3)[2] == 3 * 10 * len(
        SEEDS
    )


def test_ddim_inversion_is_exact_for_a_model_with_constant_output(originals):
    """eps does not depend on z: then the backward step is the forward step undone."""
    from latentpath.diffusion.schedule import NoiseSchedule

    solver = build_solver("ddim", NoiseSchedule(torch.linspace(0.999, 0.01, 1000), 0.999), 7)
    eps = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    noise = ddim_inversion(originals, seeds=SEEDS, denoise=lambda z, t: eps, solver=solver)
    state = solver.start(noise.initial(SEEDS))
    for step in range(7):
        state, sigma = solver.step(state, eps, step)
        assert noise.step_noise(SEEDS, step, sigma) is None
    torch.testing.assert_close(state[0], originals, atol=1e-5, rtol=0)


def test_a_solver_of_the_wrong_kind_is_refused(model, originals):
    deterministic = build_solver("ddim", model.schedule(), 5)
    stochastic = build_solver("ddim", model.schedule(), 5, eta=1.0)
    with pytest.raises(ValueError, match="eta 1"):
        ddpm_inversion(originals, seeds=SEEDS, denoise=lambda z, t: z, solver=deterministic)
    with pytest.raises(ValueError, match="eta 0"):
        ddim_inversion(originals, seeds=SEEDS, denoise=lambda z, t: z, solver=stochastic)


ZERO_SNR = {
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
}


def test_from_zero_terminal_snr_only_ddpm_inversion_finds_the_noise(model, originals):
    schedule, predict = model.schedule(**ZERO_SNR), lambda z, timestep: 0.1 * z
    solver = build_solver("ddim", schedule, 5, eta=1.0)
    noise = ddpm_inversion(originals, seeds=SEEDS, denoise=predict, solver=solver)
    state = solver.start(noise.initial(SEEDS))
    for step in range(5):
        (mean,), sigma = solver.step(state, predict(state[0], solver.timesteps[step]), step)
        residual = noise.step_noise(SEEDS, step, sigma)
        assert residual is not None
        state = (mean + residual,)
    torch.testing.assert_close(state[0], originals, atol=1e-5, rtol=0)
    with pytest.raises(UserError, match=r"begins with pure noise .* Give inversion=ddpm"):
        ddim_inversion(originals, seeds=SEEDS, denoise=predict, solver=build_solver("ddim", schedule, 5))
