"""Guidance equals its formula in batches of any size, and every row is counted."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from latentpath.diffusion.components import BaseModel
from latentpath.diffusion.conditioning import Conditioning
from latentpath.diffusion.guidance import GuidedDenoiser
from latentpath.diffusion.mix import Mix, guided

EMBEDS = torch.randn(4, 3, 5, generator=torch.Generator().manual_seed(0))
LATENTS = torch.randn(7, 4, 8, 8, generator=torch.Generator().manual_seed(1))
PROMPTS = [0, 1, 2, 1, 0, 2, 2]
NEGATIVE, TIMESTEP = 3, 981


class Network:
    """Answers with a nonlinear mix of what it is given; notes the rows of a call and whether it learns."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.timesteps: list[torch.Tensor] = []
        self.inputs: list[tuple[torch.Tensor, torch.Tensor]] = []
        self.learns = False

    def __call__(self, latents, timestep, encoder_hidden_states, return_dict):
        assert not return_dict
        assert len(latents) == len(encoder_hidden_states)
        self.rows.append(len(latents))
        self.timesteps.append(timestep)
        self.inputs.append((latents, encoder_hidden_states))
        self.learns |= torch.is_grad_enabled()
        return (answer(latents, timestep, encoder_hidden_states),)


def answer(z, timestep, embeds):
    shift = torch.as_tensor(timestep).expand(len(z)) / 1000
    return torch.tanh(z * embeds.sum((1, 2))[:, None, None, None]) + shift[:, None, None, None]


def letters(scale: float) -> list[Mix[int]]:
    """The letter of each prompt: itself with guidance."""
    return [guided(prompt, negative=NEGATIVE, scale=scale) for prompt in range(3)]


def denoiser(network, *, guidance_scale: float = 7.5, batch_size: int = 32, **options) -> GuidedDenoiser:
    table = letters(guidance_scale)
    return GuidedDenoiser(network, Conditioning(EMBEDS), table, batch_size=batch_size, **options)


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
    width = 1 if scale == 1 else 2
    assert (denoise.calls, denoise.rows, told) == (7, 7 * width, [3 * width, 3 * width, width])
    denoise(LATENTS[:2], TIMESTEP, PROMPTS[:2])
    assert (denoise.calls, denoise.rows, sum(told)) == (9, 9 * width, 9 * width)


def test_sampling_does_not_learn():
    network = Network()
    out = denoiser(network)(LATENTS.clone().requires_grad_(), TIMESTEP, PROMPTS)
    assert not network.learns
    assert not out.requires_grad


@pytest.mark.parametrize("batch_size, static", [(32, False), (2, False), (1, False), (2, True), (1, True)])
def test_a_mix_is_the_weighted_sum_of_the_answers_to_its_prompts(batch_size, static):
    """Mixes of one, two, three and four prompts in one call; the U-Net sees each of their terms once."""
    mixes = [
        Mix.of((0, 1)),
        Mix.of((NEGATIVE, -6.5), (1, 7.5)),
        Mix.of((NEGATIVE, -1), (0, -1.5), (1, 3.5)),
        Mix.of((NEGATIVE, 0.5), (0, 2), (1, -1), (2, -0.5)),
    ]
    rows = [2, 0, 1, 3, 1, 0, 2]
    network = Network()
    denoise = GuidedDenoiser(network, Conditioning(EMBEDS), mixes, batch_size=batch_size, static=static)
    out = denoise(LATENTS, TIMESTEP, rows)
    for z, letter, found in zip(LATENTS, rows, out, strict=True):
        terms = [weight * answer(z[None], TIMESTEP, EMBEDS[[k]])[0] for k, weight in mixes[letter].terms]
        torch.testing.assert_close(found, sum(terms), atol=1e-5, rtol=1e-5)
    assert denoise.rows == sum(len(mixes[letter]) for letter in rows) == 16
    assert max(network.rows) <= denoise.rows_per_batch
    assert set(network.rows) == {denoise.rows_per_batch} if static else sum(network.rows) == 16


def test_a_prompt_a_row_is_asked_for():
    with pytest.raises(ValueError):
        denoiser(Network(), batch_size=2)(LATENTS, TIMESTEP, PROMPTS[:2])


@pytest.mark.parametrize(
    "timestep, dtype", [(981, torch.int64), (958.5, torch.float32), (20.0, torch.float32)]
)
def test_the_timestep_is_a_tensor_of_its_rows(timestep, dtype):
    network = Network()
    denoiser(network, batch_size=4)(LATENTS, timestep, PROMPTS)
    assert [(tuple(t.shape), t.dtype) for t in network.timesteps] == [((8,), dtype), ((6,), dtype)]
    assert all((t == timestep).all() for t in network.timesteps)


