"""Bisection equals an exhaustive search if presence is monotone, and reports where it is not."""

from __future__ import annotations

import math
import random

import pytest
import torch

from latentpath.data.captions import CaptionTemplate
from latentpath.diffusion.noise import SeededNoise
from latentpath.diffusion.sampler import Sampler
from latentpath.diffusion.schedule import NoiseSchedule
from latentpath.diffusion.solvers import build_solver
from latentpath.traversal.bisect import ALREADY, FLIPS, NEVER, bisect_flips, bisect_wave
from latentpath.traversal.engine import walk
from latentpath.traversal.plan import plan_sweep

CAPTIONS = CaptionTemplate(
    "{cls} with {attributes}", "{cls}", {"MEL": "melanoma"}, {"hair": "hair", "ink": "ink"}
)


class Trajectories:
    """Probabilities by row and swap step, and how often each was asked for."""

    def __init__(self, table: list[dict[int, float]]) -> None:
        self.table, self.asked = table, [0] * len(table)

    def __call__(self, rows, steps):
        for row in rows:
            self.asked[row] += 1
        return [self.table[row][step] for row, step in zip(rows, steps, strict=True)]


def falling(turn: int, steps) -> dict[int, float]:
    """Present up to and including the place `turn`, absent after: -1 never."""
    return {step: 0.9 if place <= turn else 0.1 for place, step in enumerate(steps)}


@pytest.mark.parametrize("steps", [[0], [5], [0, 3], list(range(0, 50, 5)), list(range(50))])
def test_every_monotone_trajectory_is_solved_in_few_probes(steps):
    probe = Trajectories([falling(turn, steps) for turn in range(-1, len(steps))])
    flips = bisect_flips(probe, [0.1] * len(probe.table), steps)
    assert [flip.step for flip in flips] == [None, *steps]
    assert [flip.status for flip in flips] == [NEVER] + [FLIPS] * len(steps)
    assert all(not flip.contradictions for flip in flips)
    assert max(probe.asked) <= 1 + math.ceil(math.log2(len(steps) + 1))


def test_what_the_neutral_image_already_shows_is_not_searched():
    probe = Trajectories([falling(3, range(10))] * 2)
    flips = bisect_flips(probe, [0.8, 0.2], range(10), checks=3)
    assert (flips[0].status, flips[0].step, probe.asked[0]) == (ALREADY, None, 0)
    assert (flips[1].status, flips[1].step) == (FLIPS, 3)


@pytest.mark.parametrize("checks", [0, 2, 5])
def test_checks_cost_what_they_say_and_contradict_no_monotone_trajectory(checks):
    plain = Trajectories([falling(turn, range(50)) for turn in range(50)])
    checked = Trajectories(plain.table)
    bisect_flips(plain, [0.1] * 50, range(50))
    flips = bisect_flips(checked, [0.1] * 50, range(50), checks=checks)
    assert [c - p for c, p in zip(checked.asked, plain.asked, strict=True)] == [checks] * 50
    assert not any(flip.contradictions for flip in flips)
    assert all(len(flip.probabilities) == n for flip, n in zip(flips, checked.asked, strict=True))


def test_where_a_trajectory_is_not_monotone_the_contradicting_steps_are_named():
    steps = range(32)
    islands = {step: 0.9 if step <= 5 or 20 <= step < 28 else 0.1 for step in steps}
    flip = bisect_flips(Trajectories([islands]), [0.1], steps, checks=8)[0]
    turns = {5, 27}  # the two places where presence falls
    assert flip.step in turns
    assert flip.contradictions
    for step in flip.contradictions:
        assert (islands[step] > 0.5) != (step <= flip.step)
    every = bisect_flips(Trajectories([islands]), [0.1], steps, checks=32)[0]
    wrong = [s for s in steps if (islands[s] > 0.5) != (s <= every.step)]
    assert every.contradictions == wrong


def test_the_found_step_is_a_turn_whatever_the_trajectory():
    chance = random.Random(0)
    for _ in range(200):
        table = {step: chance.random() for step in range(20)}
        table[0] = 0.9
        flip = bisect_flips(Trajectories([table]), [0.1], range(20))[0]
        assert table[flip.step] > 0.5
        assert flip.step == 19 or table[flip.step + 1] <= 0.5


# The same over a sampler: a brightness that the target prompt raises at every step it is used.

N, SHAPE = 16, (4, 8, 8)
SOLVER = build_solver("ddim", NoiseSchedule(torch.linspace(0.999, 0.01, 1000), 0.999), N)
BETWEEN = 0.5  # neutral images come out near 0.1, the strongest edits above 1
PLAN = dict(classes=["MEL"], num_inference_steps=N, seeds=range(4))


class Counting:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, z, timestep, letters):
        self.calls += len(z)
        return 0.05 * z - 0.3 * torch.tensor(letters)[:, None, None, None]


def judge(latents, attributes):
    return torch.sigmoid(latents.mean((1, 2, 3)) - BETWEEN).tolist()


@pytest.mark.parametrize("late", [False, True])
def test_a_wave_agrees_with_the_full_sweep_at_a_fraction_of_the_calls(late):
    steps = list(range(N - 1))
    full = plan_sweep(CAPTIONS, attributes=["hair", "ink"], swap_steps=steps, one_step_late=late, **PLAN)
    first = plan_sweep(CAPTIONS, attributes=["hair", "ink"], swap_steps=[0], one_step_late=late, **PLAN)
    everything, searching = Counting(), Counting()
    wave = {"cls": "MEL", "seeds": list(range(4))}
    leaves, latents = walk(full, Sampler(everything, SOLVER, SeededNoise(SHAPE)), **wave)
    present = dict(
        zip(
            ((f.seed, f.branch.attribute, f.branch.swap_step) for f in leaves),
            judge(latents, []),
            strict=True,
        )
    )
    found_leaves, found_latents, flips = bisect_wave(
        first,
        Sampler(searching, SOLVER, SeededNoise(SHAPE)),
        swap_steps=steps,
        judge=judge,
        threshold=0.5,
        checks=1,
        **wave,
    )
    assert {flip["status"] for flip in flips} == {FLIPS}
    for flip in flips:
        key = (flip["seed"], flip["attribute"])
        assert flip["flip_step"] == max(s for s in steps if present[*key, s] > 0.5)
        for step, probability in zip(flip["probed_steps"], flip["probabilities"], strict=True):
            assert probability == pytest.approx(present[*key, step], abs=1e-5)
    assert len(found_leaves) == len(found_latents) == 4 * 3
    suffixes = sum(N - s - late for flip in flips for s in flip["probed_steps"])
    assert searching.calls == 4 * N + suffixes
    assert searching.calls < 0.7 * everything.calls
