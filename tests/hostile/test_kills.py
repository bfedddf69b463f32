"""A job killed at any instant: the same command ends with what a run that was never killed makes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml

STAGES = ("classify", "finetune", "traverse", "evaluate", "report")


def facts(file: Path) -> object:
    """What must be the same: bytes, but for times, the run's folder and the identity of each making."""
    if file.name == "manifest.json":
        manifest = json.loads(file.read_text())
        times = {key: 0 for key in manifest["figures"] if "second" in key or key == "unet_calls_now"}
        return manifest["status"], manifest["config"], {**manifest["figures"], **times}
    if file.name in ("config.yaml", "run.yaml"):
        content = yaml.safe_load(file.read_text())
        content.get("config", content).pop("output_dir", None)
        return content
    return file.read_bytes()


def differences(one: Path, other: Path) -> list[str]:
    """The files of two runs that are not the same; checkpoints are for resuming alone, the cost is a time."""
    found = []
    names = {path.relative_to(folder) for folder in (one, other) for path in folder.rglob("*")}
    for name in sorted(names):
        if name.match("classify/metrics.csv"):  # the last epoch's row is written after its checkpoint
            continue
        if name.suffix in (".ckpt", ".lock") or name.name in ("cost.csv", "cost.tex", "index.html"):
            continue
        both = (one / name, other / name)
        if not all(path.exists() for path in both):
            found.append(f"{name} only in one")
        elif both[0].is_file() and facts(both[0]) != facts(both[1]):
            found.append(str(name))
    return found


def kill(
    tiny_job: list[str], tmp_path: Path, seed: int, seconds: float, stages: tuple[str, ...], each: int
) -> Counter[str]:
    """Kill each stage `each` times, compare with a run that was never killed, and count the kills of each."""
    script = Path(__file__).with_name("killed.py")
    numbers = [str(number) for number in (each, seconds, seed)]
    done = subprocess.run(
        [sys.executable, script, *numbers, tmp_path, *stages, "--", *tiny_job], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    story = json.loads(done.stdout.splitlines()[-1])
    assert set(story["ends"].values()) == {0}, f"{story}\n{done.stderr[-3000:]}"
    assert not differences(tmp_path / "whole", tmp_path / "shaken"), story
    return Counter(stage for stage, _ in story["kills"])


def test_a_few_interruptions_change_no_value(tiny_job, tmp_path, rng, tried):
    killed = kill(tiny_job, tmp_path, rng.randrange(10**6), 600, ("classify",), each=2)
    tried("kills of classify", killed["classify"])
    assert killed == {"classify": 2}


@pytest.mark.hostile
@pytest.mark.parametrize("series", [0, 1])  # two, so that two processes share the work
def test_interruptions_at_random_writes_and_moments_change_no_value(
    tiny_job, kills, kill_seconds, tmp_path, rng, tried, series
):
    each = max(1, kills // (2 * len(STAGES)))
    killed = kill(tiny_job, tmp_path, rng.randrange(10**6), kill_seconds, STAGES, each)
    for stage in STAGES:
        tried(f"kills of {stage}", killed[stage])
    assert all(killed[stage] for stage in STAGES), killed


@pytest.mark.hostile
def test_two_shells_that_start_the_same_run_make_it_once(tiny_job, tmp_path):
    line = [sys.executable, "-m", "latentpath", "classify", *tiny_job, f"output_dir={tmp_path}"]
    shells = [subprocess.Popen(line, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    errors = [shell.communicate()[1] for shell in shells]
    assert [shell.returncode for shell in shells] == [0, 0], errors
    assert sum("classifier is complete" in error or "is complete" in error for error in errors) == 1, errors


@pytest.mark.hostile
def test_of_two_shells_with_different_settings_one_works_and_the_other_is_refused(tiny_job, tmp_path, tried):
    """Whichever comes second waits for the first, and is then told what differs; nothing is mixed."""
    line = [sys.executable, "-m", "latentpath", "classify", *tiny_job, f"output_dir={tmp_path}"]
    rates = ("classifier.lr=1e-3", "classifier.lr=2e-3")
    shells = [subprocess.Popen([*line, rate], stderr=subprocess.PIPE, text=True) for rate in rates]
    errors = [shell.communicate()[1] for shell in shells]
    statuses = [shell.returncode for shell in shells]
    assert sorted(statuses) == [0, 2], errors
    refused = errors[statuses.index(2)]
    assert "was made with another configuration" in refused and "classifier.lr" in refused, refused
    manifest = json.loads((tmp_path / "tiny" / "classify" / "manifest.json").read_text())
    assert manifest["config"]["classifier.lr"] == [1e-3, 2e-3][statuses.index(0)]
    tried("two at once", 2)
