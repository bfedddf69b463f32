"""A process knows its place from the configuration or from its launcher."""

from __future__ import annotations

import pytest

from latentpath.errors import UserError
from latentpath.runs.ranks import LAUNCHERS, Rank, barrier, current_rank


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch):
    for name in {name for names in LAUNCHERS for name in names} | {"SLURM_STEP_ID"}:
        monkeypatch.delenv(name, raising=False)


def test_a_process_without_a_launcher_is_rank_0_of_1():
    assert current_rank() == Rank(0, 1, 0)
    assert current_rank().is_zero


@pytest.mark.parametrize(
    "environment",
    [
        {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"},
        {"SLURM_PROCID": "5", "SLURM_NTASKS": "8", "SLURM_LOCALID": "1", "SLURM_STEP_ID": "0"},
        {"JOB_COMPLETION_INDEX": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"},
        {"OMPI_COMM_WORLD_RANK": "5", "OMPI_COMM_WORLD_SIZE": "8", "OMPI_COMM_WORLD_LOCAL_RANK": "1"},
        {"PMI_RANK": "5", "PMI_SIZE": "8", "MPI_LOCALRANKID": "1"},
        {"FLUX_TASK_RANK": "5", "FLUX_JOB_SIZE": "8", "FLUX_TASK_LOCAL_ID": "1"},
    ],
)
def test_the_rank_comes_from_the_launcher(monkeypatch, environment):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert current_rank() == Rank(5, 8, 1)
    assert not current_rank().is_zero
    assert current_rank(1, 2) == Rank(1, 2, 1)  # what is asked for wins


@pytest.mark.parametrize("step", [None, "batch"])
def test_a_batch_script_without_srun_is_one_process(monkeypatch, step):
    for name, value in {"SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_STEP_ID": step}.items():
        if value is not None:
            monkeypatch.setenv(name, value)
    assert current_rank() == Rank(0, 1, 0)


@pytest.mark.parametrize("rank, world", [("8", "8"), ("one", "2"), ("-1", "2")])
def test_an_environment_that_makes_no_sense_is_named(monkeypatch, rank, world):
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", world)
    with pytest.raises(UserError, match=f"RANK={rank} and WORLD_SIZE={world}"):
        current_rank()


def test_shells_of_one_machine_take_a_gpu_each():
    assert [current_rank(process, 3).local_index for process in range(3)] == [0, 1, 2]


def test_processes_wait_for_days_while_the_first_one_works_alone(monkeypatch):
    import torch.distributed as dist

    from latentpath.runs.ranks import connected

    asked = {}
    monkeypatch.setenv("MASTER_ADDR", "here")
    monkeypatch.setattr(dist, "init_process_group", lambda *_, **options: asked.update(options))
    monkeypatch.setattr(dist, "destroy_process_group", lambda: None)
    with connected(Rank(1, 2, 1), accelerator="cpu"):
        pass
    assert asked["timeout"].days >= 1


def test_processes_without_a_place_to_meet_are_told_what_to_set(monkeypatch):
    from latentpath.runs.ranks import connected

    for name in ("MASTER_ADDR", "SLURM_STEP_NODELIST"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match="set MASTER_ADDR and MASTER_PORT"), connected(Rank(0, 2, 0)):
        pass


def test_an_index_of_kubernetes_alone_is_one_process(monkeypatch):
    """Such a job may as well try another seed in each pod."""
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "3")
    assert current_rank() == Rank(0, 1, 0)


def test_a_process_that_waits_for_an_ended_one_says_so_and_how_to_resume(monkeypatch):
    def closed():
        raise RuntimeError("[pair.cc:561] Connection closed by peer [127.0.0.1]:6266. This is typically ...")

    monkeypatch.setattr("torch.distributed.barrier", closed)
    barrier(Rank(0, 1, 0))
    with pytest.raises(UserError, match=r"another process .* \(.*closed by peer.*\). Start the job again"):
        barrier(Rank(0, 2, 0))
