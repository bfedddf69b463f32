"""The rank of this process, and how the processes of a job wait for each other and compare settings."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from latentpath.config.schema import Config
from latentpath.errors import UserError
from latentpath.runs.command import Command

if TYPE_CHECKING:
    from hydra.conf import HydraConf

T = TypeVar("T")

# The variables in which a launcher tells a process its rank, the world size and its rank on the machine.
LAUNCHERS = (
    ("RANK", "WORLD_SIZE", "LOCAL_RANK"),  # torchrun
    ("JOB_COMPLETION_INDEX", "WORLD_SIZE", "LOCAL_RANK"),  # Kubernetes, Indexed Job
    ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"),  # srun
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"),  # mpirun of Open MPI
    ("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID"),  # mpiexec of MPICH and Intel MPI
    ("FLUX_TASK_RANK", "FLUX_JOB_SIZE", "FLUX_TASK_LOCAL_ID"),  # flux run
)


# How long processes wait for each other. In `run` rank 0 evaluates alone, which takes hours in a large study;
# after the default of 30 minutes the others would fail and end the job.
PATIENCE = timedelta(days=7)


@dataclass(frozen=True)
class Rank:
    """Process `index` of `world_size`; `local_index` is its index on this machine and selects its GPU."""

    index: int = 0
    world_size: int = 1
    local_index: int = 0

    @property
    def is_zero(self) -> bool:
        """Whether this is the process with index 0, which prints and writes."""
        return self.index == 0


SINGLE = Rank()


def current_rank(process: int | None = None, processes: int | None = None) -> Rank:
    """Return the rank of this process.

    It comes from `process` and `processes` if given (for processes started by hand in several shells), else
    from the environment of a launcher (`LAUNCHERS`); otherwise the process is alone. The batch script itself
    (not under srun) is a single process regardless of the allocation. Raises UserError if the environment
    makes no sense.
    """
    if process is not None and processes is not None:
        # Shells on one machine: the GPUs are assigned in turn.
        return Rank(process, processes, int(os.environ.get("LOCAL_RANK", process)))
    for of_process, of_all, of_local in LAUNCHERS:
        if of_process in os.environ and of_all in os.environ and _is_step(of_process):
            try:
                rank = Rank(
                    index=int(os.environ[of_process]),
                    world_size=int(os.environ[of_all]),
                    local_index=int(os.environ.get(of_local, 0)),
                )
            except ValueError:
                rank = Rank(-1, 0)
            if not 0 <= rank.index < rank.world_size:
                raise UserError(
                    f"{of_process}={os.environ[of_process]} and {of_all}={os.environ[of_all]} do not fit "
                    "together: expected the number of this process, from 0, and a larger number of all "
                    "processes. Unset both, or give sampler.process and sampler.processes."
                )
            return rank
    return Rank()


def _is_step(variable: str) -> bool:
    """Return whether srun started this process; a batch script sees the same variables."""
    return not variable.startswith("SLURM") or os.environ.get("SLURM_STEP_ID", "").isdigit()


def check_launch(cfg: Config, command: Command, rank: Rank, hydra: HydraConf) -> None:
    """Raise UserError unless the world size matches `cfg.trainer` and divides each batch size of `command`.

    Otherwise Lightning would start the missing processes by running the command line again, which in a sweep
    belongs to another job: ranks would silently train with different settings.
    """
    devices, nodes = cfg.trainer.devices, cfg.trainer.num_nodes
    wanted = devices * nodes
    sweeping = hydra.mode is not None and hydra.mode.name == "MULTIRUN"
    here = "basic_launcher" in str(hydra.launcher.get("_target_", ""))
    for section in command.batches:
        size = getattr(cfg, section).batch_size
        if size % wanted:
            raise UserError(
                f"{section}.batch_size is {size}, of all processes together: {wanted} cannot share it "
                f"evenly. Take a multiple of {wanted}, such as {-(-size // wanted) * wanted}."
            )
    if rank.world_size != wanted:
        there = "is one" if rank.world_size == 1 else f"are {rank.world_size}"
        raise UserError(
            f"trainer.devices={devices} and trainer.num_nodes={nodes} need {wanted} processes, "
            f"there {there}. Start them from outside:\n"
            f"  torchrun --nproc-per-node {devices} -m latentpath <command> <overrides>\n"
            f"  srun --nodes {nodes} --ntasks-per-node {devices} latentpath <command> <overrides>\n"
            "or set trainer.devices and trainer.num_nodes to what there is. A sweep of such jobs goes "
            "through hydra/launcher=slurm."
        )
    if wanted > 1 and sweeping and here:
        raise UserError(
            "a sweep (-m) of jobs of several processes cannot run inside one torchrun or srun: start each "
            "job by itself, or give hydra/launcher=slurm."
        )


@contextmanager
def connected(rank: Rank, *, accelerator: str = "auto") -> Iterator[None]:
    """Connect the processes of a job through torch.distributed within the block; Lightning reuses it.

    The address comes from MASTER_ADDR and MASTER_PORT, or from srun. A single process is not connected.
    Raises UserError if there is no address or the processes cannot reach each other.
    """
    if rank.world_size == 1:
        yield
        return
    import torch
    import torch.distributed as dist

    cuda = accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(rank.local_index % torch.cuda.device_count())
    if "MASTER_ADDR" not in os.environ:
        if "SLURM_STEP_NODELIST" not in os.environ:
            raise UserError(
                f"there are {rank.world_size} processes, but MASTER_ADDR is not set, the address of the "
                "machine of process 0, where they meet. torchrun sets it; for mpirun, flux and Kubernetes "
                "set MASTER_ADDR and MASTER_PORT yourself."
            )
        from lightning.fabric.plugins.environments import SLURMEnvironment

        # The port depends on the job step, because an allocation may run several steps at once.
        first = SLURMEnvironment.resolve_root_node_address(os.environ["SLURM_STEP_NODELIST"])
        number = int(os.environ["SLURM_JOB_ID"]) + 97 * int(os.environ["SLURM_STEP_ID"])
        os.environ |= {"MASTER_ADDR": first, "MASTER_PORT": str(15000 + number % 10000)}
    backend = "cpu:gloo,cuda:nccl" if cuda else "gloo"
    try:
        dist.init_process_group(backend, rank=rank.index, world_size=rank.world_size, timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        address = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        raise UserError(
            f"process {rank.index} of {rank.world_size} cannot join the others at {address}: {error}"
        ) from None
    try:
        yield
    finally:
        dist.destroy_process_group()


@contextmanager
def _all_alive() -> Iterator[None]:
    """Raise UserError if another process of the job ends while this one waits for it."""
    try:
        yield
    except RuntimeError as error:  # of which torch.distributed's errors are
        reason = str(error).partition(". ")[0]
        raise UserError(
            f"another process of this job has ended: its own message says why ({reason}). Start the job "
            "again with the same command: what is finished is kept."
        ) from None


def barrier(rank: Rank) -> None:
    """Wait until all connected processes reach this point."""
    if rank.world_size > 1:
        import torch.distributed as dist

        with _all_alive():
            dist.barrier()


def shared(value: T, rank: Rank) -> T:
    """Return the value of rank 0 in all connected processes."""
    if rank.world_size == 1:
        return value
    import torch.distributed as dist

    holder = [value]
    with _all_alive():
        dist.broadcast_object_list(holder, src=0)
    return holder[0]


def agree(text: str, rank: Rank) -> None:
    """Raise UserError in all connected processes unless `text` is the same in all of them.

    A process with another configuration would otherwise silently train something else.
    """
    if rank.world_size == 1:
        return
    import difflib

    import torch.distributed as dist

    texts = [""] * rank.world_size
    with _all_alive():
        dist.all_gather_object(texts, text)
    for process, other in enumerate(texts):
        if other != texts[0]:
            lines = difflib.unified_diff(texts[0].splitlines(), other.splitlines(), lineterm="", n=0)
            changed = [line for line in lines if line[:1] in "+-" and line[:3] not in ("+++", "---")]
            raise UserError(
                f"process {process} was started with another configuration than process 0:\n"
                + "\n".join(f"  {line}" for line in changed[:20])
                + "\nStart all of them with the same command."
            )
