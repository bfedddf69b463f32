"""File locks, so that only one process at a time makes a stage or a sweep and others wait."""

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
    """Try to lock an open file, exclusively or `shared`; return False if another process holds the lock.

    The lock ends when the file is closed, even if the process is killed. Returns True if the disk or the
    system does not support locks.
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
    """Hold the lock file `path` within the block; wait, with a message, while another process holds it.

    With `shared`, other processes may hold it at the same time. The file names the process that holds it, and
    is removed at the end.
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
            if not shared or locked(file):  # the last of the processes that share it
                path.unlink(missing_ok=True)


def _locked_file(path: Path, *, shared: bool) -> IO[str]:
    """Open and lock the file; retry if its last holder has removed it in the meantime."""
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
