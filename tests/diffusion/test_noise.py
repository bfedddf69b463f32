"""Noise is a function of (seed, step); the first noise equals that of a diffusers pipeline."""

from __future__ import annotations

import torch
from diffusers.utils.torch_utils import randn_tensor

from latentpath.diffusion.noise import SeededNoise, initial_noise, step_noise

SHAPE, SEEDS = (4, 8, 8), [3, 11]


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


def test_step_noise_is_standard_normal_and_unlike_that_of_the_neighbours():
    steps = torch.stack([step_noise(range(100), step, SHAPE) for step in range(3)])  # (steps, seeds, ...)
    assert abs(steps.mean()) < 0.02
    assert abs(steps.std() - 1) < 0.02
    correlations = torch.corrcoef(steps.flatten(2).flatten(0, 1)).fill_diagonal_(0)
    assert correlations.abs().max() < 0.35  # of 45,000 pairs of 256 numbers each: 5.6 sigma


def test_the_draws_of_torchs_global_generator_are_not_touched():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    initial_noise(SEEDS, SHAPE), step_noise(SEEDS, 0, SHAPE)
    assert torch.equal(torch.rand(1), expected)


def test_seeded_noise_has_the_standard_deviation_asked_for():
    noise = SeededNoise(SHAPE)
    assert torch.equal(noise.initial(SEEDS), initial_noise(SEEDS, SHAPE))
    torch.testing.assert_close(noise.step_noise(SEEDS, 5, 0.25), 0.25 * step_noise(SEEDS, 5, SHAPE))
    assert noise.step_noise(SEEDS, 5, 0.0) is None
