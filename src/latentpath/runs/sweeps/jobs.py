"""Runs the jobs of a sweep (-m): early checks, a record in each job's folder, one table at the end.

Each job writes its record into its own folder. So the table and a resumed sweep know all jobs, including
those of earlier starts, other processes and other machines.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from latentpath.config.names import at_home, run_folder
from latentpath.config.schema import Config
from latentpath.errors import UserError
from latentpath.runs.command import Command
from latentpath.runs.files import write_json
from latentpath.runs.locks import locked
from latentpath.runs.submitted import STOPPED
from latentpath.runs.sweeps.checks import check_folders
from latentpath.runs.sweeps.records import Record, jobs_of, read_record, say, short
from latentpath.runs.sweeps.table import conclude

LONGEST = 100  # bytes of a folder name: most disks allow 255, but whole paths are limited too
FAILED = 2  # exit status of a sweep with a failed job


def folder_name(overrides: str) -> str:
    """Turn a job's overrides into a folder name of at most LONGEST bytes; a path keeps its last part only.

    If anything is left out or replaced, a hash of all overrides is appended to keep names distinct. The same
    overrides always give the same name.
    """
    name = re.sub(r"=[^=,]*/", "=", overrides).replace("/", "-")
    if name == overrides and len(name.encode()) <= LONGEST:
        return name
    digest = hashlib.sha256(overrides.encode()).hexdigest()[:8]
    return name.encode()[: LONGEST - 9].decode(errors="ignore") + f"-{digest}"


# Registered here, because a submitit job imports this module (through Opened) before it needs its folder.
OmegaConf.register_new_resolver("folder_name", folder_name, replace=True)
OmegaConf.register_new_resolver("run_folder", run_folder, replace=True)
OmegaConf.register_new_resolver("at_home", at_home, replace=True)


def record_job(job: Callable[[str, Config], float | None], command: str, cfg: Config) -> float | None:
    """Return `job(command, cfg)`; in a sweep, also write a record of the job.

    In a sweep a job that fails returns None, so that the other jobs continue.
    """
    from hydra.core.hydra_config import HydraConfig

    hydra = HydraConfig.get()
    if hydra.mode is None or hydra.mode.name != "MULTIRUN" or not _first():
        return job(command, cfg)
    folder = Path(hydra.runtime.output_dir)
    overrides = [str(word) for word in hydra.overrides.task]
    with _alone_in(folder):
        before = read_record(folder, command)
        if before and (before["overrides"] != overrides or cfg.overwrite):
            before = None
        spent = before["seconds"] if before else 0.0
        record: Record = {
            "command": command,
            "overrides": overrides,
            "status": "running",
            "result": None,
            "seconds": spent,
            "first_start": before["first_start"] if before else time.time(),
            "last_start": time.time(),
            "message": "",
        }
        file = folder / f".job_{command}.json"
        write_json(file, record)
        began, ended = time.monotonic(), False
        try:
            value = job(command, cfg)
            ended = before is not None and before["status"] == "complete"  # it only found complete work
            finite = value is not None and math.isfinite(value)
            record["status"], record["result"] = "complete", value if finite else None
            return value
        except SystemExit as end:
            stopped = end.code in (*STOPPED, 130)
            record["status"] = "stopped" if stopped else "failed"
            record["message"] = "" if stopped else str(end.__context__ or f"exit status {end.code}")
            if stopped or _of_its_own():
                raise
        except Exception as error:
            record["status"], record["message"] = "failed", f"{type(error).__name__}: {error}"
            if _of_its_own():
                raise
            traceback.print_exc()
        finally:
            record["seconds"] = spent if ended else round(spent + time.monotonic() - began, 2)
            write_json(file, record)
    say(f"job {hydra.job.num} ({short(overrides)}) failed; the sweep continues")
    return None


def _first() -> bool:
    from latentpath.runs.ranks import current_rank

    try:
        return current_rank().is_zero
    except UserError:
        return True  # the job itself will report the error better


def _of_its_own() -> bool:
    """Return whether this is a submitit job, whose exit status goes to SLURM and to the waiting sweep."""
    return "SUBMITIT_EXECUTOR" in os.environ


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Wait for an older job in this folder, which may still run after its sweep was killed and restarted."""
    with (folder / ".lock").open("w") as file:
        if not locked(file):
            say(f"another process works in {folder}; waiting for it to end")
            locked(file, wait=True)
        yield  # the lock ends with the open file, even if the process is killed


_opened: list[tuple[Path, str, float]] = []  # folder, sweeper, start time


class Opened(Callback):
    """A Hydra callback that checks and records a sweep at its start, when its folders are known."""

    def on_multirun_start(self, config: DictConfig, **kwargs: object) -> None:
        hydra = config.hydra
        try:
            check_folders(hydra)
        except UserError as error:
            say(str(error))
            raise SystemExit(2) from None  # Hydra would turn any other exception here into a warning
        _opened.append((Path(hydra.sweep.dir), hydra.sweeper["_target_"], time.time()))


@contextmanager
def summarize_sweep(command: Command) -> Iterator[None]:
    """Write the table, sweep.csv and sweep.svg after the sweep within the block, even if it fails.

    Hydra's own callbacks cannot do this, because Hydra skips them if a sweep fails. Exits with status 2 if a
    job of a grid failed; with Optuna, trials may fail.
    """
    done = failed = False
    try:
        yield
        done = True
    finally:
        while _opened:
            folder, sweeper, began = _opened.pop()
            jobs = jobs_of(folder)
            own = [job for job in jobs if job["command"] == command.name]
            now = [job for job in own if job["last_start"] >= began]
            if now or (own and done):  # not after the message of a refused sweep
                conclude(folder, command, jobs)
            failed |= "optuna" not in sweeper and any(job["status"] == "failed" for job in now)
    if failed:
        raise SystemExit(FAILED)
