"""The objective against closed forms, and its randomness a function of one generator."""

from __future__ import annotations

import pytest
import torch

from latentpath.diffusion.objective import diffusion_loss, sample_latents
from latentpath.diffusion.schedule import NoiseSchedule

ALPHAS = torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2, dim=0)
EMBEDS = torch.zeros(64, 3, 5)


def schedule(prediction_type: str = "epsilon") -> NoiseSchedule:
    return NoiseSchedule(ALPHAS, float(ALPHAS[0]), prediction_type=prediction_type)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def latents(n: int = 64) -> torch.Tensor:
    return torch.randn(n, 4, 8, 8, generator=generator(99))


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_a_network_that_knows_the_image_has_no_loss(prediction_type):
    z0 = latents()

    def knows(z, timestep, encoder_hidden_states, return_dict):
        alpha = ALPHAS[timestep][:, None, None, None]
        epsilon = (z - alpha.sqrt() * z0) / (1 - alpha).sqrt()
        if prediction_type == "epsilon":
            return (epsilon,)
        return (alpha.sqrt() * epsilon - (1 - alpha).sqrt() * z0,)

    loss = diffusion_loss(knows, z0, EMBEDS, schedule(prediction_type), generator())
    assert loss.shape == ()
    assert loss < 1e-6


def test_a_network_that_says_nothing_has_the_variance_of_the_target():
    """E eps^2 = 1; E v^2 = alpha_bar + (1 - alpha_bar) E z_0^2, which is 1 for z_0 of variance 1."""
    for prediction_type in ("epsilon", "v_prediction"):
        loss = diffusion_loss(silent, latents(512), EMBEDS, schedule(prediction_type), generator())
        assert abs(loss - 1) < 0.02


def silent(z, timestep, encoder_hidden_states, return_dict):
    return (torch.zeros_like(z),)


def test_all_randomness_comes_from_the_generator():
    def loss(seed: int) -> torch.Tensor:
        torch.manual_seed(torch.seed() % 2**31)  # the global state is of no account
        return diffusion_loss(lambda z, *a, **k: (z.sin(),), latents(), EMBEDS, schedule(), generator(seed))

    assert torch.equal(loss(1), loss(1))
    assert not torch.equal(loss(1), loss(2))


def test_timesteps_are_uniform_over_the_whole_schedule():
    seen = []

    def notes(z, timestep, encoder_hidden_states, return_dict):
        seen.append(timestep)
        return (z,)

    diffusion_loss(notes, torch.zeros(20_000, 1, 1, 1), EMBEDS, schedule(), generator())
    counts = torch.bincount(seen[0], minlength=1000)
    assert len(counts) == 1000
    assert (counts.view(10, 100).sum(1) / 2000 - 1).abs().max() < 0.1
    assert (counts == 0).sum() == 0  # expected: 1000 e^-20


def test_the_network_is_given_noise_prompt_and_timestep():
    embeds = torch.randn(64, 3, 5)

    def checks(z, timestep, encoder_hidden_states, return_dict):
        assert encoder_hidden_states is embeds
        assert (z.shape, timestep.shape, return_dict) == ((64, 4, 8, 8), (64,), False)
        # At the end next to nothing is left of a constant image, at the start next to all.
        late, early = z[timestep > 900], z[timestep < 100]
        assert late.mean().abs() < 2
        assert (early.mean() / 10 - 1).abs() < 0.05
        return (z,)

    diffusion_loss(checks, torch.full((64, 4, 8, 8), 10.0), embeds, schedule(), generator())


def test_the_gradient_reaches_the_network():
    weight = torch.zeros((), requires_grad=True)
    diffusion_loss(lambda z, *a, **k: (weight * z,), latents(), EMBEDS, schedule(), generator()).backward()
    assert weight.grad is not None
    assert weight.grad < 0  # more of z_t is more of the noise


def test_moments_give_their_mean_and_variance():
    mean, log_variance = torch.tensor([-2.0, 0.5]), torch.tensor([0.3, -1.2])
    moments = torch.cat([mean, log_variance]).view(1, 4, 1, 1).expand(20_000, 4, 2, 2)
    z = sample_latents(moments, 0.5, generator())
    assert z.shape == (20_000, 2, 2, 2)
    torch.testing.assert_close(z.mean((0, 2, 3)), 0.5 * mean, atol=0.01, rtol=0)
    torch.testing.assert_close(z.var((0, 2, 3)), 0.25 * log_variance.exp(), atol=0.01, rtol=0)


def test_a_certain_posterior_is_its_mean_and_an_absurd_one_is_finite():
    mean = torch.randn(3, 2, 4, 4)
    certain = torch.cat([mean, torch.full_like(mean, -1000)], dim=1)
    torch.testing.assert_close(sample_latents(certain, 0.18215, generator()), 0.18215 * mean)
    absurd = torch.cat([mean, torch.full_like(mean, 1000)], dim=1)
    assert sample_latents(absurd, 0.18215, generator()).isfinite().all()
