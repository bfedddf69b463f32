"""Progress bars with the same look for our own long loops and for Lightning's."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

if TYPE_CHECKING:
    from lightning import LightningModule, Trainer
    from lightning.pytorch.callbacks import Callback


def on_terminal() -> bool:
    """Return whether standard error is a terminal that can show a moving bar."""
    return Console(stderr=True).is_terminal


@contextmanager
def bar(description: str, total: int, *, show: bool = True) -> Iterator[Callable[[int], object]]:
    """Show a bar of `total` units on standard error; yield a function that advances it by n units.

    Without a terminal it prints a line at every tenth, so that logs show progress too. With `show` false, for
    ranks other than 0, it prints nothing.
    """
    if not show:
        yield lambda count=1: None
        return
    if not on_terminal():
        yield _lines(description, total)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(description, total=total)
        yield lambda count=1: progress.advance(task, count)


def lightning_bar() -> Callback:
    """Return Lightning's progress bar on a terminal, else a callback that prints every tenth."""
    from lightning.pytorch.callbacks import Callback, RichProgressBar

    if on_terminal():
        return RichProgressBar(refresh_rate=10, leave=True)  # a refresh reads the loss, which stalls a GPU

    class Lines(Callback):
        def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            name = type(pl_module).__name__
            batches = trainer.num_training_batches * max(1, trainer.max_epochs or 1)
            steps = trainer.max_steps if trainer.max_steps > 0 else batches
            self.advance, self.seen = _lines(f"{name} steps", int(steps)), trainer.global_step
            self.advance(self.seen)

        def on_train_batch_end(
            self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
        ) -> None:
            self.advance(trainer.global_step - self.seen)
            self.seen = trainer.global_step

    return Lines()


def _lines(description: str, total: int) -> Callable[[int], object]:
    done = 0

    def advance(count: int = 1) -> None:
        nonlocal done
        before, done = done, done + count
        if count and before * 10 // max(total, 1) != done * 10 // max(total, 1):
            print(f"{description}: {done}/{total}", file=sys.stderr, flush=True)

    return advance
