"""A sweep makes what is missing and nothing else, at the counted price; a kill costs a wave at most."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from latentpath.diffusion.guidance import GuidedDenoiser
from latentpath.diffusion.schedule import NoiseSchedule
from latentpath.diffusion.solvers import DDIM
from latentpath.errors import UserError
from latentpath.traversal.plan import SweepPlan
from latentpath.traversal.store import finished_seeds, read_index, read_latents
from latentpath.traversal.sweep import sweep

CLASSES, ATTRIBUTES, SWAPS, N, SHAPE = ("MEL", "NV"), ("hair", "ink"), (0, 2, 4), 4, (4, 8, 8)


class Network(nn.Module):
    """Called as a U-Net is, and fast."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        generator = torch.Generator().manual_seed(0)
        self.conv.weight.data.copy_(torch.randn(self.conv.weight.shape, generator=generator) / 6)
        self.device, self.dtype = self.conv.weight.device, self.conv.weight.dtype

    def forward(
        self, latents: Tensor, timestep: int, encoder_hidden_states: Tensor, return_dict: bool
    ) -> tuple[Tensor]:
        shift = encoder_hidden_states.mean((1, 2)) * timestep / 1000
        return (self.conv(latents) + shift[:, None, None, None],)


NETWORK = Network()
EMBEDS = torch.randn(16, 3, 5, generator=torch.Generator().manual_seed(1))
SCHEDULE = NoiseSchedule(torch.linspace(0.999, 0.01, 1000), final_alpha_cumprod=0.999)


def plan(*, seeds: int = 5, classes=CLASSES) -> SweepPlan:
    return SweepPlan(
        classes=classes,
        attributes=ATTRIBUTES,
        swap_steps=SWAPS,
        num_inference_steps=N,
        seeds=tuple(range(seeds)),
        neutral_prompts={c: c for c in classes},
        target_prompts={(c, a): f"{c} with {a}" for c in classes for a in ATTRIBUTES},
    )


def run(folder: Path, asked: SweepPlan, *, shard_seeds: int = 2, on_rows=lambda rows: None) -> int:
    """Sweep with a fresh denoiser; returns the calls made."""
    denoise = GuidedDenoiser(NETWORK, EMBEDS, negative=15, guidance_scale=7.5, batch_size=8)
    return sweep(
        asked,
        denoise=denoise,
        solver=DDIM(SCHEDULE, N, eta=0.5),
        folder=folder,
        shard_seeds=shard_seeds,
        shape=SHAPE,
        on_rows=on_rows,
    )


def shards(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "shards").iterdir())}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A sweep that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    run(folder, plan())
    return folder


def test_every_leaf_of_the_plan_is_there_once(whole):
    index = read_index(whole)
    rows = set(zip(index["class"], index["seed"], index["attribute"], index["swap_step"], strict=True))
    swaps = {(c, seed, a, s) for c in CLASSES for seed in range(5) for a in ATTRIBUTES for s in SWAPS}
    assert rows == swaps | {(c, seed, "", N) for c in CLASSES for seed in range(5)}
    assert len(index) == len(rows) == plan().images
    assert list(shards(whole)) == [
        f"{c}-{first:06d}-{last:06d}.safetensors" for c in CLASSES for first, last in ((0, 1), (2, 3), (4, 4))
    ]
    prompts = index[index["attribute"] != ""]
    assert (prompts["prompt"] == prompts["class"] + " with " + prompts["attribute"]).all()


def test_seeds_and_prompts_make_the_difference(whole):
    latents = read_latents(whole, read_index(whole))
    at_n = read_index(whole)["swap_step"] == N  # a swap at N is the neutral image
    assert len(latents[~at_n.to_numpy()].unique(dim=0)) == int((~at_n).sum())


@pytest.mark.parametrize("shard_seeds", [1, 2, 5, 8])
def test_calls_and_progress_equal_the_plan(tmp_path, shard_seeds):
    told: list[int] = []
    assert run(tmp_path, plan(), shard_seeds=shard_seeds, on_rows=told.append) == plan().unet_calls
    assert sum(told) == plan().unet_calls


def test_a_finished_sweep_makes_no_call_and_its_bar_is_full(tmp_path):
    run(tmp_path, plan())
    told: list[int] = []
    assert run(tmp_path, plan(), on_rows=told.append) == 0
    assert sum(told) == plan().unet_calls


