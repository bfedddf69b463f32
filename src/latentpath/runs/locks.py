"""Locks between processes: who makes a stage or a sweep, and waiting for it to end."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import gethostname
from typing import IO

from latentpath.runs.files import make_folder, writing


def locked(file: IO[str], *, wait: bool = False, shared: bool = False) -> bool:
    """Take the lock of an open file, alone or `shared` with others; False where another process has it.

    It ends with the open file, so also when the process is killed. True where the disk or the system knows no
    locks.
    """
    try:
        import fcntl
    except ImportError:
        return True
    kind = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
    try:
        fcntl.flock(file, kind)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


@contextmanager
def holding(path: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold the lock file `path` in this block. Waits, and says for whom, while another process holds it.

    With `shared` it is held together with other processes that share it. The file tells who holds it, and is
    removed at the end.
    """
    make_folder(path.parent)
    with writing(path):
        file = _locked_file(path, shared=shared)
    with file:
        if not shared:
            file.truncate(0)
            file.write(f"process {os.getpid()} on {gethostname()}\n")
            file.flush()
        try:
            yield
        finally:
            if not shared or locked(file):  # the last one of those that share it
                path.unlink(missing_ok=True)


def _locked_file(path: Path, *, shared: bool) -> IO[str]:
    """The file, opened and locked, and not one that its last holder has removed meanwhile."""
    while True:
        file = path.open("a+")
        if not locked(file, shared=shared):
            file.seek(0)
            who = file.read().strip() or "another process"
            print(f"latentpath: {path.parent} is in use by {who}; waiting for it to end", file=sys.stderr)
            locked(file, wait=True, shared=shared)
        try:
            if os.fstat(file.fileno()).st_ino == path.stat().st_ino:
                return file
        except FileNotFoundError:
            pass
        file.close()
