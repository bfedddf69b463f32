"""Finds the swap step at which the classifier's decision flips, with O(log K) of the K swap steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pandas as pd
import torch
from rich.table import Table
from torch import Tensor

from latentpath.diffusion.autoencoder import decode
from latentpath.diffusion.sampler import Sampler
from latentpath.diffusion.solvers import State
from latentpath.judge.protocol import Judge
from latentpath.traversal.engine import Leaf, walk
from latentpath.traversal.plan import SweepPlan
from latentpath.traversal.suffixes import states_at, walk_suffixes
from latentpath.traversal.sweep import Sample, Sampled, Wave

if TYPE_CHECKING:
    from latentpath.diffusion.networks import Autoencoder


# (rows, swap steps) -> probability that each row's attribute is present when swapped in at that step
Probe = Callable[[Sequence[int], Sequence[int]], Sequence[float]]

# (latents, the attribute of each row) -> probability of each row that its attribute is present
LatentJudge = Callable[[Tensor, Sequence[str]], Sequence[float]]

FLIPS, NEVER, ALREADY = "flips", "never", "already present"


@dataclass
class Flip:
    """The flip point of one trajectory.

    step: the latest swap step at which the attribute is present; None if it never appears (`never`) or is
    present in the neutral image (`already present`). contradictions: the probed steps whose decision does not
    fit a single flip at `step`; such a trajectory is not monotone and may have other flip points.
    """

    status: str
    step: int | None
    probabilities: dict[int, float] = field(default_factory=dict)  # probed swap step -> probability
    contradictions: list[int] = field(default_factory=list)


def judge_of_latents(judge: Judge, vae: Autoencoder) -> LatentJudge:
    """Return a function that decodes each row of latents and returns its attribute's probability."""

    def probabilities(latents: Tensor, attributes: Sequence[str]) -> list[float]:
        _, found = judge.predict(decode(vae, latents, to=vae.device))
        heads = [judge.attributes.index(attribute) for attribute in attributes]
        return found[range(len(heads)), heads].tolist()

    return probabilities


