"""What of SLURM can be checked without one: what is submitted, and how a job's end is told."""

from __future__ import annotations

import importlib.util
import os
import pickle
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore

from latentpath.cli import main
from latentpath.config.schema import Config, conf_dir
from latentpath.errors import UserError
from latentpath.runs.submitted import reported

HERE = Path(__file__).parent


def launcher(*overrides: str) -> Any:
    ConfigStore.instance().store(name="schema", node=Config)
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return hydra_compose(
            "finetune", ["hydra/launcher=slurm", *overrides], return_hydra_config=True
        ).hydra.launcher


def test_a_job_has_as_many_processes_as_it_trains_with():
    assert launcher().tasks_per_node == launcher().nodes == 1
    several = launcher("trainer=ddp", "trainer.devices=4", "trainer.num_nodes=2")
    assert (several.tasks_per_node, several.nodes) == (4, 2)


def test_a_job_resumes_after_its_time_limit():
    assert launcher().max_num_timeout > 0
    assert launcher().signal_delay_s < 60 * launcher().timeout_min


def test_what_sbatch_is_given(tmp_path):
    """By an sbatch that keeps it, and refuses."""
    for name in ("sbatch", "srun"):
        (tmp_path / name).write_text(f"#!/bin/sh\ncp $1 {tmp_path}/submitted\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    words = ["finetune.lr=1e-4,3e-4", "name=lr", "trainer=ddp", "trainer.devices=2", "dataset.root=x"]
    done = subprocess.run(
        [sys.executable, "-m", "latentpath", "finetune", "-m", "hydra/launcher=slurm", *words],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert (tmp_path / "submitted").exists(), done.stderr
    script = (tmp_path / "submitted").read_text()
    for line in (
        "#SBATCH --array=0-1%2",
        "#SBATCH --cpus-per-task=4",
        "#SBATCH --job-name=latentpath-lr",
        "#SBATCH --ntasks-per-node=2",
        "#SBATCH --open-mode=append",  # a job that starts again adds to its log
        "#SBATCH --requeue",
        "#SBATCH --signal=USR2@300",
        "#SBATCH --time=720",
    ):
        assert f"{line}\n" in script
    assert "export SRUN_CPUS_PER_TASK=" in script
    assert f"{tmp_path}/outputs/lr/.submitit/" in script


@pytest.mark.parametrize("word", ["hydra/launcher=slurm", "hydra/launcher=submitit_slurm"])
def test_a_launcher_without_a_sweep_is_a_mistake(word, capsys):
    with pytest.raises(SystemExit) as end:
        main(["finetune", word])
    assert end.value.code == 2
    assert f"{word} needs -m, also for one job" in capsys.readouterr().err


@pytest.fixture
def result(monkeypatch, tmp_path):
    """`result()`: what a job of submitit's, as which this process poses, has left for the sweep, or None."""
    monkeypatch.setitem(sys.modules, "submitit.core.submission", sys.modules[__name__])
    environment = {"SUBMITIT_EXECUTOR": "slurm", "SUBMITIT_FOLDER": str(tmp_path), "SLURM_JOB_ID": "7"}
    for name, value in {**environment, "SLURM_PROCID": "1"}.items():
        monkeypatch.setenv(name, value)
    for name in ("SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"):
        monkeypatch.delenv(name, raising=False)

    def left() -> Any:
        files = list(tmp_path.iterdir())
        assert len(files) <= 1
        return pickle.loads(files[0].read_bytes()) if files else None

    left.file = tmp_path / "7_1_result.pkl"  # type: ignore[attr-defined]
    return left


def test_a_mistake_reaches_the_sweep_and_slurm(result, capsys):
    @reported()
    def job() -> None:
        try:
            raise UserError("trainer.precision is 'bf16'")
        except UserError:
            raise SystemExit(2)  # noqa: B904

    with pytest.raises(SystemExit) as end:
        job()
    assert end.value.code == 2
    assert result() == ("error", "trainer.precision is 'bf16' (exit status 2)")
    assert result.file.exists()


def test_a_crash_reaches_the_sweep_and_slurm(result, capsys):
    with pytest.raises(SystemExit) as end, reported():
        raise ValueError("shapes do not fit")
    assert end.value.code == 1
    kind, trace = result()
    assert kind == "error"
    assert "ValueError: shapes do not fit" in trace
    assert "ValueError: shapes do not fit" in capsys.readouterr().err


@pytest.mark.parametrize("status", [0, None, 143, -1])
def test_a_job_that_is_requeued_reports_no_result(result, status):
    """submitit itself tells of those that end well."""
    with pytest.raises(SystemExit), reported():
        raise SystemExit(status)
    assert result() is None


def test_outside_of_submitit_an_error_stays_one(monkeypatch):
    monkeypatch.delenv("SUBMITIT_EXECUTOR", raising=False)
    with pytest.raises(ValueError, match="as it was"), reported():
        raise ValueError("as it was")


def test_a_sweep_through_submitit_ends_with_its_job(tmp_path):
    """On this machine, by submitit's launcher for it: SystemExit in the job is not waited for."""
    words = ["hydra/launcher=submitit_local", "dataset=isic2019", "dataset.root=nowhere"]
    done = subprocess.run(
        [sys.executable, "-m", "latentpath", "info", "-m", *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert "nowhere" in done.stderr and "(exit status 2)" in done.stderr, done.stderr


@pytest.fixture
def run(monkeypatch) -> Any:
    spec = importlib.util.spec_from_file_location("run_slurm", HERE / "run.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setenv("PATH", os.environ["PATH"])
    monkeypatch.setattr(module.sys, "platform", "linux")
    monkeypatch.setattr(module.signal, "signal", lambda *_: None)
    return module


@pytest.mark.parametrize(
    "user, programs, reason",
    [
        (1000, [], "it needs Linux and root"),
        (0, [], "there is no slurm-wlm, and no apt-get to install it with"),
        (0, ["apt-get"], "apt-get update failed:\nno route to host"),
    ],
)
def test_the_cluster_says_why_it_cannot_be(run, monkeypatch, capsys, user, programs, reason):
    failed = SimpleNamespace(returncode=100, stderr="no route to host\n")
    monkeypatch.setattr(run.os, "geteuid", lambda: user)
    monkeypatch.setattr(run.shutil, "which", lambda name: name if name in programs else None)
    monkeypatch.setattr(run.subprocess, "run", lambda *_, **__: failed)
    run.main()
    assert capsys.readouterr().out.startswith(f"test-slurm: skipped, {reason}")
