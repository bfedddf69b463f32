"""Short of room, handles, memory or the right to write: one sentence or a result, and nothing is lost."""

from __future__ import annotations

import errno
import json
import resource
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

STAGES = ("classify", "finetune", "traverse", "evaluate", "report")


@pytest.mark.hostile
def test_a_stage_that_lacks_memory_or_disk_says_so_and_is_finished_later(tiny_job, tmp_path, rng, tried):
    script = Path(__file__).with_name("pressed.py")
    done = subprocess.run(
        [sys.executable, script, str(rng.randrange(10**6)), tmp_path, *STAGES, "--", *tiny_job],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    story = json.loads(done.stdout.splitlines()[-1])
    tried("machines", len(story["pressed"]))
    faults = [
        f"{stage} with {name}: status {status}: {errors}"
        for stage, name, status, errors in story["pressed"]
        if status not in (0, 2) or "Traceback" in errors or (status == 2 and "latentpath: " not in errors)
    ]
    assert not faults, f"{len(faults)} of {len(story['pressed'])}\n" + "\n\n".join(faults)
    assert set(story["ends"].values()) == {0}, story["ends"]


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("can't start new thread"),
        RuntimeError("alloc_cpu.cpp:119] DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("could not create a primitive"),
        RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        ImportError(
            "numpy could not be imported.\nOriginal error was:\nx.so: failed to map segment from it\n"
        ),
    ],
    ids=str,
)
@pytest.mark.parametrize("words", ["report experiment=demo", "cfrt scores.csv"])
def test_a_lack_of_memory_is_one_sentence(cli, monkeypatch, error, words):
    def run(cfg: object, run_dir: object) -> None:
        raise error

    command, *rest = words.split()
    module = SimpleNamespace(run=run, main=lambda args: run(args, None))
    monkeypatch.setitem(sys.modules, f"latentpath.commands.{command}", module)
    ended = cli(command, *rest)
    assert ended.status == 2 and ended.is_plain, ended.err
    assert ended.err.startswith("latentpath: memory has run out") and "batch_size" in ended.err


@pytest.mark.parametrize("words", ["report experiment=demo", "cfrt scores.csv"])
def test_too_few_addresses_are_said_at_once(cli, monkeypatch, words):
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (400_000_000, -1))
    ended = cli(*words.split())
    assert ended.status == 2 and ended.is_plain, ended.err
    assert "0.4 GB of addresses" in ended.err and "ulimit -v unlimited" in ended.err


def test_another_failure_is_not_taken_for_a_lack_of_memory(cli, monkeypatch):
    def run(cfg: object, run_dir: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setitem(sys.modules, "latentpath.commands.report", SimpleNamespace(run=run))
    with pytest.raises(RuntimeError, match="a bug"):
        cli("report", "experiment=demo")
