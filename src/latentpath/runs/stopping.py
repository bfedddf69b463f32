"""Stops a training after the current step when a signal arrives: all ranks together, with a checkpoint."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import lightning as L
import torch
import torch.distributed as dist
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.exceptions import SIGTERMException

log = logging.getLogger(__name__)

# SIGTERM: SLURM is about to kill the job. SIGUSR1: the usual choice for `#SBATCH --signal`. SIGUSR2: sent to
# submitit's jobs before their time limit. If several arrive, the last one in this list counts.
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


class StopBetweenSteps(L.Callback):
    """Records a signal when it arrives and acts on it after the current step.

    Lightning and submitit act inside the signal handler. There a step may be half done, and collective calls
    out of order make processes wait forever.
    """

    def __init__(self, last: Path, *, first: bool) -> None:
        self.last, self.first = last, first
        self.received = 0  # 1 + index into SIGNALS; 0: none
        self.agreed = 0  # the same, agreed by all processes
        self.training = False
        self.earlier: dict[signal.Signals, Any] = {}  # Any: the earlier handlers, such as those of submitit
        self.process = os.getpid()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Install the handlers within the block.

        This must happen before data loader workers are forked; otherwise SIGUSR1 would kill them.
        """
        if threading.current_thread() is not threading.main_thread():
            yield  # signal handlers work only in the main thread
            return
        self.earlier = {number: signal.signal(number, self._note) for number in SIGNALS}
        try:
            yield
        finally:
            self.training = False
            for number, handler in self.earlier.items():
                signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def leave(self, trainer: L.Trainer) -> NoReturn:
        """Exit with status 143; before that, rank 0 lets submitit requeue the job."""
        number = SIGNALS[(self.agreed or self.received) - 1]
        requeue, failed = self.earlier.get(signal.SIGUSR2), ""
        log.info("stopped by %s", number.name)
        if number == signal.SIGUSR2 and callable(requeue):
            try:
                requeue(number, None)
            except SystemExit:
                pass  # SLURM has been asked
            except Exception as error:  # too many timeouts, or SLURM does not answer
                failed = str(error)
        if self.agreed:
            # The other ranks wait: if one of them exits first, the launcher may end rank 0 before it asks.
            failed = trainer.strategy.broadcast(failed)
        if failed:
            raise RuntimeError(f"stopped by {number.name}, and not queued again. {failed}")
        raise SystemExit(143)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.training = True
        if self.earlier:  # Lightning has just installed its own handlers
            signal.signal(signal.SIGTERM, self._note)
        # Before each step Lightning asks rank 0 for a signal and reads the answer from the GPU, which waits
        # for the step before. With the handlers above, rank 0 never has one.
        trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        whole = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if whole and self._agree(trainer) and not validates_now(trainer):
            self._save(trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.agreed:
            self._save(trainer)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: object, batch_idx: int
    ) -> None:
        if self.agreed:  # only here, because now Lightning has logged the step
            raise SIGTERMException

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._agree(trainer):
            raise SIGTERMException

    def _note(self, number: int, frame: object) -> None:
        if os.getpid() != self.process:
            return  # a data loader worker, which ends with its parent process
        self.received = max(self.received, 1 + SIGNALS.index(signal.Signals(number)))
        if number == signal.SIGTERM:
            # SLURM also signals data loader workers. They end, and torch's handler would raise for that.
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        # Images are being read, so there is no step to wait for. But a rank that exits can end all ranks, and
        # rank 0 must requeue the job before that.
        if not self.training and (self.first or number != signal.SIGUSR2):
            raise SIGTERMException

    def _agree(self, trainer: L.Trainer) -> int:
        """Return the signal that any rank received. The ranks speak on the host, so that no GPU waits."""
        if trainer.world_size == 1:
            self.agreed = self.received
        elif not self.agreed:
            received = torch.tensor(self.received)
            dist.all_reduce(received, op=dist.ReduceOp.MAX)
            self.agreed = int(received)
        return self.agreed

    def _save(self, trainer: L.Trainer) -> None:
        makers = [c for c in trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint)]
        if not any(maker.every_n_epochs == 0 for maker in makers):
            return  # checkpoints are per epoch: a training cannot resume within one
        for maker in makers:
            if maker.save_last:
                # So that the next checkpoint replaces this one instead of getting a number.
                maker.last_model_path = str(self.last)
        trainer.save_checkpoint(self.last, weights_only=False)
        log.info("checkpoint of step %d: %s", trainer.global_step, self.last)


def validates_now(trainer: L.Trainer) -> bool:
    """Say, at the end of a training batch, whether Lightning validates before the next one.

    A checkpoint should then wait for the end of the validation: Lightning skips the validation of a step when
    it resumes from a checkpoint that was written between the two.
    """
    loop = trainer.fit_loop
    return loop._data_fetcher is not None and loop.epoch_loop._should_check_val_fx(loop._data_fetcher)
