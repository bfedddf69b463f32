"""The objective equals closed forms, and its random numbers depend on seed and position only."""

from __future__ import annotations

import pytest
import torch

from latentpath.diffusion.conditioning import Conditioning
from latentpath.diffusion.objective import diffusion_loss, draw, sample_latents
from latentpath.diffusion.schedule import NoiseSchedule

ALPHAS = torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2, dim=0)
EMBEDS = torch.zeros(64, 3, 5)


def schedule(prediction_type: str = "epsilon") -> NoiseSchedule:
    return NoiseSchedule(ALPHAS, float(ALPHAS[0]), prediction_type=prediction_type)


def loss_of(unet, z0, kind="epsilon", *, embeds=EMBEDS, places=None, seed=0, **options) -> torch.Tensor:
    draws = draw(seed, range(len(z0)) if places is None else places, z0.shape[1:], 1000)
    return diffusion_loss(
        unet, z0, Conditioning(embeds), schedule(kind), noise=draws.noise, timestep=draws.timestep, **options
    )


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

    loss = loss_of(knows, z0, prediction_type)
    assert loss.shape == ()
    assert loss < 1e-6


def test_a_network_that_predicts_zero_has_the_variance_of_the_target_as_loss():
    """E eps^2 = 1; E v^2 = alpha_bar + (1 - alpha_bar) E z_0^2, which is 1 for z_0 of variance 1."""
    for prediction_type in ("epsilon", "v_prediction"):
        loss = loss_of(silent, latents(512), prediction_type)
        assert abs(loss - 1) < 0.02


def silent(z, timestep, encoder_hidden_states, return_dict):
    return (torch.zeros_like(z),)


def test_a_row_is_drawn_by_seed_and_place_alone():
    """So a resumed run draws the same, and processes that share a batch draw what one would have drawn."""
    torch.manual_seed(torch.seed() % 2**31)  # the global state is of no account
    together = draw(0, range(8), (4, 8, 8), 1000)
    for share in (range(0, 8, 2), range(1, 8, 2), [5]):
        mine = draw(0, share, (4, 8, 8), 1000)
        for name in ("posterior", "noise", "timestep"):
            assert torch.equal(getattr(mine, name), getattr(together, name)[list(share)])
    assert not torch.equal(draw(1, [0], (4, 8, 8), 1000).noise, together.noise[:1])
    assert not torch.equal(together.noise, together.posterior)
    assert abs(draw(0, range(400), (4, 8, 8), 1000).noise.std() - 1) < 0.01


def test_offset_noise_moves_a_channel_as_a_whole_and_keeps_the_variance():
    plain, moved = (draw(0, range(2000), (2, 4, 4), 1000, offset=x).noise for x in (0.0, 0.5))
    assert abs(moved.std() - 1) < 0.02
    means = moved.mean((2, 3)).var()  # of the channels: 0.5^2 / 1.25 besides the 1/16 / 1.25 of the rest
    assert abs(means - (0.25 + 1 / 16) / 1.25) < 0.02
    assert abs(plain.mean((2, 3)).var() - 1 / 16) < 0.01


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_min_snr_weighs_by_the_formula(kind):
    z0 = latents(256)
    draws = draw(0, range(256), z0.shape[1:], 1000)
    snr = (ALPHAS / (1 - ALPHAS))[draws.timestep]
    target = schedule(kind).target(z0, draws.noise, draws.timestep)
    weight = snr.clamp(max=5) / (snr if kind == "epsilon" else snr + 1)
    expected = (weight * target.square().mean((1, 2, 3))).mean()
    torch.testing.assert_close(loss_of(silent, z0, kind, min_snr_gamma=5.0), expected)
    if kind == "epsilon":  # above every SNR the weight is 1
        high = loss_of(silent, z0, kind, min_snr_gamma=1e9)
        torch.testing.assert_close(high, loss_of(silent, z0, kind))


def test_timesteps_are_uniform_over_the_whole_schedule():
    seen = []

    def notes(z, timestep, encoder_hidden_states, return_dict):
        seen.append(timestep)
        return (z,)

    loss_of(notes, torch.zeros(20_000, 1, 1, 1))
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

    loss_of(checks, torch.full((64, 4, 8, 8), 10.0), embeds=embeds)


def test_the_gradient_reaches_the_network():
    weight = torch.zeros((), requires_grad=True)
    loss_of(lambda z, *a, **k: (weight * z,), latents()).backward()
    assert weight.grad is not None
    assert weight.grad < 0  # more of z_t is more of the noise


def test_moments_give_their_mean_and_variance():
    mean, log_variance = torch.tensor([-2.0, 0.5]), torch.tensor([0.3, -1.2])
    moments = torch.cat([mean, log_variance]).view(1, 4, 1, 1).expand(20_000, 4, 2, 2)
    z = sample_latents(moments, 0.5, torch.randn(20_000, 2, 2, 2, generator=generator()))
    assert z.shape == (20_000, 2, 2, 2)
    torch.testing.assert_close(z.mean((0, 2, 3)), 0.5 * mean, atol=0.01, rtol=0)
    torch.testing.assert_close(z.var((0, 2, 3)), 0.25 * log_variance.exp(), atol=0.01, rtol=0)


def test_a_certain_posterior_is_its_mean_and_an_absurd_one_is_finite():
    mean = torch.randn(3, 2, 4, 4)
    certain = torch.cat([mean, torch.full_like(mean, -1000)], dim=1)
    torch.testing.assert_close(sample_latents(certain, 0.18215, torch.randn_like(mean)), 0.18215 * mean)
    absurd = torch.cat([mean, torch.full_like(mean, 1000)], dim=1)
    assert sample_latents(absurd, 0.18215, torch.randn_like(mean)).isfinite().all()
