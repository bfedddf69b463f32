"""Runs a sweep: splits the plan into waves of seeds, which any number of processes share out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import torch
from torch import Tensor

from latentpath.diffusion.sampler import Sampler
from latentpath.errors import UserError
from latentpath.runs.claims import share_out
from latentpath.traversal.engine import Leaf, walk
from latentpath.traversal.plan import SweepPlan
from latentpath.traversal.store import build_index, finished_seeds, shard_file, write_shard


@dataclass(frozen=True)
class Wave:
    """Seeds of one class that are sampled together and make one shard, the unit that can be lost."""

    cls: str
    seeds: tuple[int, ...]

    @property
    def name(self) -> str:
        cls = quote(self.cls, safe="").replace(
            ".", "%2E"
        )  # a file name that starts with a dot would be hidden
        return f"{cls}-{self.seeds[0]:06d}-{self.seeds[-1]:06d}"


def waves(plan: SweepPlan, shard_seeds: int) -> list[Wave]:
    """Return all waves of a plan, the same for every process, regardless of what is finished."""
    starts = range(0, len(plan.seeds), shard_seeds)
    return [Wave(cls, plan.seeds[s : s + shard_seeds]) for cls in plan.classes for s in starts]


@dataclass(frozen=True)
class Sampled:
    """The result of a wave: its leaves and latents, and rows of flip points if they were searched."""

    leaves: list[Leaf]
    latents: Tensor
    flips: Sequence[dict[str, object]] = ()


Sample = Callable[[Wave], Sampled]


def from_noise(plan: SweepPlan, sampler: Sampler) -> Sample:
    """Return a function that samples a wave from the noise of `sampler`."""
    return lambda wave: Sampled(*walk(plan, sampler, cls=wave.cls, seeds=wave.seeds))


def sweep(
    plan: SweepPlan,
    *,
    sample: Sample,
    folder: Path,
    shard_seeds: int,
    on_done: Callable[[int], object] = lambda seeds: None,
) -> None:
    """Write every missing shard to `folder`, and then the index.

    Every process that calls this takes part: it samples the next wave that no other has claimed (see
    `claims.share_out`). `on_done` is called with the numbers of seeds that this process need not sample.
    """
    done, missing = finished_seeds(folder), {}
    for wave in waves(plan, shard_seeds):
        seeds = tuple(seed for seed in wave.seeds if (wave.cls, seed) not in done)
        on_done(len(wave.seeds) - len(seeds))
        if seeds:
            left = Wave(wave.cls, seeds)
            missing[left.name] = left
    for name in share_out(
        list(missing),
        folder / "claims",
        done=lambda name: shard_file(folder, name).exists(),
        on_done=lambda name: on_done(len(missing[name].seeds)),
    ):
        _write_wave(plan, missing[name], sample, folder)
    build_index(folder)


def _write_wave(plan: SweepPlan, wave: Wave, sample: Sample, folder: Path) -> None:
    sampled = sample(wave)
    if not torch.isfinite(sampled.latents).all():
        raise UserError(
            f"shard {wave.name}: latents are not finite. Try `precision=32-true`, or fine-tune with a "
            "smaller learning rate."
        )
    rows = [_row(plan, leaf) for leaf in sampled.leaves]
    write_shard(folder, wave.name, rows, sampled.latents, flips=sampled.flips)


def _row(plan: SweepPlan, leaf: Leaf) -> dict[str, object]:
    branch = leaf.branch
    return {
        "class": leaf.cls,
        "seed": leaf.seed,
        "method": branch.method,
        "attribute": branch.attribute,
        "swap_step": branch.swap_step,
        "until": branch.until,
        "strength": branch.strength,
        "prompt": plan.text(leaf.cls, branch),
    }
