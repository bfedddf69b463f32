"""Shared fixtures of the hostile tests: seed, log of inputs, command line, and a tiny finished run.

`make test-hostile` draws SEED and prints it, so that a failure can be repeated; KILLS bounds the kills,
KILL_SECONDS the time of each series of them, VALUES the hostile values of keys, DAMAGES those of each file.
`make test` runs only the tests without the mark `hostile`, with seed 0.
"""

from __future__ import annotations

import json
import logging
import os
import random
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from latentpath.cli import main
from latentpath.commands import COMMANDS

SEED = int(os.environ.get("SEED", "0"))
KILLS = int(os.environ.get("KILLS", "100"))
VALUES = int(os.environ.get("VALUES", "800"))
DAMAGES = int(os.environ.get("DAMAGES", "6"))
KILL_SECONDS = float(os.environ.get("KILL_SECONDS", "1200"))
BUDGETS = f"SEED={SEED} KILLS={KILLS} KILL_SECONDS={KILL_SECONDS:g} VALUES={VALUES} DAMAGES={DAMAGES}"
OUTPUTS = Path(__file__).parents[2] / "outputs"
LONGEST = 7200  # seconds of one attack, for machines with much else to do
TRIED: Counter[str] = Counter()


class Ended(NamedTuple):
    """How a command ended: its exit status, what it printed, and whether that is one plain message."""

    status: int
    out: str
    err: str

    @property
    def is_plain(self) -> bool:
        return "Traceback" not in self.err and "Error executing job" not in self.err


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> random.Random:
    """Random numbers of SEED and of the test's name, so that each test can be repeated alone."""
    return random.Random(f"{SEED} {request.node.nodeid}")


@pytest.fixture
def tried(record_property: Callable[[str, object], None]) -> Callable[[str, int], None]:
    """`tried("images", 40)` adds to the log of inputs that the suite tried."""
    return lambda kind, count: record_property("tried", (kind, count))


@pytest.fixture
def cli(capsys, monkeypatch, tmp_path) -> Any:
    """`cli(*words)` calls the command in this process, in an empty folder, and says how it ended."""
    monkeypatch.chdir(tmp_path)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def call(*words: str) -> Ended:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["latentpath"])
        try:
            main(words)
            status = 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
        return Ended(status, *capsys.readouterr())

    yield call
    root.handlers[:], root.level = handlers, level


@pytest.fixture
def calls(monkeypatch) -> list[tuple[Any, Path]]:
    """Every command is replaced by one that notes (cfg, run_dir), so that only the checks before it run."""
    noted: list[tuple[Any, Path]] = []
    for command in COMMANDS:
        module = SimpleNamespace(run=lambda cfg, run_dir: noted.append((cfg, run_dir)))
        monkeypatch.setitem(sys.modules, f"latentpath.commands.{command}", module)
    return noted


@pytest.fixture(scope="session")
def kills() -> int:
    """How many kills to try, from the environment."""
    return KILLS


@pytest.fixture(scope="session")
def values() -> int:
    """How many pairs of a key and a hostile value to try, from the environment."""
    return VALUES


@pytest.fixture(scope="session")
def damages() -> int:
    """In how many of the ways to damage each file, from the environment."""
    return DAMAGES


@pytest.fixture(scope="session")
def kill_seconds() -> float:
    """How long a series of kills may go on, from the environment."""
    return KILL_SECONDS


@pytest.fixture(scope="session")
def tiny_job(tiny_sd: Path, isic_32: Path) -> list[str]:
    """Overrides, but for output_dir, of a job named `tiny` that takes seconds, with every stage in it."""
    return [
        "experiment=demo",
        "name=tiny",
        f"model.name={tiny_sd}",
        f"dataset.root={isic_32}",
        "dataset.phantom.count=40",
        "dataset.phantom.size=32",
        "dataset.image_size=32",
        "dataset.attributes=[hair,ink]",
        "classifier.epochs=1",
        "finetune.max_steps=4",
        "finetune.batch_size=4",
        "finetune.checkpoint_every=2",
        "timesteps.num_inference_steps=3",
        "timesteps.swap_steps=[0,1]",
        "sampler.seeds=2",
        "sampler.shard_seeds=1",
        "metric.frames=3",
        "metric.examples=1",
        "metric.resamples=50",
        "metric.tsne=false",
        "metric.lpips=[]",
    ]


@pytest.fixture(scope="session")
def finished(once, tiny_job: list[str]) -> Path:
    """The outputs folder of a finished `tiny` run, shared by all tests: copy it before damaging it."""

    def build(folder: Path) -> None:
        sys.argv = ["latentpath"]
        main(["run", *tiny_job, f"output_dir={folder}"])

    return once("hostile_run", build)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let attacks take their time: how long they go on is bounded by the budgets."""
    for item in items:
        if item.get_closest_marker("hostile"):
            item.add_marker(pytest.mark.timeout(LONGEST))


def pytest_report_header() -> str:
    return f"hostile: {BUDGETS}"


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call":
        for name, value in report.user_properties:
            if name == "tried":
                kind, count = value  # pyright: ignore[reportGeneralTypeIssues]
                TRIED[kind] += count


def pytest_terminal_summary(terminalreporter: Any, exitstatus: int) -> None:
    """Print and keep the counts, in the process that collects the results of the others."""
    if not TRIED:
        return
    counts = {
        "seed": SEED,
        "command": f"make test-hostile {BUDGETS}",
        "passed": exitstatus == 0,
        "inputs": dict(sorted(TRIED.items())),
    }
    terminalreporter.write_sep("=", "hostile inputs tried")
    terminalreporter.write_line(json.dumps(counts, indent=2))
    OUTPUTS.mkdir(exist_ok=True)
    (OUTPUTS / f"hostile_{SEED}.json").write_text(json.dumps(counts, indent=2) + "\n")
