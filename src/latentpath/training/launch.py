"""Tells Lightning which processes exist, so that it neither guesses nor starts any."""

from __future__ import annotations

import os
from typing import Any

from lightning.fabric.plugins.environments import ClusterEnvironment
from lightning.pytorch.strategies import DDPStrategy

from latentpath.config.schema import TrainerConfig
from latentpath.runs.ranks import Rank


def trainer_options(
    settings: TrainerConfig, rank: Rank, *, static_graph: bool | None = None
) -> dict[str, Any]:
    """Return the arguments of `L.Trainer` for device, processes and precision.

    static_graph: for DDP, whether each backward pass has the same graph; None uses Lightning's own DDP.
    """
    strategy: Any = settings.strategy
    if static_graph is not None and rank.world_size > 1 and strategy in ("auto", "ddp"):
        strategy = DDPStrategy(gradient_as_bucket_view=True, static_graph=static_graph)
    return {
        "accelerator": settings.accelerator,
        "devices": settings.devices,
        "num_nodes": settings.num_nodes,
        "strategy": strategy,
        "plugins": [Started(rank)],
        "precision": settings.precision,
    }


class Started(ClusterEnvironment):
    """`Trainer(plugins=[Started(current_rank())])`: the processes that torchrun or srun have started.

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
