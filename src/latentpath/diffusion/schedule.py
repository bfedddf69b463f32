"""The noise schedule: the share of signal and noise in the latents at each training timestep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentpath.errors import UserError


@dataclass(frozen=True)
class NoiseSchedule:
    """z_t = sqrt(alpha_bar_t) z_0 + sqrt(1 - alpha_bar_t) eps   (Ho et al. 2020, eq. 4).

    alphas_cumprod: (T,) float32 in [0, 1), decreasing; its last value is 0 with zero terminal SNR.
    final_alpha_cumprod: alpha_bar after the last sampler step; Stable Diffusion uses alphas_cumprod[0]
    (`set_alpha_to_one=False`). Raises ValueError for a network that predicts eps at zero terminal SNR: the
    latents are nothing but noise there, so eps says nothing about z_0.
    """

    alphas_cumprod: Tensor
    final_alpha_cumprod: float
    prediction_type: str = "epsilon"
    steps_offset: int = 1
    timestep_spacing: str = "leading"

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> NoiseSchedule:  # Any: a configuration of diffusers
        """Build it from a diffusers scheduler's configuration. Raises ValueError for an unknown schedule."""
        steps, start, end = config["num_train_timesteps"], config["beta_start"], config["beta_end"]
        kind = config["beta_schedule"]
        if config.get("trained_betas"):
            raise ValueError("trained_betas is set, which this schedule does not know")
        if kind == "scaled_linear":  # linear in the square root, as in Stable Diffusion's training
            betas = torch.linspace(start**0.5, end**0.5, steps, dtype=torch.float32) ** 2
        elif kind == "linear":
            betas = torch.linspace(start, end, steps, dtype=torch.float32)
        else:
            raise ValueError(f"beta_schedule {kind!r}: expected scaled_linear or linear")
        prediction_type = config.get("prediction_type", "epsilon")
        if config.get("rescale_betas_zero_snr"):
            if prediction_type == "epsilon":
                raise ValueError(
                    "rescale_betas_zero_snr is set (zero terminal SNR) and prediction_type is epsilon; "
                    "expected v_prediction"
                )
            betas = _zero_terminal_snr(betas)
        alphas_cumprod = torch.cumprod(1 - betas, dim=0)
        to_one = config.get("set_alpha_to_one", True)
        return cls(
            alphas_cumprod=alphas_cumprod,
            final_alpha_cumprod=1.0 if to_one else float(alphas_cumprod[0]),
            prediction_type=prediction_type,
            steps_offset=config.get("steps_offset", 0),
            timestep_spacing=config.get("timestep_spacing", "leading"),
        )

    def timesteps(self, num_inference_steps: int, *, extra: int = 0, whole: bool = True) -> Tensor:
        """Return the training timesteps of the sampler's steps, (N,), decreasing (Lin et al. 2023, table 2).

        They are int64, or float32 if `whole` is false and linspace is not rounded (Euler). With `extra` 1,
        leading and linspace spacing use one more step and omit the last one, timestep 0 (DPM-Solver++).
        Raises UserError if the schedule has too few timesteps; with leading spacing the offset counts too.
        """
        n, total = num_inference_steps, len(self.alphas_cumprod)
        most = total - extra - (self.steps_offset if self.timestep_spacing == "leading" else 0)
        if not 1 <= n <= most:
            raise UserError(f"`num_inference_steps` is {n}, expected 1..{most}.")
        # In numpy, as in diffusers: torch rounds fractions near one half differently.
        if self.timestep_spacing == "leading":
            steps = np.arange(n + extra)[::-1] * (total // (n + extra)) + self.steps_offset
        elif self.timestep_spacing == "trailing":
            steps = np.round(np.arange(total, 0, -total / n))[:n] - 1
        elif self.timestep_spacing == "linspace":
            steps = np.linspace(0, total - 1, n + extra, dtype=None if whole else np.float32)[::-1]
            steps = steps.round() if whole else steps
        else:
            raise ValueError(
                f"timestep_spacing {self.timestep_spacing!r}: expected leading, trailing or linspace"
            )
        return torch.from_numpy(steps[:n].astype(np.int64 if whole else np.float32))

    def add_noise(self, latents: Tensor, noise: Tensor, timestep: Tensor) -> Tensor:
        """Return z_t of `latents` (n, c, h, w) at `timestep` (n,)."""
        alpha = self._alpha(timestep, latents)
        return alpha.sqrt() * latents + (1 - alpha).sqrt() * noise

    def target(self, latents: Tensor, noise: Tensor, timestep: Tensor) -> Tensor:
        """Return the target of the U-Net: eps, or v = sqrt(a) eps - sqrt(1 - a) z_0 with a = alpha_bar.

        Source of v: Salimans & Ho 2022.
        """
        if self.prediction_type == "epsilon":
            return noise
        if self.prediction_type == "v_prediction":
            alpha = self._alpha(timestep, latents)
            return alpha.sqrt() * noise - (1 - alpha).sqrt() * latents
        raise ValueError(f"prediction_type {self.prediction_type!r}: expected epsilon or v_prediction")

    def _alpha(self, timestep: Tensor, like: Tensor) -> Tensor:
        return self.alphas_cumprod.to(like.device)[timestep].to(like.dtype).view(-1, 1, 1, 1)


def _zero_terminal_snr(betas: Tensor) -> Tensor:
    """Change `betas` (T,) so that the last timestep is pure noise (Lin et al. 2023, algorithm 1).

    sqrt(alpha_bar) is shifted to 0 at the last timestep, and scaled to keep its value at the first.
    """
    root = torch.cumprod(1 - betas, dim=0).sqrt()
    alphas_cumprod = ((root - root[-1]) * (root[0] / (root[0] - root[-1]))) ** 2
    return 1 - torch.cat([alphas_cumprod[:1], alphas_cumprod[1:] / alphas_cumprod[:-1]])
