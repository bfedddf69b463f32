"""Solver steps of the reverse diffusion: pure functions on batches of independent rows, with copyable state.

All solvers work on the variance-preserving latents z = sqrt(a) z_0 + sqrt(1 - a) eps, a = alpha_bar, which
the U-Net sees. In this form Euler is DDIM without noise, and Euler ancestral is DDIM with eta = 1, each on
another grid of noise levels. So two formulas make four solvers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from latentpath.config.choices import SOLVERS
from latentpath.diffusion.schedule import NoiseSchedule
from latentpath.errors import UserError

LEAST_ALPHA = 2**-24  # stands for alpha_bar = 0 where a solver divides by it, as in diffusers

State = tuple[Tensor, ...]  # (rows, ...) each: the latents, then the memory of a multistep solver


@dataclass(frozen=True)
class Solver:
    """A solver with N steps on a grid of noise levels.

    timesteps: (N,), the timesteps for the U-Net. levels: (N,) pairs of alpha_bar before and after each step.
    eta: in [0, 1], the share of new noise. multistep: use DPM-Solver++ 2M instead of DDIM. init_noise_sigma:
    the standard deviation of the initial latents.
    """

    timesteps: tuple[float, ...]
    levels: tuple[tuple[float, float], ...]
    prediction_type: str = "epsilon"
    eta: float = 0.0
    multistep: bool = False
    init_noise_sigma: float = 1.0

    def start(self, noise: Tensor) -> State:
        """Return the state before step 0 from standard normal noise (rows, c, h, w)."""
        latents = self.init_noise_sigma * noise
        return (latents, torch.zeros_like(latents)) if self.multistep else (latents,)

    def step(self, state: State, model_output: Tensor, step_index: int) -> tuple[State, float]:
        """Return the state after `step_index` and the standard deviation of the noise to add to its latents.

        The standard deviation is 0 for a deterministic step.
        """
        z, (alpha, after) = state[0], self.levels[step_index]
        clean, epsilon = predictions(z, model_output, alpha, self.prediction_type)
        if not self.multistep:
            mean, sigma = ddim_step(clean, epsilon, alpha=alpha, alpha_after=after, eta=self.eta)
            return (mean,), sigma
        first_or_last = step_index in (
            0,
            len(self.timesteps) - 1,
        )  # no memory yet at the first step, no noise left at the last
        before = None if first_or_last else self.levels[step_index - 1][0]
        z = dpmpp_2m_step(z, clean, state[1], alpha=alpha, alpha_after=after, alpha_before=before)
        return (z, clean), 0.0

    def asymmetry(self, step_index: int) -> float:
        """Return the factor of a change d of eps after which a plain step is the asymmetric one.

        A step of DDIM is z' = ... + (P + D) eps, where P belongs to the predicted z_0 and D to the direction
        that points to z'. In the asymmetric step only z_0 is predicted from eps + d (Kwon et al. 2023,
        2210.10960): that adds P d to z', as P / (P + D) d does in a plain step.

            P = -sqrt(a' (1 - a) / a),   D = sqrt(1 - a' - s^2),   P / (P + D) = 1 / (1 - abs(D / P))

        It is the same for v. P and D nearly cancel in a small step, so the factor is 1 in the last step and
        grows with N. Raises ValueError for a multistep solver.
        """
        if self.multistep:
            raise ValueError("the asymmetric step is one of DDIM and Euler, not of a multistep solver")
        alpha, after = self.levels[step_index]
        sigma = _ddim_sigma(alpha, after, self.eta)
        kept = max(0.0, 1 - after - sigma**2)
        return 1 / (1 - math.sqrt(kept * alpha / (after * (1 - alpha))))


def predictions(
    latents: Tensor, model_output: Tensor, alpha: float, prediction_type: str
) -> tuple[Tensor, Tensor]:
    """Return the predictions (z_0, eps) for `latents` (rows, c, h, w) at alpha_bar = `alpha` in [0, 1).

        epsilon:       z_0 = (z - sqrt(1 - a) eps) / sqrt(a)
        v_prediction:  z_0 = sqrt(a) z - sqrt(1 - a) v,  eps = sqrt(a) v + sqrt(1 - a) z

    (Salimans & Ho 2022); eps needs `alpha` above 0. z_0 is not clipped, because latents have no fixed range.
    """
    a, b = math.sqrt(alpha), math.sqrt(1 - alpha)
    if prediction_type == "epsilon":
        return (latents - b * model_output) / a, model_output
    if prediction_type == "v_prediction":
        return a * latents - b * model_output, a * model_output + b * latents
    raise ValueError(f"prediction_type {prediction_type!r}: expected epsilon or v_prediction")


def ddim_step(
    clean: Tensor, epsilon: Tensor, *, alpha: float, alpha_after: float, eta: float = 0.0
) -> tuple[Tensor, float]:
    """Return mean and standard deviation after a DDIM step (Song et al. 2021, eq. 12, 16; a' is a after it):

    z' = sqrt(a') z_0 + sqrt(1 - a' - s^2) eps + s noise
    s  = eta sqrt((1 - a') / (1 - a) (1 - a / a'))
    """
    sigma = _ddim_sigma(alpha, alpha_after, eta)
    kept = max(0.0, 1 - alpha_after - sigma**2)  # rounding could make it negative
    return math.sqrt(alpha_after) * clean + math.sqrt(kept) * epsilon, sigma


def _ddim_sigma(alpha: float, alpha_after: float, eta: float) -> float:
    return eta * math.sqrt((1 - alpha_after) / (1 - alpha) * (1 - alpha / alpha_after))


def dpmpp_2m_step(
    latents: Tensor,
    clean: Tensor,
    clean_before: Tensor,
    *,
    alpha: float,
    alpha_after: float,
    alpha_before: float | None,
) -> Tensor:
    """Return the latents after one step of DPM-Solver++ 2M, midpoint (Lu et al. 2022b, algorithm 2):

        z' = sqrt((1 - a') / (1 - a)) z + sqrt(a') (1 - exp(-h)) [ D + h / (2 h_before) (D - D_before) ]

    D is the predicted z_0 at this step, D_before at the previous one; h and h_before are the steps in
    lambda = log(sqrt(a) / sqrt(1 - a)). If `alpha_before` is None, the step is first order, which is DDIM.
    """
    h = _half_log_snr(alpha_after) - _half_log_snr(alpha)
    direction = clean
    if alpha_before is not None:
        h_before = _half_log_snr(alpha) - _half_log_snr(alpha_before)
        direction = clean + h / (2 * h_before) * (clean - clean_before)
    shrink = math.sqrt((1 - alpha_after) / (1 - alpha))
    return shrink * latents - math.sqrt(alpha_after) * math.expm1(-h) * direction


def _half_log_snr(alpha: float) -> float:
    return math.inf if alpha == 1 else 0.5 * math.log(alpha / (1 - alpha))


def build_solver(name: str, schedule: NoiseSchedule, num_inference_steps: int, *, eta: float = 0.0) -> Solver:
    """Build the solver `name` of SOLVERS on the same grid as diffusers' scheduler of that name.

    Raises UserError if the schedule has too few timesteps, and for an `eta` above 0 with another solver than
    ddim.
    """
    if name not in SOLVERS:
        raise ValueError(f"unknown solver {name!r}; one of {', '.join(SOLVERS)}")
    if eta and name != "ddim":
        raise UserError(f"`eta` is {eta}, but `solver` is {name}: only ddim has it.")
    if name == "ddim":
        return _ddim(schedule, num_inference_steps, eta)
    multistep = name == "dpmpp_2m"
    timesteps = schedule.timesteps(num_inference_steps, extra=int(multistep), whole=multistep)
    # As in diffusers: the interpolated noise-to-signal ratio is 0 after the last step.
    table = schedule.alphas_cumprod.numpy()
    table = np.where(table == 0, np.float32(LEAST_ALPHA), table)
    ratios = np.sqrt((1 - table) / table)
    sigmas = np.append(np.interp(timesteps, np.arange(len(ratios)), ratios), 0.0).astype(np.float32)
    alphas = (1 / (1 + sigmas.astype(np.float64) ** 2)).tolist()
    unit = multistep or schedule.timestep_spacing == "leading"
    return Solver(
        timesteps=tuple(timesteps.tolist()),
        levels=tuple(pairwise(alphas)),
        prediction_type=schedule.prediction_type,
        eta=1.0 if name == "euler_ancestral" else 0.0,
        multistep=multistep,
        init_noise_sigma=1.0 if unit else math.sqrt(1 - alphas[0]),
    )


def _ddim(schedule: NoiseSchedule, n: int, eta: float) -> Solver:
    table, timesteps = schedule.alphas_cumprod.tolist(), schedule.timesteps(n).tolist()
    # As in diffusers: T/N timesteps further, which for trailing and linspace is not always the next timestep.
    stride = len(table) // n
    after = [table[t - stride] if t >= stride else schedule.final_alpha_cumprod for t in timesteps]
    return Solver(
        timesteps=tuple(timesteps),
        levels=tuple(zip((table[t] for t in timesteps), after, strict=True)),
        prediction_type=schedule.prediction_type,
        eta=eta,
    )
