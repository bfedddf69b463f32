"""Calls Trainer.fit, resumes from the last checkpoint, and never lets an interruption look like a success."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.utilities.exceptions import SIGTERMException

from latentpath.runs.stopping import StopBetweenSteps
from latentpath.training.checkpoints import newest_checkpoint, read_checkpoint

log = logging.getLogger(__name__)

# Expected Lightning warnings: small data without workers, few batches, the folder of a resumed run.
EXPECTED = (
    ".*does not have many workers.*",
    "The number of training batches .* is smaller than the logging interval.*",
    "Checkpoint directory .* exists and is not empty.*",
    "You.re resuming from a checkpoint that ended before the epoch ended.*",  # our batches have numbers
    "Your `IterableDataset` has `__len__` defined.*",
    "You defined a `validation_step` but have no `val_dataloader`.*",
    ".*LeafSpec.*|.*treespec.*",
)


def quiet_lightning() -> None:
    """Show only Lightning's warnings, not its messages about devices; its first import resets this."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)


def fit(
    trainer: L.Trainer,
    task: L.LightningModule,
    *,
    last: Path,
    **data: Any,  # Any: arguments of Trainer.fit
) -> None:
    """Call `trainer.fit(task, **data)`, resuming from the newest checkpoint beside `last` if there is one.

    SIGTERM, SIGUSR1 and SIGUSR2 end the process with status 143 after the step, all processes after the same
    step. A training that makes checkpoints by steps writes one of this step to `last` first. In a job of
    submitit, SIGUSR2 also puts the job back into SLURM's queue. Ctrl-C raises KeyboardInterrupt. All of this
    happens after Lightning has shut down, so that loggers and processes are closed.
    """
    quiet_lightning()  # Lightning would also claim that it requeues on SLURM, which it does not
    resume = newest_checkpoint(last.parent)
    if resume:
        read_checkpoint(
            resume
        )  # raises UserError for a file of another program, where Lightning has a traceback
        log.info("resuming from %s", resume)
    stop = StopBetweenSteps(last, first=trainer.is_global_zero)
    trainer.callbacks.append(stop)  # type: ignore[attr-defined]
    try:
        with warnings.catch_warnings(), stop.listening():
            for message in EXPECTED:
                warnings.filterwarnings("ignore", message=message)
            trainer.fit(task, ckpt_path=resume, weights_only=True, **data)
    except SIGTERMException:
        stop.leave(trainer)
    except Exception:
        if not stop.received:
            raise
        log.exception("after the signal to stop")  # SLURM also sends the signal to data loader workers
        stop.leave(trainer)
    except SystemExit:
        if trainer.interrupted:
            raise KeyboardInterrupt from None
        raise


class Patience(EarlyStopping):
    """Stops after `patience` validations without improvement, also in a run that resumes after that point."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        if self.wait_count >= self.patience:  # a checkpoint keeps the count, not the stop
            trainer.should_stop = True
