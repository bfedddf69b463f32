"""Measure how much of what a caption adds to eps goes through the U-Net's mid-block, its h-space.

    python experiments/leaderboard/h_space.py outputs/demo > experiments/leaderboard/results/h_space.csv

At some steps of the neutral trajectories of 24 seeds, three predictions: n under the neutral caption, p under
the one with the attribute, and n~ under the neutral one with the mid-block shifted by `dial` times the mean
direction (`methods/hspace.py`). Prints one row per attribute, dial and step, with 95 % intervals:
`share` = |n~ - n| / |p - n|, and `cosine` of n~ - n with p - n.
"""

import csv
import sys
from pathlib import Path

import torch
from torch import Tensor

from latentpath.diffusion.bottleneck import shifting
from latentpath.diffusion.components import BaseModel
from latentpath.diffusion.guidance import GuidedDenoiser
from latentpath.explore.opening import open_run
from latentpath.metrics.intervals import mean_intervals
from latentpath.traversal.engine import walk
from latentpath.traversal.methods.hspace import Hspace
from latentpath.traversal.plan import plan_sweep
from latentpath.traversal.sampling import build_sampler
from latentpath.traversal.words import Prompt, Swap

SEEDS, DIALS, STEPS, CLASS = range(24), (1.0, 16.0), (6, 10, 14), "MEL"


@torch.no_grad()
def main(run: Path) -> None:
    of_run, model = open_run(run).plan, BaseModel(str(run / "finetune" / "pipeline"))
    plan = plan_sweep(
        of_run.captions,
        classes=[CLASS],
        attributes=["ink", "ruler"],
        swap_steps=[of_run.num_inference_steps - 1],
        num_inference_steps=of_run.num_inference_steps,
        seeds=SEEDS,
        guidance_scale=of_run.guidance_scale,
        methods={"hspace": {1.0: Swap(Hspace())}},
    )
    sampler, trunk = build_sampler(plan, model, image_size=64), []
    walk(plan, sampler, cls=CLASS, seeds=SEEDS, trunk=trunk)
    denoise = sampler.denoise
    assert isinstance(denoise, GuidedDenoiser)

    def eps(step: int, prompt: Prompt, shift: Tensor | None = None) -> Tensor:
        letter = next(k for k, x in enumerate(plan.letters) if x.prompts == (prompt,))
        rows = None if shift is None else shift.expand(len(SEEDS), *shift.shape)
        with shifting(denoise.unet, rows):
            return denoise(trunk[step][0], sampler.solver.timesteps[step], [letter] * len(SEEDS)).flatten(1)

    table = csv.writer(sys.stdout)
    columns = ["share", "share low", "share high", "cosine", "cosine low", "cosine high"]
    table.writerow(["attribute", "dial", "step", *columns, "seeds"])
    for direction, shifts in sampler.directions.items():
        for dial in DIALS:
            for step in STEPS:
                n, p = eps(step, direction.source), eps(step, direction.target)
                added = eps(step, direction.source, dial * shifts[step].h) - n
                shares = added.norm(dim=1) / (p - n).norm(dim=1)
                both = torch.stack([shares, torch.cosine_similarity(added, p - n)], dim=1)
                ends = mean_intervals(both.numpy())  # of the two columns
                found = [f"{x[k]:.4f}" for k in (0, 1) for x in (both.mean(dim=0), ends.low, ends.high)]
                table.writerow([direction.target.text.split()[-1], dial, step, *found, len(SEEDS)])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
