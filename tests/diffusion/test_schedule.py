"""The schedule equals diffusers' number by number, for the timesteps of each scheduler."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler, PNDMScheduler

from latentpath.diffusion.schedule import NoiseSchedule
from latentpath.errors import UserError

SD = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}


def both(**changes) -> tuple[NoiseSchedule, DDIMScheduler]:
    theirs = DDIMScheduler(**(SD | {"clip_sample": False} | changes))
    return NoiseSchedule.from_config(theirs.config), theirs


@pytest.mark.parametrize("kind", ["scaled_linear", "linear"])
@pytest.mark.parametrize("steps", [1000, 50])
@pytest.mark.parametrize("to_one", [True, False])
@pytest.mark.parametrize("zero", [True, False])
def test_alphas_equal_diffusers(kind, steps, to_one, zero):
    ours, theirs = both(
        beta_schedule=kind,
        num_train_timesteps=steps,
        set_alpha_to_one=to_one,
        rescale_betas_zero_snr=zero,
        prediction_type="v_prediction",
    )
    assert (ours.alphas_cumprod[-1] == 0) == zero
    assert torch.equal(ours.alphas_cumprod, theirs.alphas_cumprod)
    assert ours.final_alpha_cumprod == float(theirs.final_alpha_cumprod)


@pytest.mark.parametrize(
    "scheduler, grid",
    [
        (DDIMScheduler, {}),
        (EulerDiscreteScheduler, {"whole": False}),
        (DPMSolverMultistepScheduler, {"extra": 1}),
    ],
)
@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("steps", [1000, 77])
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_timesteps_equal_diffusers_for_every_length(scheduler, grid, spacing, steps):
    changes = {"timestep_spacing": spacing, "num_train_timesteps": steps}
    ours, theirs = both(**changes)[0], scheduler(**SD, **changes)
    for n in range(1, steps + 1 - grid.get("extra", 0) - (spacing == "leading")):
        theirs.set_timesteps(n)
        timesteps = ours.timesteps(n, **grid)
        # For some n the float steps of "trailing" give diffusers one timestep too many, -1.
        assert timesteps.tolist() == theirs.timesteps[:n].tolist(), n
        assert timesteps.dtype == theirs.timesteps.dtype
        assert len(timesteps.unique()) == n
        assert 0 <= timesteps.min() <= timesteps.max() < steps


@pytest.mark.parametrize("extra", [0, 1])
@pytest.mark.parametrize("spacing, most", [("leading", 999), ("trailing", 1000), ("linspace", 1000)])
def test_more_steps_than_there_are_timesteps_are_refused(spacing, most, extra):
    ours, _ = both(timestep_spacing=spacing)
    for n in (0, most - extra + 1):
        with pytest.raises(UserError, match=rf"`num_inference_steps` is {n}, expected 1\.\.{most - extra}"):
            ours.timesteps(n, extra=extra)


def test_the_schedule_of_another_scheduler_is_read_too():
    pndm = PNDMScheduler(**SD, skip_prk_steps=True, set_alpha_to_one=False)
    ours = NoiseSchedule.from_config(pndm.config)
    assert torch.equal(ours.alphas_cumprod, pndm.alphas_cumprod)
    assert ours.final_alpha_cumprod == float(pndm.final_alpha_cumprod)
    assert (ours.steps_offset, ours.timestep_spacing, ours.prediction_type) == (1, "leading", "epsilon")


def test_noise_and_velocity_equal_diffusers():
    ours, theirs = both(prediction_type="v_prediction")
    z, noise = torch.randn(2, 5, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    timestep = torch.tensor([0, 1, 500, 998, 999])
    torch.testing.assert_close(ours.add_noise(z, noise, timestep), theirs.add_noise(z, noise, timestep))
    torch.testing.assert_close(ours.target(z, noise, timestep), theirs.get_velocity(z, noise, timestep))


def test_the_target_of_epsilon_is_the_noise():
    ours, _ = both()
    z, noise = torch.randn(2, 3, 4, 8, 8)
    assert torch.equal(ours.target(z, noise, torch.tensor([0, 500, 999])), noise)


@pytest.mark.parametrize(
    "changes",
    [
        {"beta_schedule": "squaredcos_cap_v2"},
        {"rescale_betas_zero_snr": True, "prediction_type": "epsilon"},
        {"trained_betas": [0.1] * 1000},
    ],
)
def test_a_schedule_that_is_not_known_is_refused(changes):
    theirs = DDIMScheduler(**(SD | changes))
    with pytest.raises(ValueError, match=next(iter(changes))):
        NoiseSchedule.from_config(theirs.config)


def test_what_the_network_predicts_must_be_known():
    ours, _ = both(prediction_type="sample")
    z = torch.zeros(1, 4, 8, 8)
    with pytest.raises(ValueError, match="prediction_type 'sample'"):
        ours.target(z, z, torch.tensor([5]))
    ours, _ = both()
    with pytest.raises(ValueError, match="timestep_spacing 'cubic'"):
        NoiseSchedule(ours.alphas_cumprod, 1.0, timestep_spacing="cubic").timesteps(10)
