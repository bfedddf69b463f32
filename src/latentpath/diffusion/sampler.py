"""The sampler: a model, a solver, a source of noise and a device, as one object that goes step by step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from latentpath.diffusion.mix import Direction, StepDirection
from latentpath.diffusion.noise import Noise
from latentpath.diffusion.solvers import Solver, State

# (latents (rows, c, h, w), timestep, the index of each row's letter, the memory of gated letters if there is
# one; `origins`, the row of each row's neutral image, if letters borrow; `shifts`, the directions of h-space
# at this step, if letters shift) -> model output (rows, c, h, w)
Denoise = Callable[..., Tensor]


@dataclass(frozen=True)
class Sampler:
    """Runs the reverse diffusion of many rows at once, all at the same step.

        z_N ~ noise,   z' = solver step of z with denoise(z, t, letter) + noise of the step

    A row is determined by its seed and by the letter of each step, a mix of prompts. Letters are indices into
    the table of letters of `denoise`.

    device: holds the state.
    remembers: the last part of a state is the memory of gated letters, zero at the start.
    borrows: the first row of each seed is its neutral image, whose attention maps other rows may use.
    directions: the directions of h-space that are known, each with one entry per step.
    """

    denoise: Denoise
    solver: Solver
    noise: Noise
    device: torch.device | str = "cpu"
    remembers: bool = False
    borrows: bool = False
    directions: dict[Direction, list[StepDirection]] = field(default_factory=dict, compare=False)

    def start(self, seeds: Sequence[int]) -> State:
        """Return the state before step 0, with one row per seed."""
        state = self.solver.start(self.noise.initial(seeds).to(self.device))
        return (*state, torch.zeros_like(state[0])) if self.remembers else state

    def step(self, state: State, step_index: int, *, seeds: Sequence[int], letters: Sequence[int]) -> State:
        """Return the state after step `step_index`; row k has seed seeds[k] and uses letter letters[k]."""
        kept = (state[-1].clone(),) if self.remembers else ()
        beside: dict[str, Any] = {}  # Any: arguments of the denoiser
        if self.borrows:
            beside["origins"] = [seeds.index(seed) for seed in seeds]
        if self.directions:
            beside["shifts"] = {along: at[step_index] for along, at in self.directions.items()}
        output = self.denoise(state[0], self.solver.timesteps[step_index], letters, *kept, **beside)
        (latents, *memory), sigma = self.solver.step(state, output, step_index)
        unique = list(dict.fromkeys(seeds))
        noise = self.noise.step_noise(unique, step_index, sigma)  # once per seed: its branches share it
        if noise is not None:
            latents = latents + noise.to(latents)[[unique.index(seed) for seed in seeds]]
        return (latents, *memory, *kept)
