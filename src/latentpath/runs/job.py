"""Runs one job: calls a command with its composed configuration after all checks that can come first."""

from __future__ import annotations

import logging
import resource
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from latentpath.config.checks import check
from latentpath.config.names import expand_home
from latentpath.config.overrides import resolve
from latentpath.config.schema import Config
from latentpath.errors import UserError, near
from latentpath.runs.command import Command
from latentpath.runs.submitted import reported

# Libraries whose INFO messages are not about the run.
CHATTY = (
    "httpx",
    "matplotlib",
    "lightning.pytorch.utilities.rank_zero",
    "lightning.fabric.utilities.rank_zero",
    "openTSNE",
    "PIL",
    "fsspec",
)
# Expected warnings: small data without workers, a machine that also has SLURM, Lightning's internals.
EXPECTED_WARNINGS = (
    ".*does not have many workers.*|The `srun` command is available.*|.*LeafSpec.*|.*treespec.*"
)


# What libraries say, in lower case, where memory or the right to start a thread has run out.
SHORT_OF_MEMORY = (
    "can't start new thread",
    "cannot allocate memory",
    "can't allocate memory",
    "could not create a primitive",
    "out of memory",
    "bad_alloc",
    "failed to map segment",  # of a library that is being imported
)


LEAST_ADDRESSES = 1_000_000_000  # bytes


@reported()
def run_job(
    command: Command, function_of: Callable[[Command], Callable[[Config, Path], float | None]], cfg: Config
) -> float | None:
    """Check `cfg`, join the job's processes, and return the result of the command's function.

    `function_of` imports that function, which takes seconds, so it is called after the checks. Exits with
    status 2 after a mistake that the user can fix, and with 130 after Ctrl-C.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", force=True)
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=EXPECTED_WARNINGS)
    try:
        with saying_lack_of_memory():
            return _checked(command, function_of, cfg)
    except UserError as error:
        fail(error)
    except KeyboardInterrupt:
        print("\nlatentpath: interrupted; the same command continues from here", file=sys.stderr)
        raise SystemExit(130) from None


def check_addresses() -> None:
    """Raise UserError under a limit of addresses in which PyTorch, or even SciPy, cannot be imported.

    Some libraries try again for minutes before they fail.
    """
    allowed, _ = resource.getrlimit(resource.RLIMIT_AS)
    if allowed != resource.RLIM_INFINITY and allowed < LEAST_ADDRESSES:
        raise UserError(
            f"this shell allows a process {allowed / 1e9:.1f} GB of addresses, and importing PyTorch takes "
            "more than 1 GB. Raise the limit: ulimit -v unlimited."
        )


@contextmanager
def saying_lack_of_memory() -> Iterator[None]:
    """Raise UserError if memory has run out, in whatever words a library says so."""
    try:
        yield
    except (MemoryError, ImportError, RuntimeError, OSError) as error:
        lines = [line for line in str(error).splitlines() if any(s in line.lower() for s in SHORT_OF_MEMORY)]
        if not lines and not isinstance(error, MemoryError):
            raise
        said = next(iter(lines), str(error)).strip()[:200]
        raise UserError(
            f"memory has run out{f' ({said})' if said else ''}. Give smaller batches (batch_size=...), end "
            "other programs, or raise the limit (ulimit -v). Then run the same command again: what is "
            "finished stays."
        ) from None


def _checked(
    command: Command, function_of: Callable[[Command], Callable[[Config, Path], float | None]], cfg: Config
) -> float | None:
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    from latentpath.runs.preflight import check_ahead
    from latentpath.runs.ranks import SINGLE, agree, check_launch, connected, current_rank

    resolve(cfg)
    expand_home(cfg)
    check(cfg, reads_images=command.reads_images)
    if cfg.from_run is not None:
        _check_from_run(cfg.from_run, Path(cfg.output_dir))
    rank, hydra = current_rank(), HydraConfig.get()
    together = rank if command.batches else SINGLE
    if command.batches:
        check_launch(cfg, command, rank, hydra)
    elif not rank.is_zero and not command.parallel:
        return None  # rank 0 does all the work
    run_dir = Path(hydra.runtime.output_dir)
    check_ahead(cfg, command, run_dir)
    with connected(together, accelerator=cfg.trainer.accelerator):
        agree(OmegaConf.to_yaml(cfg, resolve=True), together)
        return function_of(command)(cfg, run_dir)


def _check_from_run(name: str, outputs: Path) -> None:
    """Raise UserError unless there is a run of this name in `outputs`."""
    if not (outputs / name).is_dir():
        runs = [path.name for path in outputs.glob("*") if path.is_dir() and not path.name.startswith(".")]
        there = near(name, runs) if runs else " It holds no run yet."
        raise UserError(f"from_run is {name!r}, expected a run in {outputs}.{there}")


def fail(error: UserError) -> NoReturn:
    """Show the error as one message and end the process with status 2."""
    print(f"latentpath: {error}", file=sys.stderr)
    raise SystemExit(2)
