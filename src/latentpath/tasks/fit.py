"""Trainer.fit that goes on from the last checkpoint and never lets an interruption look like a success."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.utilities.exceptions import SIGTERMException

log = logging.getLogger(__name__)

# Warnings of what is meant: small data without workers, few batches, the folder of a run that goes on.
EXPECTED = (
    ".*does not have many workers.*",
    "The number of training batches .* is smaller than the logging interval.*",
    "Checkpoint directory .* exists and is not empty.*",
    "You.re resuming from a checkpoint that ended before the epoch ended.*",  # our batches know their number
    "Your `IterableDataset` has `__len__` defined.*",
    ".*LeafSpec.*|.*treespec.*",
)


def quiet_lightning() -> None:
    """Warnings only: nothing of absent devices. Lightning's first import resets this."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)


def fit(trainer: L.Trainer, task: L.LightningModule, *, last: Path, **data: Any) -> None:
    """`trainer.fit(task, **data)`, from the checkpoint `last` if it exists.

    Lightning leaves quietly when it is interrupted. Here SIGTERM ends the process with status 143, and Ctrl-C
    raises KeyboardInterrupt; both after Lightning has shut down, so that loggers and processes are closed.
    """
    resume = str(last) if last.exists() else None
    if resume:
        log.info("going on from %s", last)
    try:
        with warnings.catch_warnings():
            for message in EXPECTED:
                warnings.filterwarnings("ignore", message=message)
            trainer.fit(task, ckpt_path=resume, weights_only=True, **data)
    except SIGTERMException:
        raise SystemExit(143) from None
    except SystemExit:
        if trainer.interrupted:
            raise KeyboardInterrupt from None
        raise
