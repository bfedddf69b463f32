"""Several processes train as one would: the same loss, the same weights, or a clear refusal."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest
import torch

from latentpath.commands import finetune
from latentpath.commands import run as whole


@pytest.fixture
def common(tiny_sd, isic_32, tmp_path) -> list[str]:
    return [
        "experiment=demo",
        f"model.name={tiny_sd}",
        f"dataset.root={isic_32}",
        "dataset.phantom.count=40",
        "dataset.phantom.size=32",
        "dataset.image_size=32",
        f"output_dir={tmp_path}",
        "dataset.attributes=[hair,ink]",
        "finetune.max_steps=4",
        "finetune.batch_size=4",
        "finetune.log_every=1",
        "timesteps.num_inference_steps=2",
        "timesteps.swap_steps=[0]",
        "sampler.seeds=4",
        "sampler.shard_seeds=2",
        "classifier.epochs=1",
        "metric.lpips=[]",
        "metric.frames=2",
        "trainer.accelerator=cpu",
    ]


@pytest.fixture
def launch(common, tmp_path):
    """`launch(processes, command, *overrides)` as torchrun would: (exit statuses, standard error).

    When one process fails, the others are stopped. program: the words of Python that start latentpath.
    """

    def started(
        processes: int,
        command: str,
        *overrides: str,
        each: list[list[str]] | None = None,
        program: Sequence[str] = ("-m", "latentpath"),
    ):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        running, errors = [], []
        for rank in range(processes):
            environment = {
                **os.environ,
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(processes),
                "LOCAL_WORLD_SIZE": str(processes),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                "TORCHELASTIC_RUN_ID": "test",
            }
            own = each[rank] if each else []
            line = [sys.executable, *program, command, *common, *overrides, *own]
            errors.append(tmp_path / f"errors_{rank}.txt")
            with errors[-1].open("w") as file:
                process = subprocess.Popen(line, env=environment, stderr=file, stdout=subprocess.DEVNULL)
            running.append(process)
        while any(process.poll() is None for process in running):
            time.sleep(0.1)
            if any(process.returncode for process in running):
                time.sleep(1)  # for the words of those who notice it themselves
                [process.kill() for process in running]
        return [process.returncode for process in running], "\n".join(file.read_text() for file in errors)

    return started


def weights(folder: Path) -> dict[str, torch.Tensor]:
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel.from_pretrained(folder / "finetune" / "pipeline" / "unet").state_dict()


def test_two_processes_fine_tune_as_one_with_the_same_batch(launch, compose, common, tmp_path):
    validated = ("finetune.val_every_steps=2", "finetune.monitor=loss_ema")
    finetune.run(compose("finetune", *common, *validated), tmp_path / "one")
    words = ("name=two", "trainer.devices=2", "trainer.strategy=ddp", "logger=wandb")
    status, errors = launch(2, "finetune", *words, *validated)
    assert status == [0, 0], errors
    one, two = (pd.read_csv(tmp_path / name / "finetune" / "metrics.csv") for name in ("one", "two"))
    pd.testing.assert_frame_equal(one, two, rtol=1e-5)
    assert one["val/loss_ema"].count() == 3 and one["train/loss"].count() == 4
    alone, together = weights(tmp_path / "one"), weights(tmp_path / "two")
    for name, tensor in alone.items():
        torch.testing.assert_close(together[name], tensor, atol=1e-5, rtol=0)
    caches = list(tmp_path.glob(".latents/*/moments.npy"))
    assert len(caches) == 2, "both take the caches of the first: training and validation images"
    records = list(tmp_path.glob("two/finetune/wandb/offline-run-*"))
    assert [folder.name[-12:] for folder in records] == [(tmp_path / "two/finetune/wandb_run_id").read_text()]


# Both processes die by SIGKILL within a shard: process 1 in its second one, process 0, which would take over
# the whole evaluation, in its third one.
KILLED_IN_EVALUATION = """
import os, signal, sys
from latentpath.cli import main
from latentpath.evaluation.scoring import Scorer

score, scored = Scorer.score_seed, []

def counted(self, *args, **options):
    table = score(self, *args, **options)
    scored.append(table)
    if len(scored) == {"0": 5, "1": 3}[os.environ["RANK"]]:
        os.kill(os.getpid(), signal.SIGKILL)
    return table

Scorer.score_seed = counted
main(sys.argv[1:])
"""


def test_a_job_of_two_processes_killed_in_evaluation_ends_as_one_process_would(
    launch, compose, common, tmp_path
):
    together = ("name=two", "trainer.devices=2", "trainer.strategy=ddp")
    status, errors = launch(2, "run", *together, program=("-c", KILLED_IN_EVALUATION))
    assert status == [-signal.SIGKILL, -signal.SIGKILL], errors
    parts = tmp_path / "two" / "evaluate" / "parts"
    finished = {part: part.stat().st_mtime_ns for part in parts.glob("scores_*.parquet")}
    assert finished and not (tmp_path / "two" / "evaluate" / "scores.parquet").exists()

    status, errors = launch(2, "run", *together)
    assert status == [0, 0], errors
    assert {part: part.stat().st_mtime_ns for part in finished} == finished, (
        "finished parts were scored again"
    )
    assert (tmp_path / "two" / "report" / "index.html").exists()
    assert len(list((tmp_path / "two" / "traverse" / "shards").glob("*.safetensors"))) == 4

    for stage in ("classify", "finetune", "traverse"):
        shutil.copytree(tmp_path / "two" / stage, tmp_path / "one" / stage)
    whole.run(compose("run", *common, "name=one"), tmp_path / "one")
    for name in ("scores", "figures"):
        one, two = (
            pd.read_parquet(tmp_path / run / "evaluate" / f"{name}.parquet") for run in ("one", "two")
        )
        pd.testing.assert_frame_equal(one, two, rtol=1e-4)


def test_a_process_with_another_configuration_aborts_all(launch, tmp_path):
    each = [["finetune.lr=1e-4"], ["finetune.lr=1e-3"]]
    status, errors = launch(
        2, "finetune", "name=mixed", "trainer.devices=2", "trainer.strategy=ddp", each=each
    )
    assert status == [2, 2]
    assert "process 1 was started with another configuration than process 0" in errors
    assert "lr: 0.001" in errors
    assert not (tmp_path / "mixed" / "finetune").exists()


@pytest.mark.parametrize(
    "processes, overrides, message",
    [
        (1, ["trainer.devices=2"], "need 2 processes, there is one"),
        (2, ["trainer.devices=1"], "need 1 processes, there are 2"),
        (
            1,
            ["trainer.devices=2", "finetune.lr=1e-4,1e-3", "hydra.sweep.subdir=${hydra:job.num}", "-m"],
            "torchrun --nproc-per-node 2",
        ),
    ],
)
def test_processes_are_started_from_outside(launch, tmp_path, processes, overrides, message):
    status, errors = launch(processes, "finetune", "name=few", *overrides)
    assert status == [2] * processes
    assert message in errors
    assert not list(tmp_path.glob("few/**/manifest.json"))
