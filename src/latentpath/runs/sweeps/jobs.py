"""What all jobs of a sweep (-m) have in common: early checks, a record in each folder, one table at the end.

A job writes its record into its own folder, wherever it runs. So the table, and a sweep that goes on after a
kill, know of all jobs: those of earlier starts, of other processes and of other machines.
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
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import OmegaConf

from latentpath.config.schema import Config
from latentpath.errors import UserError
from latentpath.runs.command import Command
from latentpath.runs.files import write_json
from latentpath.runs.locks import locked
from latentpath.runs.submitted import STOPPED
from latentpath.runs.sweeps.checks import check_folders
from latentpath.runs.sweeps.records import jobs_of, read_record, say, short
from latentpath.runs.sweeps.table import conclude

LONGEST = 100  # bytes of a folder's name: most disks take 255, but paths have an end too
FAILED = 2  # the exit status of a sweep of which a job failed


def folder_name(overrides: str) -> str:
    """A job's overrides as the name of a folder: itself where it can be one, of a path the last part.

    Where something is left out or replaced a hash of the whole keeps different overrides apart; the same ones
    have the same name at every start. At most LONGEST bytes.
    """
    name = re.sub(r"=[^=,]*/", "=", overrides).replace("/", "-")
    if name == overrides and len(name.encode()) <= LONGEST:
        return name
    digest = hashlib.sha256(overrides.encode()).hexdigest()[:8]
    return name.encode()[: LONGEST - 9].decode(errors="ignore") + f"-{digest}"


# Here, for a job of submitit's imports this module, by Opened, before it asks for its folder.
OmegaConf.register_new_resolver("folder_name", folder_name, replace=True)


def record_job(job: Callable[[str, Config], float | None], command: str, cfg: Config) -> float | None:
    """Call `job`; in a sweep with a record beside its work, and so that the other jobs go on if it fails."""
    from hydra.core.hydra_config import HydraConfig

    hydra = HydraConfig.get()
    if hydra.mode is None or hydra.mode.name != "MULTIRUN" or not _first():
        return job(command, cfg)
    folder = Path(hydra.runtime.output_dir)
    overrides = [str(word) for word in hydra.overrides.task]
    with _alone_in(folder):
        before = read_record(folder, command) or {}
        anew = before.get("overrides") != overrides or bool(cfg.overwrite)
        spent = 0.0 if anew else before.get("seconds", 0.0)
        record: dict[str, Any] = {
            "command": command,
            "overrides": overrides,
            "status": "running",
            "result": None,
            "seconds": spent,
            "first_start": time.time() if anew else before.get("first_start", time.time()),
            "last_start": time.time(),
            "message": "",
        }
        file = folder / f".job_{command}.json"
        write_json(file, record)
        began, ended = time.monotonic(), False
        try:
            value = job(command, cfg)
            ended = before.get("status") == "complete" and not anew  # it only looked at what is there
            finite = value is not None and math.isfinite(value)
            record |= {"status": "complete", "result": value if finite else None}
            return value
        except SystemExit as end:
            stopped = end.code in (*STOPPED, 130)
            why = str(end.__context__ or f"exit status {end.code}")
            record |= {"status": "stopped"} if stopped else {"status": "failed", "message": why}
            if stopped or _of_its_own():
                raise
        except Exception as error:
            record |= {"status": "failed", "message": f"{type(error).__name__}: {error}"}
            if _of_its_own():
                raise
            traceback.print_exc()
        finally:
            record["seconds"] = spent if ended else round(spent + time.monotonic() - began, 2)
            write_json(file, record)
    say(f"job {hydra.job.num} ({short(overrides)}) failed; the sweep goes on")
    return None


def _first() -> bool:
    from latentpath.runs.ranks import current_rank

    try:
        return current_rank().is_zero
    except UserError:
        return True  # the job will say the same, better


def _of_its_own() -> bool:
    """A job of submitit's is a process of its own: its exit status goes to SLURM and to the waiting sweep."""
    return "SUBMITIT_EXECUTOR" in os.environ


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Wait for a job that still works in this folder: its sweep was killed, and started again, but not it."""
    with (folder / ".lock").open("w") as file:
        if not locked(file):
            say(f"another process works in {folder}; waiting for it to end")
            locked(file, wait=True)
        yield  # the lock ends with the open file, also where the process is killed


_opened: list[tuple[Path, str, float]] = []  # folder, sweeper, when


class Opened(Callback):
    """Checks and notes the sweep that Hydra begins: its folders stand in the composed configuration alone."""

    def on_multirun_start(self, config: Any, **kwargs: Any) -> None:
        hydra = config.hydra
        try:
            check_folders(hydra)
        except UserError as error:
            say(str(error))
            raise SystemExit(2) from None  # Hydra makes a warning of any other exception here
        _opened.append((Path(hydra.sweep.dir), hydra.sweeper["_target_"], time.time()))


@contextmanager
def summarize_sweep(command: Command) -> Iterator[None]:
    """After the sweep of `command` in this block, also one that fails: the table, sweep.csv and sweep.svg.

    Not at the end of Hydra's own calls, for they are not made where a sweep fails. Exit status 2 where a job
    of a grid failed; with Optuna a trial may.
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
            if now or (own and done):  # not below the message of a sweep that was refused
                conclude(folder, command, jobs)
            failed |= "optuna" not in sweeper and any(job["status"] == "failed" for job in now)
    if failed:
        raise SystemExit(FAILED)
