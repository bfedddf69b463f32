"""Stops a training between two steps when a signal asks for it: with a checkpoint, all processes at once."""

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
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.exceptions import SIGTERMException

log = logging.getLogger(__name__)

# SIGTERM: SLURM is about to kill. SIGUSR1: what `#SBATCH --signal` sends by custom. SIGUSR2: what it sends to
# submitit's jobs before their time is up. Where several came, the last of them here counts.
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


class StopBetweenSteps(L.Callback):
    """Notes a signal when it comes, and acts on it after the step.

    Lightning and submitit act inside the handler. There a step may be half done, and processes that speak to
    each other out of turn wait for ever.
    """

    def __init__(self, last: Path, *, first: bool) -> None:
        self.last, self.first = last, first
        self.received = 0  # 1 + index into SIGNALS; 0: none
        self.agreed = 0  # the same, of all processes
        self.training = False
        self.earlier: dict[signal.Signals, Any] = {}  # the handlers before, such as submitit's
        self.process = os.getpid()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Begins before the processes that read batches are forked: they would die of SIGUSR1 otherwise."""
        if threading.current_thread() is not threading.main_thread():
            yield  # where Python has no handlers
            return
        self.earlier = {number: signal.signal(number, self._note) for number in SIGNALS}
        try:
            yield
        finally:
            self.training = False
            for number, handler in self.earlier.items():
                signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def leave(self, trainer: L.Trainer) -> NoReturn:
        """End with status 143; before that the first process has submitit put the job back into the queue."""
        number = SIGNALS[(self.agreed or self.received) - 1]
        requeue, failed = self.earlier.get(signal.SIGUSR2), ""
        log.info("stopped by %s", number.name)
        if number == signal.SIGUSR2 and callable(requeue):
            try:
                requeue(number, None)
            except SystemExit:
                pass  # SLURM has been asked
            except Exception as error:  # too many time-outs, or SLURM does not answer
                failed = str(error)
        if self.agreed:
            # The others wait: where one that ends takes all with it, the first would not get to ask.
            failed = trainer.strategy.broadcast(failed)
        if failed:
            raise RuntimeError(f"stopped by {number.name}, and not queued again. {failed}")
        raise SystemExit(143)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.training = True
        if self.earlier:  # Lightning has just put its own there
            signal.signal(signal.SIGTERM, self._note)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if (batch_idx + 1) % trainer.accumulate_grad_batches == 0 and self._agree(trainer):
            self._save(trainer)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self.agreed:  # only here, for now Lightning has logged the step
            raise SIGTERMException

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._agree(trainer):
            raise SIGTERMException

    def _note(self, number: int, frame: Any) -> None:
        if os.getpid() != self.process:
            return  # one that reads batches, and ends with the process that it reads for
        self.received = max(self.received, 1 + SIGNALS.index(signal.Signals(number)))
        if number == signal.SIGTERM:
            # SLURM sends it to those that read batches too; they end, at which torch's handler would raise.
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        # Images are being read: there is no step to wait for. But one that ends can take all with it, and the
        # first has to put the job back into the queue before that.
        if not self.training and (self.first or number != signal.SIGUSR2):
            raise SIGTERMException

    def _agree(self, trainer: L.Trainer) -> int:
        """Lightning has the processes speak before every step anyway, so a GPU waits no more for this."""
        if trainer.world_size == 1:
            self.agreed = self.received
        elif not self.agreed:
            received = torch.tensor(self.received, device=trainer.strategy.root_device)
            self.agreed = int(trainer.strategy.reduce(received, reduce_op="max"))
        return self.agreed

    def _save(self, trainer: L.Trainer) -> None:
        makers = [c for c in trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint)]
        if not any(maker.every_n_epochs == 0 for maker in makers):
            return  # they are made by the epoch: nothing goes on from the middle of one
        for maker in makers:
            if maker.save_last:
                maker.last_model_path = str(self.last)  # so that it replaces this one, not numbers the next
        written = self.last.with_name(f".{self.last.name}.written")
        trainer.save_checkpoint(written, weights_only=False)
        if trainer.is_global_zero:
            written.replace(self.last)
        log.info("checkpoint of step %d: %s", trainer.global_step, self.last)
