"""Computes the cost of a sweep in advance: U-Net calls, FLOP, time and disk space."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from statistics import mean

from latentpath.config.schema import InversionConfig
from latentpath.traversal.plan import SweepPlan


@dataclass(frozen=True)
class Work:
    """Work besides the walk of a plan.

    calls: latents that the U-Net denoises. rows: its rows for them. images: images that are stored.
    """

    calls: int = 0
    rows: int = 0
    images: int = 0

    def __add__(self, other: Work) -> Work:
        return Work(self.calls + other.calls, self.rows + other.rows, self.images + other.images)

    def times(self, count: int) -> Work:
        """Return this work done `count` times."""
        return Work(count * self.calls, count * self.rows, count * self.images)


@dataclass(frozen=True)
class Cost:
    """The cost of a sweep.

    calls: latents that are denoised. rows: rows that the U-Net evaluates for them, two each with guidance.
    seconds: None if not timed.
    """

    images: int
    calls: int
    plain_calls: int  # calls if each image took one full run
    rows: int
    flop: float | None
    seconds: float | None
    disk_bytes: int

    def lines(self) -> list[str]:
        """Describe the cost in lines for the terminal."""
        return [
            f"images        {self.images:,}",
            f"U-Net calls   {self.calls:,} (one full run per image: {self.plain_calls:,}, "
            f"{self.plain_calls / self.calls:.2f} x)",
            f"U-Net rows    {self.rows:,}",
            f"FLOP          {'n/a' if self.flop is None else _si(self.flop)}",
            f"time          {'n/a: no step was timed' if self.seconds is None else _duration(self.seconds)}",
            f"disk          {_si(self.disk_bytes)}B",
        ]


def cost_of(
    plan: SweepPlan,
    *,
    latent_shape: tuple[int, ...],
    besides: Work = Work(),
    flop_per_row: float | None = None,
    seconds_per_row: float | None = None,
) -> Cost:
    """Return the cost of `plan` for one process.

    besides: work outside the walk of the plan: inverting real images, or searching for flip points.
    flop_per_row, seconds_per_row: of a row of the U-Net; without them `flop` and `seconds` are None.
    """
    calls, rows = plan.unet_calls + besides.calls, plan.unet_rows + besides.rows
    images = plan.images + besides.images
    return Cost(
        images=images,
        calls=calls,
        plain_calls=plan.samples * plan.plain_calls_per_seed + besides.calls,
        rows=rows,
        flop=None if flop_per_row is None else rows * flop_per_row,
        seconds=None if seconds_per_row is None else rows * seconds_per_row,
        disk_bytes=images
        * (4 * prod(latent_shape) + 200),  # float32, plus a line in the header and in the index
    )


def inversion_work(plan: SweepPlan, inversion: InversionConfig) -> Work:
    """Return the work of inverting one real image per seed and class, before the walk."""
    rounds = {None: 0, "ddpm": 1, "ddim": inversion.iterations}[inversion.method]
    scale = plan.guidance_scale if inversion.method == "ddpm" else inversion.guidance_scale
    calls = plan.samples * plan.num_inference_steps * rounds
    return Work(calls, calls if scale == 1 else 2 * calls)


def composition_work(plan: SweepPlan, inversion: InversionConfig) -> Work:
    """Return the work of inverting the images and sampling them without an edit, `inversion.rounds` times.

    A single round is part of the sweep. The images are those of each round, and the real ones.
    """
    if inversion.method is None or inversion.rounds == 1:
        return Work()
    neutral = plan.plain([])
    once = inversion_work(neutral, inversion) + Work(neutral.unet_calls, neutral.unet_rows, neutral.images)
    return once.times(inversion.rounds) + Work(images=neutral.images)


def search_work(plan: SweepPlan, swap_steps: Sequence[int], *, checks: int) -> Work:
    """Estimate the work of the search for flip points, in addition to the walk of `plan`.

    The estimate assumes that all `swap_steps` are equally likely flip points.
    """
    if len(swap_steps) == 1:
        return Work()
    attributes = len({branch.attribute for branch in plan.branches if branch.method == "swap"})
    probes = math.ceil(math.log2(len(swap_steps))) + checks
    steps = mean(plan.num_inference_steps - s for s in swap_steps)
    calls = round(plan.samples * attributes * probes * steps)
    return Work(calls, calls * len(plan.letters[0]))


def _si(value: float) -> str:
    for factor, sign in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:.1f} {sign}"
    return f"{value:.0f} "


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"about {seconds:.0f} s"
    return f"about {seconds / 60:.0f} min" if seconds < 7200 else f"about {seconds / 3600:.1f} h"
