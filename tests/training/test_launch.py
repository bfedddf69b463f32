"""Which processes and devices Lightning is told of, with pretended GPUs."""

from __future__ import annotations

import lightning as L
import pytest
import torch

from latentpath.config.training import TrainerConfig
from latentpath.runs.ranks import SINGLE, Rank
from latentpath.training.launch import trainer_options


@pytest.fixture
def gpus(monkeypatch):
    """`gpus(n)`: this process sees n GPUs."""

    def see(count: int) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)

    return see


@pytest.mark.parametrize("static_graph", [None, True])
def test_one_process_is_a_plain_device_whatever_the_strategy(monkeypatch, static_graph):
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    settings = TrainerConfig(accelerator="cpu", devices=1, strategy="ddp")
    options = trainer_options(settings, SINGLE, static_graph=static_graph)
    assert options["strategy"] == "auto"
    trainer = L.Trainer(**options, logger=False, enable_checkpointing=False)
    assert (trainer.world_size, trainer.global_rank) == (1, 0)


@pytest.mark.parametrize("visible, told", [(1, (1, 8, 0)), (4, (4, 2, 3))])
def test_a_task_that_sees_one_gpu_takes_number_0(gpus, visible, told):
    gpus(visible)
    settings = TrainerConfig(accelerator="gpu", devices=4, num_nodes=2, strategy="ddp")
    options = trainer_options(settings, Rank(7, 8, 3))
    environment, _ = options["plugins"]
    assert (options["devices"], options["num_nodes"], environment.local_rank()) == told
    assert (environment.global_rank(), environment.world_size()) == (7, 8)


def test_lightning_takes_one_visible_gpu_for_each_of_several_processes(gpus):
    gpus(1)
    settings = TrainerConfig(accelerator="gpu", devices=4, num_nodes=2, strategy="ddp")
    trainer = L.Trainer(**trainer_options(settings, Rank(7, 8, 3)), logger=False, enable_checkpointing=False)
    assert trainer.strategy.root_device == torch.device("cuda", 0)
    assert (trainer.world_size, trainer.global_rank) == (8, 7)
