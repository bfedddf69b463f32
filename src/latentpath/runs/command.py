"""The record type of a command: facts that the command line, stages, sweeps and checks share.

The records themselves are in `latentpath.commands`. Code below that room receives the record of a command as
an argument, so there is only one table of commands.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from latentpath.config.schema import Config


@dataclass(frozen=True)
class Result:
    """The number that a command returns: its name, and which way is better; a sweep compares jobs by it."""

    label: str
    direction: str  # which way is better: "minimize" or "maximize"


def _nothing(cfg: Config) -> tuple[()]:
    return ()


def always(cfg: Config) -> bool:
    """Return True, whatever `cfg` is."""
    return True


def never(cfg: Config) -> bool:
    """Return False, whatever `cfg` is."""
    return False


@dataclass(frozen=True)
class Command:
    """The command `latentpath <name>`. If it makes a stage, it writes the folder `<run>/<name>`."""

    name: str
    help: str  # its line in `latentpath --help`
    takes_config: bool = True  # False: it parses its own arguments
    # Stages that it reads; they must be complete.
    upstream: Callable[[Config], tuple[Command, ...]] = _nothing
    # Config keys and sections that affect its result. Changes elsewhere do not invalidate its stage.
    decided_by: tuple[str, ...] = ()
    # Whether it needs dataset.root.
    reads_images: Callable[[Config], bool] = never
    # Downloaded weights that it loads: "base", "classifier", "metrics" (see runs.weights.needed).
    weights: Callable[[Config], tuple[str, ...]] = _nothing
    # Whether it loads them even if its stage is complete, to check that they have not changed.
    compares_weights: bool = False
    # Whether all processes of a job take part; otherwise rank 0 works alone.
    parallel: bool = False
    # Config sections whose `batch_size` the processes split. torch.distributed connects these processes.
    batches: tuple[str, ...] = ()
    # Whether `run` may reuse its stage from another run (`from_run`).
    reusable: bool = False
    result: Result | None = None
    # For `run`: the commands that it calls, in order.
    stages: Callable[[Config], tuple[Command, ...]] = _nothing

    @property
    def called(self) -> str:
        """The command that a user calls to make the stage, such as `sliders` for the stage sliders/hair."""
        return self.name.partition("/")[0]
