"""Several processes train as one would: the same loss, the same weights, or a clear refusal."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

from latentpath.commands import finetune


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
def launch(common):
    """`launch(processes, command, *overrides)` as torchrun would: (exit statuses, standard error)."""

    def started(processes: int, command: str, *overrides: str, each: list[list[str]] | None = None):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        running = []
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
            line = [sys.executable, "-m", "latentpath", command, *common, *overrides, *own]
            running.append(
                subprocess.Popen(
                    line, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
                )
            )
        errors = [process.communicate()[1] for process in running]
        return [process.returncode for process in running], "\n".join(errors)

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


def test_two_processes_do_the_whole_job(launch, tmp_path):
    status, errors = launch(2, "run", "name=job", "trainer.devices=2", "trainer.strategy=ddp")
    assert status == [0, 0], errors
    assert (tmp_path / "job" / "report" / "index.html").exists()
    assert len(list((tmp_path / "job" / "traverse" / "shards").glob("*.safetensors"))) == 4


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
