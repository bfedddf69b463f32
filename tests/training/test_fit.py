"""A signal stops training after the current step on all ranks, with a checkpoint to resume from."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import torch.distributed as dist
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader, IterableDataset

from latentpath.errors import UserError
from latentpath.runs.ranks import Rank
from latentpath.training.checkpoints import newest_checkpoint
from latentpath.training.fit import fit
from latentpath.training.launch import Started

STEPS = 6


class Line(L.LightningModule):
    """One weight per batch number: what is left of it tells which steps were made, and how often."""

    def __init__(self, at_step: int | None = None, do: Any = None) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(STEPS))
        self.at_step, self.do = at_step, do

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        if int(batch) == self.at_step and self.do is not None:
            self.do()
        return -self.weight[int(batch)]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1.0)


class Numbers(IterableDataset[torch.Tensor]):
    def __init__(self, first: Any = lambda: 0) -> None:
        self.first = first

    def __len__(self) -> int:
        return STEPS

    def __iter__(self) -> Any:
        return (torch.tensor(number) for number in range(self.first(), STEPS))


def train(folder: Path, task: Line, *, workers: int = 0, accumulate: int = 1, **trainer_options: Any) -> Line:
    every = ModelCheckpoint(folder, filename="{step}", every_n_train_steps=100, save_last="link")
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=1,
        max_steps=STEPS // accumulate,
        accumulate_grad_batches=accumulate,
        logger=False,
        callbacks=[every],
        enable_progress_bar=False,
        enable_model_summary=False,
        **trainer_options,
    )
    data = Numbers(lambda: trainer.global_step * accumulate)
    loader = DataLoader(data, batch_size=None, num_workers=workers)
    fit(trainer, task, last=folder / "last.ckpt", train_dataloaders=loader)
    return task


def send(number: signal.Signals) -> Any:
    return lambda: os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_signal_stops_after_the_step_with_a_checkpoint(tmp_path, number, accumulate):
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as end:
        train(tmp_path, Line(2, send(number)), accumulate=accumulate)
    assert end.value.code == 143
    assert signal.getsignal(number) is before
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)
    whole = {1: 3, 2: 4}[accumulate]  # batches up to the end of the step of batch 2
    assert state["global_step"] == whole // accumulate
    assert torch.count_nonzero(state["state_dict"]["weight"]) == whole
    weight = train(tmp_path, Line(), accumulate=accumulate).weight
    assert torch.equal(weight, torch.full((STEPS,), 1 / accumulate))
    assert not list(tmp_path.glob("last-v*.ckpt")), "what comes later must replace the checkpoint"


def test_a_signal_in_the_last_step_leaves_it_to_the_next_start_to_finish(tmp_path):
    with pytest.raises(SystemExit) as end:
        train(tmp_path, Line(STEPS - 1, send(signal.SIGTERM)))
    assert end.value.code == 143
    assert torch.equal(train(tmp_path, Line()).weight, torch.ones(STEPS))


def test_submitit_is_asked_to_requeue_only_when_the_checkpoint_is_there(tmp_path, monkeypatch):
    found = []

    def requeues(number: int, frame: Any) -> None:
        found.append((tmp_path / "last.ckpt").exists())
        sys.exit(-1)

    earlier = signal.signal(signal.SIGUSR2, requeues)
    try:
        with pytest.raises(SystemExit) as end:
            train(tmp_path, Line(2, send(signal.SIGUSR2)))
        assert (end.value.code, found) == (143, [True])
        with pytest.raises(SystemExit):
            train(tmp_path, Line(4, send(signal.SIGTERM)))
        assert found == [True], "SLURM, which sends SIGTERM, requeues by itself"
    finally:
        signal.signal(signal.SIGUSR2, earlier)


def test_a_job_that_is_not_queued_again_has_failed(tmp_path):
    def refuses(number: int, frame: Any) -> None:
        raise ValueError("timed-out too many times")

    earlier = signal.signal(signal.SIGUSR2, refuses)
    try:
        with pytest.raises(RuntimeError, match=r"not queued again\. timed-out too many times"):
            train(tmp_path, Line(2, send(signal.SIGUSR2)))
    finally:
        signal.signal(signal.SIGUSR2, earlier)


def test_a_signal_before_the_first_step_stops_at_once(tmp_path):
    class Reads(Line):
        def setup(self, stage: str) -> None:
            os.kill(os.getpid(), signal.SIGUSR1)
            pytest.fail("went on")

    with pytest.raises(SystemExit) as end:
        train(tmp_path, Reads())
    assert end.value.code == 143


@pytest.mark.parametrize("damage", ["cut short", "flipped", "empty", "a folder", "a pickle"])
def test_a_damaged_checkpoint_is_passed_over(tmp_path, damage):
    with pytest.raises(SystemExit):
        train(tmp_path, Line(2, send(signal.SIGTERM)))
    whole, last = (tmp_path / "last.ckpt").read_bytes(), tmp_path / "last.ckpt"
    last.rename(tmp_path / "step=3.ckpt")
    place = whole.index(torch.ones(2).numpy().tobytes())  # within the weights, where nothing else shows it
    content = {
        "cut short": whole[: len(whole) // 2],
        "flipped": whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :],
        "empty": b"",
        "a pickle": pickle.dumps({"state_dict": {}}),
    }
    last.write_bytes(content[damage]) if damage in content else last.mkdir()
    assert newest_checkpoint(tmp_path) == tmp_path / "step=3.ckpt"
    assert newest_checkpoint(tmp_path / "none") is None
    assert torch.equal(train(tmp_path, Line()).weight, torch.ones(STEPS))


class Harm:
    """When its pickle is executed, it raises ZeroDivisionError."""

    def __reduce__(self) -> Any:
        return eval, ("1 / 0",)


@pytest.mark.parametrize(
    "content", [{"state_dict": {}}, [1], {"state_dict": Harm()}], ids=["no weights", "a list", "code"]
)
def test_a_checkpoint_of_another_program_is_named_and_not_executed(tmp_path, content):
    torch.save(content, tmp_path / "last.ckpt")
    with pytest.raises(
        UserError, match=f"^{tmp_path / 'last.ckpt'} cannot be used as a checkpoint: .*Delete it"
    ):
        train(tmp_path, Line())


def test_a_training_resumes_from_the_link_to_its_newest_checkpoint(tmp_path):
    with pytest.raises(SystemExit):
        train(tmp_path, Line(2, send(signal.SIGTERM)))
    (tmp_path / "last.ckpt").rename(tmp_path / "step=3.ckpt")
    (tmp_path / "last.ckpt").symlink_to("step=3.ckpt")
    assert newest_checkpoint(tmp_path) == tmp_path / "last.ckpt"
    (tmp_path / "step=3.ckpt").rename(tmp_path / "step=4.ckpt")
    assert newest_checkpoint(tmp_path) == tmp_path / "step=4.ckpt", "a link to nothing is passed over"


def forked(count: int, function: Callable[[int], Any]) -> list[int]:
    """Exit statuses of `count` processes that call `function(rank)`, each in a session of its own."""
    children = []
    for rank in range(count):
        child = os.fork()
        if child == 0:
            os.setsid()
            status = 1
            try:
                function(rank)
                status = 0
            except SystemExit as end:
                status = int(end.code or 0)
            finally:
                os._exit(status)
        children.append(child)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


@pytest.mark.alone
def test_processes_that_read_batches_get_the_signal_too(tmp_path):
    """SLURM sends it to every process of a step."""
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        folder = tmp_path / number.name
        to_all = Line(2, lambda: os.killpg(0, number))  # noqa: B023
        assert forked(1, lambda rank: train(folder, to_all, workers=1)) == [143], number  # noqa: B023
        assert torch.load(folder / "last.ckpt", weights_only=True)["global_step"] == 3


@pytest.mark.alone
def test_two_processes_stop_after_the_same_step_though_one_has_the_signal(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def run(rank: int) -> None:
        dist.broadcast = lambda *_, **__: pytest.fail("Lightning asks in every step, and a GPU waits for it")
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        task = Line(2, send(signal.SIGUSR1) if rank == 1 else None)
        started = Started(Rank(rank, 2, rank))
        train(tmp_path, task, devices=2, strategy="ddp", plugins=[started])

    assert forked(2, run) == [143, 143]
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 3
