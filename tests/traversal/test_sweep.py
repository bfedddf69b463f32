"""A sweep makes exactly what is missing; an interruption or a full disk loses at most one wave."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from latentpath.data.captions import CaptionTemplate
from latentpath.diffusion.conditioning import Conditioning
from latentpath.diffusion.guidance import GuidedDenoiser
from latentpath.diffusion.noise import SeededNoise
from latentpath.diffusion.sampler import Sampler
from latentpath.diffusion.schedule import NoiseSchedule
from latentpath.diffusion.solvers import build_solver
from latentpath.errors import UserError
from latentpath.runs.temporary import remove_abandoned
from latentpath.traversal.engine import walk
from latentpath.traversal.plan import SweepPlan, plan_sweep
from latentpath.traversal.sampling import conditioning_of
from latentpath.traversal.store import INDEX, finished_seeds, read_index, read_latents
from latentpath.traversal.sweep import Sampled, sweep
from latentpath.traversal.words import Prompt

CLASSES, ATTRIBUTES, SWAPS, N, SHAPE = ("MEL", "NV"), ("hair", "ink"), (0, 2, 4), 4, (4, 8, 8)


class Network(nn.Module):
    """Called as a U-Net is, and fast."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        generator = torch.Generator().manual_seed(0)
        self.conv.weight.data.copy_(torch.randn(self.conv.weight.shape, generator=generator) / 6)

    def forward(
        self, latents: Tensor, timesteps: Tensor, encoder_hidden_states: Tensor, return_dict: bool
    ) -> tuple[Tensor]:
        shift = encoder_hidden_states.mean((1, 2)) * timesteps / 1000
        return (self.conv(latents) + shift[:, None, None, None],)


NETWORK = Network()
PROMPTS = Conditioning(torch.randn(16, 3, 5, generator=torch.Generator().manual_seed(1)))
SCHEDULE = NoiseSchedule(torch.linspace(0.999, 0.01, 1000), final_alpha_cumprod=0.999)
SOLVER = build_solver("ddim", SCHEDULE, N, eta=0.5)


def plan(*, seeds: int = 5, classes=CLASSES, **changes) -> SweepPlan:
    captions = CaptionTemplate(
        "{cls} with {attributes}", "{cls}", {c: c for c in classes}, {a: a for a in ATTRIBUTES}
    )
    asked = {"attributes": ATTRIBUTES, "swap_steps": SWAPS, "num_inference_steps": N}
    return plan_sweep(captions, classes=classes, seeds=range(seeds), **(asked | changes))


def run(folder: Path, asked: SweepPlan, *, shard_seeds: int = 2, **told):
    """Sweep with a fresh denoiser; returns the calls made."""
    letters = [asked.indexed(letter) for letter in asked.letters]
    denoise = GuidedDenoiser(NETWORK, PROMPTS, letters, batch_size=8, static=True)
    sampler = Sampler(denoise, SOLVER, SeededNoise(SHAPE))
    sweep(
        asked,
        sample=lambda wave: Sampled(*walk(asked, sampler, cls=wave.cls, seeds=wave.seeds)),
        folder=folder,
        shard_seeds=shard_seeds,
        **told,
    )
    return denoise.calls


def shards(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "shards").iterdir())}


def assert_same(folder: Path, other: Path) -> None:
    """Assert that shards and index are equal to the byte."""
    assert shards(folder) == shards(other)
    assert (folder / INDEX).read_bytes() == (other / INDEX).read_bytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A sweep that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    run(folder, plan())
    return folder


def test_every_leaf_of_the_plan_is_there_once(whole):
    index = read_index(whole)
    columns = ("class", "seed", "method", "attribute", "swap_step")
    rows = set(zip(*(index[column] for column in columns), strict=True))
    swaps = {(c, seed, "swap", a, s) for c in CLASSES for seed in range(5) for a in ATTRIBUTES for s in SWAPS}
    assert rows == swaps | {(c, seed, "neutral", "", N) for c in CLASSES for seed in range(5)}
    assert len(index) == len(rows) == plan().images
    assert list(shards(whole)) == [
        f"{c}-{first:06d}-{last:06d}.safetensors" for c in CLASSES for first, last in ((0, 1), (2, 3), (4, 4))
    ]


def test_rows_say_what_each_image_is(tmp_path):
    extras = {"combinations": [("hair", "ink")], "removal": True, "strengths": [0.5], "windows": [(1, 3)]}
    run(tmp_path, plan(seeds=1, classes=("MEL",), **extras))
    index = read_index(tmp_path).set_index(["method", "attribute", "swap_step"])
    columns = ["until", "strength", "prompt"]
    for key, expected in {
        ("neutral", "", N): (N, 1, "MEL"),
        ("swap", "ink", 2): (N, 1, "MEL with ink"),
        ("combination", "hair+ink", 0): (N, 1, "MEL with hair, ink"),
        ("strength", "hair", 2): (N, 0.5, "MEL with hair"),
        ("window", "ink", 1): (3, 1, "MEL with ink"),
        ("present", "hair", N): (N, 1, "MEL with hair"),
        ("removal", "hair", 2): (N, 1, "MEL"),
    }.items():
        assert tuple(index.loc[key, columns]) == expected


