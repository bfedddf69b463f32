"""Runs each stage in forks that are short of something: room, file handles, memory, the right to write.

`python pressed.py SEED OUTPUTS STAGE... -- OVERRIDES...`: what a fork is short of is drawn at random for each
stage. Afterwards the same line is called once more with nothing taken. Prints one JSON line: what was taken
where, how that ended, and the exit status of each last call.
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import resource
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from killed import forked, import_commands

NEW_MOUNTS, READ_ONLY, REMOUNT, BIND, PRIVATE = 0x20000, 1, 32, 4096, 1 << 18


def limited(kind: int, value: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(kind, (value, resource.getrlimit(kind)[1]))


def memory(extra: int) -> Callable[[], None]:
    """Allow only `extra` bytes of address space more than the fork has already."""

    def press() -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limited(resource.RLIMIT_AS, pages * resource.getpagesize() + extra)()

    return press


def mounted(folder: Path, *, kilobytes: int | None) -> Callable[[], None]:
    """Make `folder` read-only, or a disk with its files and so many kilobytes of room; needs root."""

    def press() -> None:
        libc = ctypes.CDLL(None, use_errno=True)

        def call(name: str, *args: Any) -> None:
            if getattr(libc, name)(*args):
                raise OSError(ctypes.get_errno(), f"{name}{args}")

        call("unshare", NEW_MOUNTS)
        call("mount", None, b"/", None, PRIVATE | 16384, None)
        where = str(folder).encode()
        if kilobytes is None:
            call("mount", where, where, None, BIND, None)
            call("mount", where, where, None, BIND | REMOUNT | READ_ONLY, None)
        else:
            small = folder.with_name("small")
            small.mkdir(exist_ok=True)
            used = sum(file.stat().st_blocks // 2 + 4 for file in folder.rglob("*"))
            size = f"size={used + kilobytes}k".encode()
            call("mount", b"tmpfs", str(small).encode(), b"tmpfs", 0, size)
            shutil.copytree(folder, small, dirs_exist_ok=True)
            call("mount", str(small).encode(), where, None, BIND, None)

    return press


def pressures(rng: random.Random, outputs: Path) -> dict[str, Callable[[], None]]:
    """One of each kind, with a random amount."""
    # Smaller files would not even hold the messages of the fork, which are read from a file.
    files, size = rng.randint(20, 60), int(10 ** rng.uniform(3.7, 5.5))
    room, extra = rng.randint(8, 200), int(2 ** rng.uniform(22, 28))  # less, and Hydra cannot compose
    found = {
        f"{files} file handles": limited(resource.RLIMIT_NOFILE, files),
        f"files of {size} bytes": limited(resource.RLIMIT_FSIZE, size),
        f"{extra} bytes of memory": memory(extra),
    }
    if can_mount():
        found["a read-only folder"] = mounted(outputs, kilobytes=None)
        found[f"a disk of {room} kB"] = mounted(outputs, kilobytes=room)
    return found


def can_mount() -> bool:
    """Return whether a fork of this process may mount something."""
    child = os.fork()
    if child == 0:
        try:
            mounted(Path("/tmp"), kilobytes=None)()
            os._exit(0)
        except OSError:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def attack(seed: int, outputs: Path, stages: list[str], overrides: list[str]) -> dict[str, Any]:
    import_commands()
    rng, log, errors = random.Random(seed), outputs / "writes", outputs / "errors"
    pressed = outputs / "pressed"
    pressed.mkdir()
    line = [*overrides, f"output_dir={pressed}"]
    story: dict[str, Any] = {"pressed": [], "ends": {}}
    for stage in stages:
        for name, press in pressures(rng, pressed).items():
            status = forked([stage, *line], log=log, press=press, errors=errors)
            story["pressed"].append([stage, name, status, errors.read_text()[-3000:]])
        story["ends"][stage] = forked([stage, *line], log=log, errors=errors)
    return story


if __name__ == "__main__":
    end = sys.argv.index("--")
    seed, outputs, *stages = sys.argv[1:end]
    print(json.dumps(attack(int(seed), Path(outputs), stages, sys.argv[end + 1 :])))
