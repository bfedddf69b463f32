"""Temporary names beside a file or folder, and the removal of what a killed process has left under them."""

from __future__ import annotations

import os
import re
import shutil
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from socket import gethostname

_PATTERN = re.compile(r"\..+\.\d+\.[0-9a-f]{6}")  # what `temporary_beside` makes


def temporary_beside(path: Path) -> Path:
    """Return a hidden path beside `path` that is unique to this process and not too long for the disk.

    It names this machine and process, so that `remove_abandoned` finds it if the process is killed. Every
    file and folder that is not written under its final name gets its name here.
    """
    return path.with_name(f".{path.name[-40:]}.{gethostname()[:40]}.{os.getpid()}.{token_hex(3)}")


def is_abandoned(path: Path) -> bool:
    """Return whether `path` is a temporary file or folder of a process that has ended on this machine.

    A file with the id of this process is from an earlier process with the same id, because the caller is not
    writing. The files of other machines are never called abandoned.
    """
    if not _PATTERN.fullmatch(path.name):
        return False
    before, _, process = path.name.rpartition(".")[0].rpartition(".")
    if not before.endswith(f".{gethostname()[:40]}"):  # a host name may contain dots
        return False
    return int(process) == os.getpid() or not is_alive(int(process))


def remove_abandoned(folder: Path) -> None:
    """Remove every temporary file and folder below `folder` that a killed process has left there."""
    for place, folders, files in os.walk(folder):  # unlike rglob, os.walk skips what vanishes meanwhile
        for path in (Path(place, name) for name in (*folders, *files)):
            if is_abandoned(path):
                remove(path)


def remove_abandoned_beside(path: Path) -> None:
    """Remove every temporary file and folder for `path` itself that a killed process has left beside it."""
    with os.scandir(path.parent) as found:
        names = [entry.name for entry in found if entry.name.startswith(f".{path.name[-40:]}.")]
    for name in names:
        if is_abandoned(path.with_name(name)):
            remove(path.with_name(name))


def is_alive(process: int) -> bool:
    """Return whether a process with this id runs on this machine; a zombie does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (OSError, IndexError):  # no such process, or a system without /proc
        pass
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def remove(path: Path) -> None:
    """Remove a file, a folder with its content, or a symbolic link but not what it points to.

    A folder is renamed first, so that a process that is killed never leaves half of it under its name.
    """
    if path.is_dir() and not path.is_symlink():
        aside = temporary_beside(path)
        try:
            path.rename(aside)
        except OSError:  # a mounted folder, or one above it that cannot be written to
            aside = path
        shutil.rmtree(aside, ignore_errors=True)
    else:
        with suppress(FileNotFoundError, NotADirectoryError):  # the second: a file lies where its folder was
            path.unlink()