@pytest.mark.parametrize("scale", [1.0, 7.5])
@pytest.mark.parametrize("batch_size", [1, 2, 3, 7, 8, 20])
def test_static_batches_have_one_shape_and_change_nothing(scale, batch_size):
    network, told = Network(), []
    options = {"guidance_scale": scale, "batch_size": batch_size}
    denoise = denoiser(network, static=True, on_call=told.append, **options)
    out = denoise(LATENTS, TIMESTEP, PROMPTS)
    rows = batch_size * (1 if scale == 1 else 2)
    assert network.rows == [rows] * -(-7 // batch_size)
    assert {(z.shape, e.shape) for z, e in network.inputs} == {((rows, 4, 8, 8), (rows, 3, 5))}
    assert denoise.calls == 7 and denoise.rows == sum(told) == 7 * len(denoise.letters[0])
    torch.testing.assert_close(out, denoiser(Network(), **options)(LATENTS, TIMESTEP, PROMPTS))


def test_the_last_batch_is_its_rows_with_the_last_repeated():
    network = Network()
    denoiser(network, batch_size=4, static=True)(LATENTS, TIMESTEP, PROMPTS)
    latents, embeds = network.inputs[-1]
    assert torch.equal(latents, LATENTS[[4, 5, 6, 4, 5, 6, 6, 6]])
    assert torch.equal(embeds, EMBEDS[[NEGATIVE] * 3 + [0, 2, 2, 2, 2]])


def test_the_network_sees_one_layout_and_the_caller_gets_it_back():
    """A compiled network is compiled again for another; safetensors refuse one that is not contiguous."""

    class ChannelsLast(Network):
        def __call__(self, *args, **options):
            (output,) = super().__call__(*args, **options)
            return (output.to(memory_format=torch.channels_last),)

    network = ChannelsLast()
    out = denoiser(network)(LATENTS.to(memory_format=torch.channels_last), TIMESTEP, PROMPTS)
    assert out.is_contiguous()
    assert network.inputs[0][0].is_contiguous()


@pytest.mark.parametrize("attention", [None, "math", "flash"])
def test_the_network_runs_in_the_attention_kernel_that_is_asked_for(attention):
    seen = []

    class Looks(Network):
        def __call__(self, *args, **options):
            seen.append((torch.backends.cuda.math_sdp_enabled(), torch.backends.cuda.flash_sdp_enabled()))
            return super().__call__(*args, **options)

    denoiser(Looks(), attention=attention)(LATENTS, TIMESTEP, PROMPTS)
    assert seen == [(attention != "flash", attention != "math")]


@pytest.mark.parametrize("static", [False, True])
def test_a_real_unet_answers_the_same_in_any_batches(tiny_sd, static):
    """Bit-equal in batches of one shape (on one thread), whatever shares them; else as near as float32 is."""
    unet: Any = BaseModel(str(tiny_sd)).unet()
    embeds = torch.randn(4, 7, 16, generator=torch.Generator().manual_seed(2))

    def run(batch_size: int, rows: list[int]) -> torch.Tensor:
        denoise = GuidedDenoiser(unet, Conditioning(embeds), letters(7.5), batch_size, static=static)
        return denoise(LATENTS[rows], TIMESTEP, [PROMPTS[row] for row in rows])

    expected = run(4, list(range(7)))
    for batch_size in (1, 3, 7, 16):
        torch.testing.assert_close(run(batch_size, list(range(7))), expected, atol=1e-5, rtol=1e-5)
    if static:
        for rows in ([6], [6, 0, 3], [3, 2, 1, 0, 6]):
            assert torch.equal(run(4, rows), expected[rows])


def test_a_unet_takes_a_timestep_as_a_tensor_as_it_takes_a_number(tiny_sd):
    unet: Any = BaseModel(str(tiny_sd)).unet()
    embeds = torch.randn(4, 7, 16, generator=torch.Generator().manual_seed(2))
    for timestep in (981, 0, 958.5):
        out = GuidedDenoiser(unet, Conditioning(embeds), letters(1.0), 7)(LATENTS, timestep, PROMPTS)
        with torch.no_grad():
            expected = unet(LATENTS, timestep, encoder_hidden_states=embeds[PROMPTS]).sample
        assert torch.equal(out, expected)
