"""Reads the records that the jobs of a sweep write into their folders."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict, cast

# Keys that are not part of the names of job folders (see conf/base.yaml).
UNNAMED = ("name", "output_dir", "overwrite", "dataset.root", "experiment")


class Record(TypedDict):
    """The record that a job writes: how it was called, and how it ended."""

    command: str
    overrides: list[str]
    status: str  # running, complete, stopped or failed
    result: float | None
    seconds: float  # of all starts
    first_start: float  # seconds since 1970
    last_start: float
    message: str  # why it failed


class Job(Record):
    """A record with the values of its overrides by key, and its folder within that of the sweep."""

    values: dict[str, str]
    folder: str


def read_record(folder: Path, command: str) -> Record | None:
    """Read the record of the job in this folder; None if there is none or it is incomplete."""
    try:
        record = json.loads((folder / f".job_{command}.json").read_text())
    except (OSError, ValueError):
        return None
    return cast(Record, record) if isinstance(record, dict) else None


def short(overrides: Sequence[str]) -> str:
    """Return the overrides that tell jobs apart, as one text."""
    return " ".join(word for word in overrides if word.split("=")[0] not in UNNAMED)


def say(line: str) -> None:
    """Print a line on standard error, under the name of the program."""
    print(f"latentpath: {line}", file=sys.stderr, flush=True)


def jobs_of(folder: Path) -> list[Job]:
    """Return the records of all jobs below a sweep's folder, in the order of their first start."""
    found: list[Job] = []
    for here, folders, files in os.walk(folder):
        own = [name for name in files if name.startswith(".job_") and name.endswith(".json")]
        if own or "manifest.json" in files:
            folders.clear()  # no job is inside another job or a stage
        for name in own:
            record = read_record(Path(here), name.removeprefix(".job_").removesuffix(".json"))
            if record:
                words = (word.partition("=") for word in record["overrides"])
                values = {key: value for key, _, value in words if key not in UNNAMED or key == "experiment"}
                found.append(Job(**record, values=values, folder=Path(here).relative_to(folder).as_posix()))
    return sorted(found, key=lambda job: job["first_start"])
