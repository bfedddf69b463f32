"""Short of room, handles, memory or the right to write: one sentence or a result, and nothing is lost."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

STAGES = ("classify", "finetune", "traverse", "evaluate", "report")


@pytest.mark.hostile
def test_a_stage_that_is_short_of_something_says_so_and_is_finished_later(tiny_job, tmp_path, rng, tried):
    script = Path(__file__).with_name("pressed.py")
    done = subprocess.run(
        [sys.executable, script, str(rng.randrange(10**6)), tmp_path, *STAGES, "--", *tiny_job],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    story = json.loads(done.stdout.splitlines()[-1])
    tried("machines", len(story["pressed"]))
    faults = [
        f"{stage} with {name}: status {status}: {errors}"
        for stage, name, status, errors in story["pressed"]
        if status not in (0, 2) or "Traceback" in errors or (status == 2 and "latentpath: " not in errors)
    ]
    assert not faults, f"{len(faults)} of {len(story['pressed'])}\n" + "\n\n".join(faults)
    assert set(story["ends"].values()) == {0}, story["ends"]
