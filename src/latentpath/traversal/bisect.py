"""Early answers: the swap step at which the classifier's decision turns, in O(log K) suffixes instead of
all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import torch
from rich.table import Table
from torch import Tensor

from latentpath.diffusion.autoencoder import decode
from latentpath.diffusion.sampler import Sampler
from latentpath.diffusion.solvers import State
from latentpath.traversal.engine import Leaf, walk
from latentpath.traversal.plan import SweepPlan
from latentpath.traversal.sweep import Sample, Sampled, Wave

# (rows, swap steps) -> probability that the attribute of each row is there when swapped in at that step
Probe = Callable[[Sequence[int], Sequence[int]], Sequence[float]]

# (latents, the attribute of each row) -> probability that this attribute is there, of each row
Judge = Callable[[Tensor, Sequence[str]], Sequence[float]]

FLIPS, NEVER, ALREADY = "flips", "never", "already present"


@dataclass
class Flip:
    """What is known of one trajectory.

    `step` is the flip point: the latest swap step at which the attribute is there; None where it never comes
    (`never`) or is on the neutral image (`already present`). `contradictions` are the probed steps whose
    decision does not fit a single turn at `step`: there the trajectory is not monotone, and another flip
    point may exist.
    """

    status: str
    step: int | None
    probabilities: dict[int, float] = field(default_factory=dict)  # of every probed swap step
    contradictions: list[int] = field(default_factory=list)


def judge_of(classifier: Any, vae: Any) -> Judge:
    """`judge(latents, attributes)`: decode each row and ask the classifier for its attribute."""

    def judge(latents: Tensor, attributes: Sequence[str]) -> list[float]:
        _, probabilities = classifier.predict(decode(vae, latents))
        heads = [classifier.attributes.index(attribute) for attribute in attributes]
        return probabilities[range(len(heads)), heads].tolist()

    return judge


def bisect_flips(
    probe: Probe,
    neutral: Sequence[float],
    swap_steps: Sequence[int],
    *,
    threshold: float = 0.5,
    checks: int = 0,
) -> list[Flip]:
    """The flip point of every row among `swap_steps`, all rows probed together, round by round.

    `neutral` (rows,) is the probability on the neutral image, which stands behind the last step. A row that
    is present at the first step is halved until the turn is between two neighbours: 1 + ceil(log2 K) probes.
    Where presence does not fall with the step there can be several turns, of which this finds one; so
    `checks` more probes, spread over the steps not yet probed, look for decisions on the wrong side of it.
    """
    steps = sorted(swap_steps)
    rows = range(len(neutral))
    known: list[dict[int, float]] = [{} for _ in rows]

    def ask(wanted: dict[int, int]) -> None:
        """Probe row -> place in `steps`."""
        found = probe(list(wanted), [steps[place] for place in wanted.values()]) if wanted else []
        for (row, place), probability in zip(wanted.items(), found, strict=True):
            known[row][place] = probability

    def there(row: int, place: int) -> bool:
        return known[row][place] > threshold

    ask(dict.fromkeys((r for r in rows if neutral[r] <= threshold), 0))
    present = {row: 0 for row in rows if known[row] and there(row, 0)}  # the latest place known to be present
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
    """`checks` rounds of one more place a row, evenly over its places not yet probed."""
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
    judge: Judge,
    threshold: float,
    checks: int,
) -> tuple[list[Leaf], Tensor, list[dict[str, Any]]]:
    """Walk `plan`, whose swaps are at the strongest of `swap_steps` alone, then search every trajectory for
    its flip point, each probe a suffix from the trunk that the walk has left.

    `judge(latents, attributes)` gives for each row the probability that its attribute is there. Returns what
    `walk` does, and a row a trajectory: class, seed, attribute, status, flip_step, neutral (probability),
    probed_steps, probabilities, contradictions.
    """
    trunk: list[State] = []
    leaves, latents = walk(plan, sampler, cls=cls, seeds=seeds, trunk=trunk)
    place = {(leaf.branch.method, leaf.branch.attribute, leaf.seed): k for k, leaf in enumerate(leaves)}
    swaps = {b.attribute: b for b in plan.branches if b.method == "swap"}
    rows = [(seed, attribute) for attribute in swaps for seed in seeds]
    prompts = {a: plan.prompts.index(plan.target(cls, branch)) for a, branch in swaps.items()}
    strongest = min(swap_steps)

    def probe(wanted: Sequence[int], steps: Sequence[int]) -> Sequence[float]:
        named = [rows[k] for k in wanted]
        attributes = [attribute for _, attribute in named]
        if all(step == strongest for step in steps):
            found = latents[[place["swap", attribute, seed] for seed, attribute in named]]
        else:
            found = walk_suffixes(
                sampler,
                trunk,
                places=[seeds.index(seed) for seed, _ in named],
                prompts=[prompts[attribute] for attribute in attributes],
                steps=[step + plan.one_step_late for step in steps],
                seeds=seeds,
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
    judge: Judge,
    threshold: float,
    checks: int,
) -> Sample:
    """How a wave is sampled when its flip points are searched for: see `bisect_wave`."""

    def sample(wave: Wave) -> Sampled:
        search = {"swap_steps": swap_steps, "judge": judge, "threshold": threshold, "checks": checks}
        return Sampled(*bisect_wave(plan, sampler, cls=wave.cls, seeds=wave.seeds, **search))

    return sample


def flips_table(flips: pd.DataFrame, num_inference_steps: int) -> Table:
    """The flip points of a search, counted for each class and attribute, for the terminal."""
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


@torch.no_grad()
def walk_suffixes(
    sampler: Sampler,
    trunk: Sequence[State],
    *,
    places: Sequence[int],
    prompts: Sequence[int],
    steps: Sequence[int],
    seeds: Sequence[int],
) -> Tensor:
    """Sample rows that leave the trunk, each at its own step.

    Row k begins as row places[k] of the trunk before step steps[k] and continues with prompts[k]; `seeds` are
    those of the trunk. Returns latents (rows, c, h, w). Row k costs N - steps[k] calls.
    """
    order = sorted(range(len(steps)), key=lambda k: steps[k])
    state: State = tuple(part[:0] for part in trunk[0])
    for step_index in range(min(steps), len(sampler.solver.timesteps)):
        joining = [places[k] for k in order if steps[k] == step_index]
        state = tuple(
            torch.cat([part, of[joining]]) for part, of in zip(state, trunk[step_index], strict=True)
        )
        alive = order[: len(state[0])]
        state = sampler.step(
            state,
            step_index,
            seeds=[seeds[places[k]] for k in alive],
            prompts=[prompts[k] for k in alive],
        )
    out = torch.empty_like(state[0])
    out[order] = state[0]
    return out
