"""A lock is held by one process, shared where asked for, and ends with the process."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

import pytest

from latentpath.runs.locks import holding

HOLD = """
import sys
from pathlib import Path
from latentpath.runs.locks import holding
with holding(Path(sys.argv[1]), shared=len(sys.argv) > 2):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def other(tmp_path):
    """A process that holds the lock until its standard input ends."""
    started = []

    def start(*words: str) -> subprocess.Popen:
        command = [sys.executable, "-c", HOLD, str(tmp_path / "it.lock"), *words]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout and process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def in_a_thread(path, **options) -> threading.Event:
    got = threading.Event()

    def hold() -> None:
        with holding(path, **options):
            got.set()

    threading.Thread(target=hold, daemon=True).start()
    return got


@pytest.mark.parametrize("end", ["ends", "is killed"])
def test_the_second_waits_and_says_for_whom_until_the_first_is_gone(tmp_path, other, capfd, end):
    first = other()
    got = in_a_thread(tmp_path / "it.lock")
    assert not got.wait(0.3)
    assert f"in use by process {first.pid} on" in capfd.readouterr().err
    first.stdin.close() if end == "ends" else first.send_signal(signal.SIGKILL)
    assert got.wait(30)


def test_a_shared_lock_is_held_by_several_and_keeps_one_alone_out(tmp_path, other):
    other("shared")
    assert in_a_thread(tmp_path / "it.lock", shared=True).wait(30)
    assert not in_a_thread(tmp_path / "it.lock").wait(0.3)


def test_locks_leave_no_file_behind(tmp_path):
    for shared in (False, True):
        with holding(tmp_path / "it.lock", shared=shared):
            assert (tmp_path / "it.lock").exists()
        assert not list(tmp_path.iterdir())
