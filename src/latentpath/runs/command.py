"""One record a command: the facts about it that the command line, stages, sweeps and checks share.

The records themselves stand in `latentpath.commands`. Whatever below it needs a fact about a command is given
the record, so that no other table of commands exists.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from latentpath.config.schema import Config


@dataclass(frozen=True)
class Result:
    """The number that a command returns, by which a sweep compares its jobs."""

    label: str
    direction: str  # which way is better: "minimize" or "maximize"


def _nothing(cfg: Config) -> tuple[()]:
    return ()


def always(cfg: Config) -> bool:
    return True


def never(cfg: Config) -> bool:
    return False


@dataclass(frozen=True)
class Command:
    """`latentpath <name>`. A command that makes a stage writes the folder `<run>/<name>`."""

    name: str
    help: str  # its line in `latentpath --help`
    takes_config: bool = True  # else it parses its own arguments
    # Stages whose finished work it reads.
    upstream: Callable[[Config], tuple[Command, ...]] = _nothing
    # Keys and sections of the configuration that decide its result. A change elsewhere leaves it complete.
    decided_by: tuple[str, ...] = ()
    # Does it need dataset.root?
    reads_images: Callable[[Config], bool] = never
    # Downloaded weights that it loads: "base", "classifier", "metrics" (see runs.weights.needed).
    weights: Callable[[Config], tuple[str, ...]] = _nothing
    # It loads them even when its stage is complete, to see that they are the same.
    compares_weights: bool = False
    # Every process of a job takes part; in the other commands the first one works alone.
    parallel: bool = False
    # Config sections whose `batch_size` the processes share. They are connected by torch.distributed.
    batches: tuple[str, ...] = ()
    # `run` may take its stage from another run (`from_run`) instead of making it.
    reusable: bool = False
    result: Result | None = None
    stages: tuple[Command, ...] = ()  # of `run`: the commands that it calls, in order
