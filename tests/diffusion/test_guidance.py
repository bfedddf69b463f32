"""Guidance is its formula, in whatever batches, and every row is counted."""

from __future__ import annotations

import pytest
import torch

from latentpath.diffusion.guidance import GuidedDenoiser

EMBEDS = torch.randn(4, 3, 5, generator=torch.Generator().manual_seed(0))
LATENTS = torch.randn(7, 4, 8, 8, generator=torch.Generator().manual_seed(1))
PROMPTS = [0, 1, 2, 1, 0, 2, 2]
NEGATIVE, TIMESTEP = 3, 981


class Network:
    """Answers with a nonlinear mix of what it is given; notes the rows of a call and whether it learns."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.learns = False

    def __call__(self, latents, timestep, encoder_hidden_states, return_dict):
        assert not return_dict
        assert len(latents) == len(encoder_hidden_states)
        self.rows.append(len(latents))
        self.learns |= torch.is_grad_enabled()
        return (answer(latents, timestep, encoder_hidden_states),)


def answer(z, timestep, embeds):
    return torch.tanh(z * embeds.sum((1, 2))[:, None, None, None]) + timestep / 1000


def denoiser(network, *, guidance_scale: float = 7.5, batch_size: int = 32, **options) -> GuidedDenoiser:
    return GuidedDenoiser(
        network, EMBEDS, NEGATIVE, guidance_scale=guidance_scale, batch_size=batch_size, **options
    )


@pytest.mark.parametrize("scale", [0.0, 0.5, 3.0, 7.5])
def test_the_formula(scale):
    unconditional = answer(LATENTS, TIMESTEP, EMBEDS[[NEGATIVE] * 7])
    conditional = answer(LATENTS, TIMESTEP, EMBEDS[PROMPTS])
    expected = unconditional + scale * (conditional - unconditional)
    out = denoiser(Network(), guidance_scale=scale)(LATENTS, TIMESTEP, PROMPTS)
    torch.testing.assert_close(out, expected)


def test_guidance_runs_the_network_on_two_rows_and_scale_one_on_one():
    guided, plain = Network(), Network()
    denoiser(guided)(LATENTS, TIMESTEP, PROMPTS)
    out = denoiser(plain, guidance_scale=1.0)(LATENTS, TIMESTEP, PROMPTS)
    assert (guided.rows, plain.rows) == ([14], [7])
    torch.testing.assert_close(out, answer(LATENTS, TIMESTEP, EMBEDS[PROMPTS]))


@pytest.mark.parametrize("batch_size, rows", [(1, [2] * 7), (3, [6, 6, 2]), (7, [14]), (8, [14])])
def test_batches_are_bounded_and_change_nothing(batch_size, rows):
    network = Network()
    out = denoiser(network, batch_size=batch_size)(LATENTS, TIMESTEP, PROMPTS)
    assert network.rows == rows
    torch.testing.assert_close(out, denoiser(Network())(LATENTS, TIMESTEP, PROMPTS))


@pytest.mark.parametrize("scale", [1.0, 7.5])
def test_every_row_is_counted_once_and_told(scale):
    told: list[int] = []
    denoise = denoiser(Network(), guidance_scale=scale, batch_size=3, on_call=told.append)
    denoise(LATENTS, TIMESTEP, PROMPTS)
    assert (denoise.calls, told) == (7, [3, 3, 1])
    denoise(LATENTS[:2], TIMESTEP, PROMPTS[:2])
    assert (denoise.calls, sum(told)) == (9, 9)


def test_sampling_does_not_learn():
    network = Network()
    out = denoiser(network)(LATENTS.clone().requires_grad_(), TIMESTEP, PROMPTS)
    assert not network.learns
    assert not out.requires_grad


def test_a_prompt_a_row_is_asked_for():
    with pytest.raises(ValueError):
        denoiser(Network(), batch_size=2)(LATENTS, TIMESTEP, PROMPTS[:2])
