"""A DDIM step is diffusers' DDIM step, and noise is a function of seed and step."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDIMScheduler
from diffusers.utils.torch_utils import randn_tensor

from latentpath.diffusion.schedule import NoiseSchedule
from latentpath.diffusion.solvers import DDIM, ddim_step, initial_noise, step_noise

SHAPE, SEEDS = (4, 8, 8), [3, 11]


def both(n: int, eta: float, **changes) -> tuple[DDIM, DDIMScheduler]:
    theirs = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        steps_offset=1,
        clip_sample=False,
        **changes,
    )
    theirs.set_timesteps(n)
    return DDIM(NoiseSchedule.from_config(theirs.config), n, eta=eta), theirs


@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("n, spacing", [(10, "leading"), (7, "trailing"), (50, "linspace")])
@pytest.mark.parametrize("to_one", [True, False])
def test_every_step_equals_diffusers(eta, prediction_type, n, spacing, to_one):
    solver, theirs = both(
        n, eta, prediction_type=prediction_type, timestep_spacing=spacing, set_alpha_to_one=to_one
    )
    assert solver.timesteps == theirs.timesteps.tolist()
    z = initial_noise(SEEDS, SHAPE)
    generator = torch.Generator().manual_seed(0)
    for step_index, timestep in enumerate(theirs.timesteps):
        output = torch.randn(z.shape, generator=generator)
        noise = step_noise(SEEDS, step_index, SHAPE)
        expected = theirs.step(output, timestep, z, eta=eta, variance_noise=noise).prev_sample
        z = solver.step(z, output, step_index, SEEDS)
        torch.testing.assert_close(z, expected, atol=1e-5, rtol=1e-5)


def test_the_true_noise_leads_back_to_the_image():
    """With what was added as the model's answer, the last step is at z_0 whatever the number of steps."""
    solver, _ = both(8, 0.0)
    clean, noise = torch.randn(2, 2, *SHAPE, generator=torch.Generator().manual_seed(0))
    z = solver.schedule.add_noise(clean, noise, torch.tensor([solver.timesteps[0]]))
    for step_index in range(8):
        z = solver.step(z, noise, step_index, SEEDS)
    torch.testing.assert_close(z, clean, atol=1e-4, rtol=0)


def test_initial_noise_is_what_a_pipeline_draws():
    generators = [torch.Generator("cpu").manual_seed(seed) for seed in SEEDS]
    expected = randn_tensor((2, *SHAPE), generator=generators, dtype=torch.float32)
    assert torch.equal(initial_noise(SEEDS, SHAPE), expected)
    assert torch.equal(initial_noise([11], SHAPE)[0], expected[1])


def test_step_noise_is_a_function_of_seed_and_step():
    noise = step_noise([3, 11, 3], 5, SHAPE)
    assert torch.equal(noise[0], noise[2])
    assert torch.equal(step_noise([11], 5, SHAPE)[0], noise[1])
    others = [
        noise[1],
        step_noise([3], 6, SHAPE)[0],
        step_noise([5], 3, SHAPE)[0],
        initial_noise([3], SHAPE)[0],
    ]
    assert not any(torch.equal(noise[0], other) for other in others)
    many = step_noise(range(200), 0, SHAPE)
    assert abs(many.mean()) < 0.02
    assert abs(many.std() - 1) < 0.02


def test_rows_of_a_seed_share_the_noise_of_a_step():
    solver, _ = both(10, 1.0)
    z, output = torch.randn(2, 1, *SHAPE)
    rows = solver.step(z.repeat(3, 1, 1, 1), output.repeat(3, 1, 1, 1), 4, [11, 3, 11])
    assert torch.equal(rows[0], rows[2])
    assert not torch.equal(rows[0], rows[1])


def test_a_row_does_not_depend_on_the_others():
    solver, _ = both(10, 1.0)
    z, output = torch.randn(2, 3, *SHAPE)
    together = solver.step(z, output, 4, [1, 2, 3])
    assert torch.equal(solver.step(z[1:2], output[1:2], 4, [2])[0], together[1])


def test_what_cannot_be_is_refused():
    z = torch.zeros(1, *SHAPE)
    with pytest.raises(ValueError, match="eta > 0 needs noise"):
        ddim_step(z, z, alpha=0.5, alpha_previous=0.6, eta=1.0)
    with pytest.raises(ValueError, match="prediction_type 'sample'"):
        ddim_step(z, z, alpha=0.5, alpha_previous=0.6, prediction_type="sample")