def bisect_flips(
    probe: Probe,
    neutral: Sequence[float],
    swap_steps: Sequence[int],
    *,
    threshold: float = 0.5,
    checks: int = 0,
) -> list[Flip]:
    """Find the flip point of every row among `swap_steps`; all rows are probed together in rounds.

    neutral: (rows,), the probability on the neutral image, which follows the last step. If the attribute is
    present at the first step, bisection finds two neighbouring steps between which it flips, with
    1 + ceil(log2 K) probes. If presence is not monotone in the step there can be several flips; this finds
    one of them. So `checks` further probes, spread over the steps not yet probed, search for contradictions.
    """
    steps = sorted(swap_steps)
    rows = range(len(neutral))
    known: list[dict[int, float]] = [{} for _ in rows]

    def ask(wanted: dict[int, int]) -> None:
        """Probe {row: position in `steps`}."""
        found = probe(list(wanted), [steps[place] for place in wanted.values()]) if wanted else []
        for (row, place), probability in zip(wanted.items(), found, strict=True):
            known[row][place] = probability

    def there(row: int, place: int) -> bool:
        return known[row][place] > threshold

    ask(dict.fromkeys((r for r in rows if neutral[r] <= threshold), 0))
    present = {
        row: 0 for row in rows if known[row] and there(row, 0)
    }  # the latest position known to be present
    absent = dict.fromkeys(present, len(steps))  # the earliest known to be absent
    while open_rows := [row for row in present if absent[row] - present[row] > 1]:
        middle = {row: (present[row] + absent[row]) // 2 for row in open_rows}
        ask(middle)
        for row, place in middle.items():
            (present if there(row, place) else absent)[row] = place
    for wanted in _spread([set(range(len(steps))) - known[row].keys() for row in rows], present, checks):
        ask(wanted)

    def flip(row: int) -> Flip:
        probabilities = {steps[place]: known[row][place] for place in sorted(known[row])}
        if row not in present:
            return Flip(ALREADY if neutral[row] > threshold else NEVER, None, probabilities)
        wrong = [steps[p] for p in sorted(known[row]) if there(row, p) != (p <= present[row])]
        return Flip(FLIPS, steps[present[row]], probabilities, wrong)

    return [flip(row) for row in rows]


def _spread(
    unknown: list[set[int]], rows: Sequence[int] | dict[int, int], checks: int
) -> list[dict[int, int]]:
    """Choose `checks` further positions per row, evenly spread over its positions not yet probed."""
    rounds: list[dict[int, int]] = [{} for _ in range(checks)]
    for row in rows:
        places = sorted(unknown[row])
        count = min(checks, len(places))
        for k in range(count):
            rounds[k][row] = places[(2 * k + 1) * len(places) // (2 * count)]
    return rounds


@torch.no_grad()
def bisect_wave(
    plan: SweepPlan,
    sampler: Sampler,
    *,
    cls: str,
    seeds: Sequence[int],
    swap_steps: Sequence[int],
    judge: LatentJudge,
    threshold: float,
    checks: int,
) -> tuple[list[Leaf], Tensor, list[dict[str, object]]]:
    """Walk `plan`, then search the flip point of every trajectory.

    The plan swaps only at the strongest of `swap_steps`. Each probe samples from a state of the neutral trunk
    that the walk has kept. `judge(latents, attributes)` returns for each row the probability that its
    attribute is present. Returns the result of `walk` and one row per trajectory: class, seed, attribute,
    status, flip_step, neutral (probability), probed_steps, probabilities, contradictions.
    """
    trunk: list[State] = []
    leaves, latents = walk(plan, sampler, cls=cls, seeds=seeds, trunk=trunk)
    place = {(leaf.branch.method, leaf.branch.attribute, leaf.seed): k for k, leaf in enumerate(leaves)}
    swaps = {b.attribute: b for b in plan.branches if b.method == "swap"}
    rows = [(seed, attribute) for attribute in swaps for seed in seeds]
    letters = {a: plan.letters.index(plan.edit(cls, branch)) for a, branch in swaps.items()}
    words = {a: [letter] * plan.num_inference_steps for a, letter in letters.items()}
    strongest = min(swap_steps)

    def probe(wanted: Sequence[int], steps: Sequence[int]) -> Sequence[float]:
        named = [rows[k] for k in wanted]
        attributes = [attribute for _, attribute in named]
        if all(step == strongest for step in steps):
            found = latents[[place["swap", attribute, seed] for seed, attribute in named]]
        else:
            first = [step + plan.one_step_late for step in steps]
            found = walk_suffixes(
                sampler,
                states_at(trunk, first, [seeds.index(seed) for seed, _ in named]),
                words=[words[attribute] for attribute in attributes],
                steps=first,
                seeds=[seed for seed, _ in named],
            )
        return judge(found, attributes)

    neutral = judge(latents[[place["neutral", "", seed] for seed, _ in rows]], [a for _, a in rows])
    flips = bisect_flips(probe, neutral, swap_steps, threshold=threshold, checks=checks)
    table = [
        {
            "class": cls,
            "seed": seed,
            "attribute": attribute,
            "status": flip.status,
            "flip_step": flip.step,
            "neutral": before,
            "probed_steps": list(flip.probabilities),
            "probabilities": list(flip.probabilities.values()),
            "contradictions": flip.contradictions,
        }
        for (seed, attribute), before, flip in zip(rows, neutral, flips, strict=True)
    ]
    return leaves, latents, table


def bisecting(
    plan: SweepPlan,
    sampler: Sampler,
    *,
    swap_steps: Sequence[int],
    judge: LatentJudge,
    threshold: float,
    checks: int,
) -> Sample:
    """Return a function that samples a wave and searches its flip points (see `bisect_wave`)."""

    def sample(wave: Wave) -> Sampled:
        search = {"swap_steps": swap_steps, "judge": judge, "threshold": threshold, "checks": checks}
        return Sampled(*bisect_wave(plan, sampler, cls=wave.cls, seeds=wave.seeds, **search))

    return sample


def flips_table(flips: pd.DataFrame, num_inference_steps: int) -> Table:
    """Make a terminal table of flip points, counted for each class and attribute."""
    statuses = (FLIPS, NEVER, ALREADY)
    table = Table("class", "attribute", *statuses, "median flip step", "not monotone")
    for (cls, attribute), rows in flips.groupby(["class", "attribute"], sort=False):
        median = rows["flip_step"].astype("float64").median()
        table.add_row(
            str(cls),
            str(attribute),
            *(str((rows["status"] == status).sum()) for status in statuses),
            "n/a" if math.isnan(median) else f"{median:.0f} of {num_inference_steps}",
            str((rows["contradictions"].map(len) > 0).sum()),
        )
    return table
