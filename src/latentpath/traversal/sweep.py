"""A sweep from plan to shards: waves of seeds, those that are done left out, shared out among processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import torch
from torch import Tensor

from latentpath.diffusion.sampler import Sampler
from latentpath.errors import UserError
from latentpath.traversal.engine import Leaf, walk
from latentpath.traversal.plan import SweepPlan
from latentpath.traversal.store import build_index, finished_seeds, write_shard


@dataclass(frozen=True)
class Wave:
    """Seeds of one class that are walked together and make a shard: what a kill can lose."""

    cls: str
    seeds: tuple[int, ...]

    @property
    def name(self) -> str:
        cls = quote(self.cls, safe="").replace(".", "%2E")  # a file whose name begins with a dot is hidden
        return f"{cls}-{self.seeds[0]:06d}-{self.seeds[-1]:06d}"


def waves(plan: SweepPlan, shard_seeds: int) -> list[Wave]:
    """All waves of a plan; the same for every process, whatever is done already."""
    starts = range(0, len(plan.seeds), shard_seeds)
    return [Wave(cls, plan.seeds[s : s + shard_seeds]) for cls in plan.classes for s in starts]


@dataclass(frozen=True)
class Sampled:
    """What a wave came to: its images, and the flip points where they were searched for (rows of a table)."""

    leaves: list[Leaf]
    latents: Tensor
    flips: Sequence[dict[str, Any]] = ()


Sample = Callable[[Wave], Sampled]


def from_noise(plan: SweepPlan, sampler: Sampler) -> Sample:
    """How a wave is sampled when its images begin with the noise of `sampler`."""
    return lambda wave: Sampled(*walk(plan, sampler, cls=wave.cls, seeds=wave.seeds))


def sweep(
    plan: SweepPlan,
    *,
    sample: Sample,
    folder: Path,
    shard_seeds: int,
    process: int = 0,
    processes: int = 1,
    on_skipped: Callable[[int], object] = lambda seeds: None,
) -> None:
    """Write every shard of this process that `folder` lacks, and the index once none is lacking.

    Process k of n takes every n-th wave, beginning with its k-th, without talking to the others: joining
    shards is listing them. `on_skipped` is told of seeds that were done before.
    """
    done = finished_seeds(folder)
    for wave in waves(plan, shard_seeds)[process::processes]:
        missing = tuple(seed for seed in wave.seeds if (wave.cls, seed) not in done)
        on_skipped(len(wave.seeds) - len(missing))
        if missing:
            _write_wave(plan, Wave(wave.cls, missing), sample, folder)
    if not unfinished(plan, folder):
        build_index(folder)


def unfinished(plan: SweepPlan, folder: Path) -> int:
    """Seeds of the plan, of all classes, that no shard holds yet."""
    done = finished_seeds(folder)
    return sum((cls, seed) not in done for cls in plan.classes for seed in plan.seeds)


def _write_wave(plan: SweepPlan, wave: Wave, sample: Sample, folder: Path) -> None:
    sampled = sample(wave)
    if not torch.isfinite(sampled.latents).all():
        raise UserError(
            f"shard {wave.name}: latents are not finite. Try precision 32-true or a smaller finetune.lr"
        )
    rows = [_row(plan, leaf) for leaf in sampled.leaves]
    write_shard(folder, wave.name, rows, sampled.latents, flips=sampled.flips)


def _row(plan: SweepPlan, leaf: Leaf) -> dict[str, Any]:
    branch = leaf.branch
    named = plan.source if branch.method == "present" else plan.target
    return {
        "class": leaf.cls,
        "seed": leaf.seed,
        "method": branch.method,
        "attribute": branch.attribute,
        "swap_step": branch.swap_step,
        "until": branch.until,
        "strength": branch.strength,
        "prompt": named(leaf.cls, branch).text,
    }