@pytest.mark.parametrize("lost", ["MEL-000000-000001", "MEL-000002-000003", "NV-000004-000004"])
def test_only_a_lost_shard_is_made_again_and_to_the_bit(whole, tmp_path, lost):
    run(tmp_path, plan())
    (tmp_path / "shards" / f"{lost}.safetensors").unlink()
    told: list[int] = []
    seeds = int(lost[-6:]) - int(lost[-13:-7]) + 1
    assert run(tmp_path, plan(), on_rows=told.append) == seeds * plan().calls_per_seed
    assert sum(told) == plan().unet_calls
    assert shards(tmp_path) == shards(whole)
    assert read_index(tmp_path).equals(read_index(whole))


def test_another_shard_size_doubles_nothing(whole, tmp_path):
    """`sampler.shard_seeds` may change between a run and its continuation."""
    run(tmp_path, plan())
    (tmp_path / "shards" / "MEL-000002-000003.safetensors").unlink()
    assert run(tmp_path, plan(), shard_seeds=3) == 2 * plan().calls_per_seed
    key = ["class", "seed", "attribute", "swap_step"]
    index = read_index(tmp_path)
    assert len(index) == plan().images
    assert not index.duplicated(key).any()


def test_classes_whose_names_differ_in_signs_stay_apart(tmp_path):
    classes = ("stage 1", "stage-1", "stage_1", "stage/1")
    assert run(tmp_path, plan(seeds=1, classes=classes)) == plan(seeds=1, classes=classes).unet_calls
    assert set(read_index(tmp_path)["class"]) == set(classes)


def test_a_damaged_shard_is_named_before_any_call(tmp_path):
    run(tmp_path, plan())
    path = tmp_path / "shards" / "NV-000002-000003.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=f"{path} is not a whole shard"):
        run(tmp_path, plan(seeds=9), on_rows=lambda rows: pytest.fail("sampled"))


def test_latents_that_are_not_finite_are_not_stored(tmp_path, monkeypatch):
    monkeypatch.setattr(NETWORK, "forward", lambda latents, *a, **k: (latents * float("nan"),))
    with pytest.raises(UserError, match="MEL-000000-000001"):
        run(tmp_path, plan())
    assert finished_seeds(tmp_path) == set()


def start(folder: Path, asked: SweepPlan, *, dies_in_write: int | None = None) -> int:
    """Sweep in a forked process, which has everything imported; returns its number.

    With `dies_in_write` it kills itself in its so-manieth shard, written but not yet renamed.
    """
    process = os.fork()
    if process:
        return process
    try:
        synced, sync = 0, os.fsync

        def die(file: int) -> None:
            nonlocal synced
            synced += 1
            if synced == dies_in_write:
                os.kill(os.getpid(), signal.SIGKILL)
            sync(file)

        os.fsync = die
        run(folder, asked, shard_seeds=1)
        os._exit(0)
    finally:
        os._exit(1)


forks = pytest.mark.skipif(sys.platform != "linux", reason="torch and a fork agree on Linux only")


@forks
def test_a_kill_in_a_write_leaves_the_shards_before_it(tmp_path):
    _, status = os.waitpid(start(tmp_path, plan(), dies_in_write=3), 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert len(shards(tmp_path)) == 3  # two, and what was being written
    assert finished_seeds(tmp_path) == {("MEL", 0), ("MEL", 1)}
    assert len(shards(tmp_path)) == 2
    assert run(tmp_path, plan(), shard_seeds=1) == 8 * plan().calls_per_seed


@forks
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_kills_at_random_moments_lose_no_finished_shard(tmp_path):
    asked, chance = plan(seeds=40), random.Random(0)
    began = time.monotonic()
    run(tmp_path / "whole", asked, shard_seeds=1)
    takes = time.monotonic() - began
    expected = shards(tmp_path / "whole")

    folder, kills, deadline = tmp_path / "killed", 0, time.monotonic() + 40
    (folder / "shards").mkdir(parents=True)
    while kills < 10 and time.monotonic() < deadline:
        before = {name: content for name, content in shards(folder).items() if not name.startswith(".")}
        process = start(folder, asked)
        time.sleep(chance.uniform(0, takes / 2))
        os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
        kills += os.WIFSIGNALED(status)
        done = finished_seeds(folder)  # raises where a shard cannot be read
        after = shards(folder)
        assert before.items() <= after.items()
        assert len(done) == len(after)
        if len(after) == len(expected):  # all done: take most away, so that there is something to kill
            for name in chance.sample(sorted(after), len(after) * 3 // 4):
                (folder / "shards" / name).unlink()
    assert kills >= 8
    run(folder, asked, shard_seeds=1)
    assert shards(folder) == expected
    assert read_index(folder).equals(read_index(tmp_path / "whole"))
