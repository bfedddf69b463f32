"""Tunes the U-Net of a sweep for this machine: finds batch size and attention by trying, then compiles."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

import torch

from latentpath.diffusion.execution import fastest_attention, largest_batch
from latentpath.diffusion.guidance import GuidedDenoiser

log = logging.getLogger(__name__)

MOST_ROWS = 256  # that are tried in one batch: more is no faster on any GPU
TIMESTEP = 500  # of trial calls: any does


def tune(
    denoise: GuidedDenoiser,
    *,
    latent_shape: Sequence[int],
    batch_size: int | str,
    attention: str,
    step_rows: Sequence[int],
    device: torch.device,
) -> None:
    """Set `denoise.attention` and `denoise.batch_size`; "auto" is found by trying the U-Net, uncompiled.

    attention: "default" (PyTorch chooses), "auto" or a kernel's name. `step_rows`: rows of each step of a
    wave.
    """
    latents = torch.randn(1, *latent_shape, device=device)

    def call(rows: int) -> None:
        denoise.batch_size = rows
        denoise(latents.expand(rows, *latent_shape), TIMESTEP, [0] * rows)

    most = min(MOST_ROWS, max(step_rows))
    rows = min(8, most) if batch_size == "auto" else int(batch_size)
    denoise.attention = None if attention in ("default", "auto") else attention
    if attention == "auto":
        denoise.attention = fastest_attention(lambda: call(rows), device=device)
        log.info("fastest attention: %s", denoise.attention)
    if batch_size == "auto":
        rows = largest_batch(call, most=most, device=device, steps=step_rows if denoise.static else None)
    denoise.batch_size, denoise.calls, denoise.rows = rows, 0, 0


def seconds_per_row(denoise: GuidedDenoiser, *, latent_shape: Sequence[int], device: torch.device) -> float:
    """Return the seconds per U-Net row in full batches on `device`: the better of two, after a warm-up."""
    rows = denoise.batch_size
    latents = torch.randn(1, *latent_shape, device=device).expand(rows, *latent_shape)
    times = []
    for _ in range(3):
        began = time.perf_counter()
        denoise(latents, TIMESTEP, [0] * rows)
        if device.type != "cpu":
            torch.accelerator.synchronize(device)
        times.append((time.perf_counter() - began) / (rows * len(denoise.letters[0])))
    denoise.calls = denoise.rows = 0
    return min(times[1:])
