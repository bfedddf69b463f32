"""Reads the records that the jobs of a sweep write into their folders."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Keys that are not part of the names of job folders (see conf/base.yaml).
UNNAMED = ("name", "output_dir", "overwrite", "dataset.root", "experiment")


def read_record(folder: Path, command: str) -> dict[str, Any] | None:
    """Read the record of the job in this folder; None if there is none or it is incomplete."""
    try:
        record = json.loads((folder / f".job_{command}.json").read_text())
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def short(overrides: Sequence[str]) -> str:
    return " ".join(word for word in overrides if word.split("=")[0] not in UNNAMED)


def say(line: str) -> None:
    print(f"latentpath: {line}", file=sys.stderr, flush=True)


def jobs_of(folder: Path) -> list[dict[str, Any]]:
    """Return the records of all jobs below a sweep's folder, in the order of their first start."""
    found = []
    for here, folders, files in os.walk(folder):
        own = [name for name in files if name.startswith(".job_") and name.endswith(".json")]
        if own or "manifest.json" in files:
            folders.clear()  # no job is inside another job or a stage
        for name in own:
            record = read_record(Path(here), name.removeprefix(".job_").removesuffix(".json"))
            if record:
                found.append({**record, "folder": Path(here).relative_to(folder).as_posix()})
    return sorted(found, key=lambda job: job["first_start"])