def test_seeds_and_prompts_make_the_difference(whole):
    latents = read_latents(whole, read_index(whole))
    at_n = read_index(whole)["swap_step"] == N  # a swap at N is the neutral image
    assert len(latents[~at_n.to_numpy()].unique(dim=0)) == int((~at_n).sum())


@pytest.mark.parametrize("shard_seeds", [1, 2, 5, 8])
def test_calls_equal_the_plan(tmp_path, shard_seeds):
    skipped: list[int] = []
    assert run(tmp_path, plan(), shard_seeds=shard_seeds, on_done=skipped.append) == plan().unet_calls
    assert sum(skipped) == 0


def test_a_finished_sweep_makes_no_call_and_tells_of_every_seed(tmp_path):
    run(tmp_path, plan())
    skipped: list[int] = []
    assert run(tmp_path, plan(), on_done=skipped.append) == 0
    assert sum(skipped) == plan().samples


@pytest.mark.parametrize("lost", ["MEL-000000-000001", "MEL-000002-000003", "NV-000004-000004"])
def test_only_a_lost_shard_is_made_again_and_to_the_bit(whole, tmp_path, lost):
    run(tmp_path, plan())
    (tmp_path / "shards" / f"{lost}.safetensors").unlink()
    skipped: list[int] = []
    seeds = int(lost[-6:]) - int(lost[-13:-7]) + 1
    assert run(tmp_path, plan(), on_done=skipped.append) == seeds * plan().calls_per_seed
    assert sum(skipped) == plan().samples - seeds
    assert_same(tmp_path, whole)


@pytest.mark.parametrize("shard_seeds", [1, 3, 8])
def test_another_shard_size_doubles_nothing_and_changes_no_image(whole, tmp_path, shard_seeds):
    """`sampler.shard_seeds` may change between a run and its continuation."""
    run(tmp_path, plan())
    (tmp_path / "shards" / "MEL-000002-000003.safetensors").unlink()
    assert run(tmp_path, plan(), shard_seeds=shard_seeds) == 2 * plan().calls_per_seed
    key = ["class", "seed", "attribute", "swap_step"]
    index, expected = (read_index(folder).sort_values(key) for folder in (tmp_path, whole))
    assert len(index) == plan().images
    assert not index.duplicated(key).any()
    assert torch.equal(read_latents(tmp_path, index), read_latents(whole, expected))


def test_more_seeds_keep_those_that_are_there(whole, tmp_path):
    run(tmp_path, plan(seeds=3))
    assert run(tmp_path, plan()) == 2 * 2 * plan().calls_per_seed
    assert len(read_index(tmp_path)) == plan().images


def test_prompts_are_encoded_once_each_and_blended(tiny_sd):
    from latentpath.diffusion.components import BaseModel

    encoder, texts = BaseModel(str(tiny_sd)).prompt_encoder(32), []

    def encode(prompts):
        texts.extend(prompts)
        return encoder(prompts)

    prompts = [
        Prompt("nevus"),
        Prompt("nevus with hair"),
        Prompt("nevus with hair", 0.25, "nevus"),
        Prompt("nevus with hair", 3.0),
    ]
    embeds = conditioning_of(prompts, encode).hidden
    neutral, target = embeds[:2]
    assert sorted(texts) == ["nevus", "nevus with hair"]
    assert (neutral - target).abs().max() > 1e-3
    torch.testing.assert_close(embeds[2], 0.75 * neutral + 0.25 * target)
    torch.testing.assert_close(embeds[3], 3 * target)


def test_classes_whose_names_differ_in_signs_stay_apart(tmp_path):
    classes = ("stage 1", "stage-1", "stage_1", "stage/1")
    assert run(tmp_path, plan(seeds=1, classes=classes)) == plan(seeds=1, classes=classes).unet_calls
    assert set(read_index(tmp_path)["class"]) == set(classes)


def test_a_damaged_shard_is_named_before_any_call(tmp_path):
    run(tmp_path, plan())
    path = tmp_path / "shards" / "NV-000002-000003.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=f"{path} is damaged "):
        run(tmp_path, plan(seeds=9), on_done=lambda seeds: pytest.fail("began"))


def test_latents_that_are_not_finite_are_not_stored(tmp_path, monkeypatch):
    monkeypatch.setattr(NETWORK, "forward", lambda latents, *a, **k: (latents * float("nan"),))
    with pytest.raises(UserError, match="MEL-000000-000001"):
        run(tmp_path, plan())
    assert finished_seeds(tmp_path) == set()


