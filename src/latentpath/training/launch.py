"""Tells Lightning which processes exist, so that it neither guesses nor starts any."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.environments import ClusterEnvironment
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import DDPStrategy

from latentpath.config.training import TrainerConfig
from latentpath.runs.progress import lightning_bar, on_terminal
from latentpath.runs.ranks import Rank
from latentpath.training.checkpoints import WholeCheckpoints


def build_trainer(
    settings: TrainerConfig,
    rank: Rank,
    folder: Path,
    loggers: Sequence[Logger],
    callbacks: Sequence[L.Callback],
    *,
    static_graph: bool | None = None,
    **options: Any,  # Any: arguments of L.Trainer
) -> L.Trainer:
    """Build a trainer that writes to `folder` and shows its progress on rank 0.

    static_graph: as in `trainer_options`. Batches are dealt out to the processes already, by our own data.
    """
    arguments = trainer_options(settings, rank, static_graph=static_graph)
    arguments |= {"default_root_dir": folder, "logger": loggers, "use_distributed_sampler": False}
    arguments |= {"callbacks": [*([lightning_bar()] if rank.is_zero else []), *callbacks]}
    arguments |= {"enable_progress_bar": on_terminal() and rank.is_zero, "enable_model_summary": False}
    return L.Trainer(**arguments | options)


def trainer_options(
    settings: TrainerConfig, rank: Rank, *, static_graph: bool | None = None
) -> dict[str, Any]:  # Any: arguments of L.Trainer
    """Return the arguments of `L.Trainer` for device, processes and precision.

    static_graph: for DDP, whether each backward pass has the same graph; None uses Lightning's own DDP.
    """
    shared = rank.world_size > 1
    # One process needs no distributed strategy, whose addresses only torchrun and srun set.
    strategy: str | DDPStrategy = settings.strategy if shared else "auto"
    if static_graph is not None and shared and strategy in ("auto", "ddp"):
        strategy = DDPStrategy(gradient_as_bucket_view=True, static_graph=static_graph)
    devices, nodes = settings.devices, settings.num_nodes
    if shared and _sees_one_gpu(settings.accelerator):
        # As srun --gpus-per-task=1 gives it. Lightning counts the GPUs that it sees, and takes number 0.
        devices, nodes, rank = 1, rank.world_size, replace(rank, local_index=0)
    return {
        "accelerator": settings.accelerator,
        "devices": devices,
        "num_nodes": nodes,
        "strategy": strategy,
        "plugins": [Started(rank), WholeCheckpoints()],
        "precision": settings.precision,
    }


def _sees_one_gpu(accelerator: str) -> bool:
    return accelerator in ("auto", "gpu", "cuda") and torch.cuda.device_count() == 1


class Started(ClusterEnvironment):
    """Tells Lightning of the processes that torchrun or srun have started.

    Use it as `Trainer(plugins=[Started(current_rank())])`.

    Lightning's own SLURMEnvironment refuses `srun --ntasks` without `--ntasks-per-node`; ignores steps of
    jobs named bash or interactive (as with salloc), so that each process starts all others again; and
    requeues jobs, which submitit does already.
    """

    def __init__(self, rank: Rank) -> None:
        super().__init__()
        self.rank = rank

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @property
    def main_address(self) -> str:
        return os.environ["MASTER_ADDR"]

    @property
    def main_port(self) -> int:
        return int(os.environ["MASTER_PORT"])

    @staticmethod
    def detect() -> bool:
        return False  # it is only ever given

    def world_size(self) -> int:
        return self.rank.world_size

    def set_world_size(self, size: int) -> None: ...

    def global_rank(self) -> int:
        return self.rank.index

    def set_global_rank(self, rank: int) -> None: ...

    def local_rank(self) -> int:
        return self.rank.local_index

    def node_rank(self) -> int:
        return int(os.environ.get("GROUP_RANK", os.environ.get("SLURM_NODEID", 0)))
