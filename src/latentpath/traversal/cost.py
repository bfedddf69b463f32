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
class Cost:
    """The cost of a sweep.

    calls: rows that the U-Net evaluates (two forward passes each with guidance). seconds: None if not timed.
    """

    images: int
    calls: int
    plain_calls: int  # calls if each image took one full run
    flop: float | None
    seconds: float | None
    disk_bytes: int

    def lines(self) -> list[str]:
        """Describe the cost in lines for the terminal."""
        return [
            f"images        {self.images:,}",
            f"U-Net calls   {self.calls:,} (one full run per image: {self.plain_calls:,}, "
            f"{self.plain_calls / self.calls:.2f} x)",
            f"FLOP          {'n/a' if self.flop is None else _si(self.flop)}",
            f"time          {'n/a' if self.seconds is None else _duration(self.seconds)}",
            f"disk          {_si(self.disk_bytes)}B",
        ]


def cost_of(
    plan: SweepPlan,
    *,
    latent_shape: tuple[int, ...],
    calls_besides: int = 0,
    flop_per_call: float | None = None,
    seconds_per_call: float | None = None,
) -> Cost:
    """Return the cost of `plan` for one process.

    calls_besides: U-Net calls outside the walk, for inverting real images or for the search of flip points.
    """
    calls = plan.unet_calls + calls_besides
    return Cost(
        images=plan.images,
        calls=calls,
        plain_calls=plan.samples * plan.plain_calls_per_seed + calls_besides,
        flop=None if flop_per_call is None else calls * flop_per_call,
        seconds=None if seconds_per_call is None else calls * seconds_per_call,
        disk_bytes=plan.images
        * (4 * prod(latent_shape) + 200),  # float32, plus a line in the header and in the index
    )


def inversion_calls(plan: SweepPlan, inversion: InversionConfig) -> int:
    """Return the U-Net calls for inverting one real image per seed and class, before the walk."""
    rounds = {None: 0, "ddpm": 1, "ddim": inversion.iterations}[inversion.method]
    return plan.samples * plan.num_inference_steps * rounds


def search_calls(plan: SweepPlan, swap_steps: Sequence[int], *, checks: int) -> int:
    """Estimate the U-Net calls of the search for flip points, in addition to the walk of `plan`.

    The estimate assumes that all `swap_steps` are equally likely flip points.
    """
    if len(swap_steps) == 1:
        return 0
    attributes = len({branch.attribute for branch in plan.branches if branch.method == "swap"})
    probes = math.ceil(math.log2(len(swap_steps))) + checks
    return round(plan.samples * attributes * probes * mean(plan.num_inference_steps - s for s in swap_steps))


def _si(value: float) -> str:
    for factor, sign in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:.1f} {sign}"
    return f"{value:.0f} "


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"about {seconds:.0f} s"
    return f"about {seconds / 60:.0f} min" if seconds < 7200 else f"about {seconds / 3600:.1f} h"