@contextmanager
def small_disk(at: Path, options: str) -> Iterator[Path]:
    """A file system that holds no more than `options` of tmpfs say."""
    at.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(at)]
    try:
        subprocess.run(mount, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"needs the right to mount a tmpfs: {getattr(error, 'stderr', error)}")
    try:
        yield at
    finally:
        subprocess.run(["umount", "--lazy", str(at)], check=True)


@pytest.mark.parametrize(
    "full, room, finished",
    [
        ("size=48k", "size=8m", range(1, 10)),
        ("nr_inodes=6", "nr_inodes=100", [4]),  # three folders, a claim, and two shards of two seeds each
        ("nr_inodes=1", "nr_inodes=100", [0]),  # not even the folder
    ],
)
def test_a_full_disk_stops_the_sweep_which_resumes_when_there_is_room(whole, tmp_path, full, room, finished):
    asked = plan()
    with small_disk(tmp_path / "disk", full) as disk:
        with pytest.raises(UserError, match=r"cannot be written: No space left on device.*Make room"):
            run(disk, asked)
        assert not list(disk.rglob(".*"))  # the one that did not fit is gone
        missing = asked.samples - len(finished_seeds(disk))
        assert asked.samples - missing in finished
        subprocess.run(["mount", "-o", f"remount,{room}", str(disk)], check=True)
        assert run(disk, asked) == missing * asked.calls_per_seed
        assert_same(disk, whole)


forks = pytest.mark.skipif(sys.platform != "linux", reason="torch and a fork agree on Linux only")


def count_calls(function: Callable[[], object], dies_at: int | None = None) -> int:
    """Call `function` and return how many calls of Python and C functions it made.

    With `dies_at` this process kills itself at that call.
    """
    made = 0

    def count(frame, event: str, argument) -> None:
        nonlocal made
        made += event.endswith("call")
        if made == dies_at:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(count)
    try:
        function()
    finally:
        sys.setprofile(None)
    return made


def start(
    folder: Path,
    asked: SweepPlan,
    *,
    dies_in_write: int | None = None,
    dies_at_call: int | None = None,
    **options,
) -> int:
    """Sweep in a forked process, which has everything imported, and return its process number.

    With `dies_in_write` it kills itself in that file, counted from 1, when it is written but not yet renamed.
    With `dies_at_call` it kills itself at that call of a function.
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
        count_calls(lambda: run(folder, asked, **({"shard_seeds": 1} | options)), dies_at_call)
        os._exit(0)
    finally:
        os._exit(1)


@forks
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("processes", [2, 3])
def test_processes_at_the_same_time_make_what_one_makes(whole, tmp_path, processes):
    started = [start(tmp_path, plan(), shard_seeds=2) for _ in range(processes)]
    for process in started:
        assert os.waitpid(process, 0)[1] == 0
    assert_same(tmp_path, whole)


@forks
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_an_interrupted_write_leaves_the_earlier_shards(tmp_path):
    _, status = os.waitpid(start(tmp_path, plan(), dies_in_write=3), 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert len(shards(tmp_path)) == 3  # two, and what was being written
    assert finished_seeds(tmp_path) == {("MEL", 0), ("MEL", 1)}
    remove_abandoned(tmp_path)  # as each stage does when it opens
    assert len(shards(tmp_path)) == 2
    assert run(tmp_path, plan(), shard_seeds=1) == 8 * plan().calls_per_seed


@forks
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_an_interruption_while_indexing_costs_no_call(whole, tmp_path):
    os.waitpid(start(tmp_path, plan(), shard_seeds=2, dies_in_write=7), 0)
    assert shards(tmp_path) == shards(whole)
    assert not (tmp_path / INDEX).exists()
    assert run(tmp_path, plan()) == 0
    assert_same(tmp_path, whole)


@forks
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_interruptions_at_random_moments_lose_no_finished_shard(tmp_path):
    """Two processes at once, each killed at a random call of a function, round after round."""
    asked, chance = plan(seeds=12), random.Random(0)
    made = count_calls(lambda: run(tmp_path / "whole", asked, shard_seeds=1))
    expected = shards(tmp_path / "whole")

    folder, kills = tmp_path / "killed", 0
    (folder / "shards").mkdir(parents=True)
    while kills < 20:
        before = shards(folder)
        moments = [chance.randrange(made // 2) for _ in range(2)]
        started = [start(folder, asked, dies_at_call=moment) for moment in moments]
        kills += sum(os.WIFSIGNALED(os.waitpid(process, 0)[1]) for process in started)
        done = finished_seeds(folder)  # raises where a shard cannot be read
        after = shards(folder)
        assert before.items() <= after.items()
        assert after.items() <= expected.items()
        assert len(done) == len(after)
        if len(after) == len(expected):  # all done: take most away, so that there is something to kill
            for name in chance.sample(sorted(after), len(after) * 3 // 4):
                (folder / "shards" / name).unlink()
    run(folder, asked, shard_seeds=1)
    assert_same(folder, tmp_path / "whole")
