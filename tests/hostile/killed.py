"""Runs a command many times, each time in a fork that is killed, at a random write or at a random instant.

`python killed.py KILLS SEED OUTPUTS COMMAND... -- OVERRIDES...`: torch and the commands are imported once, so
that a kill costs no more than the work of the stage. After the kills of a command the same line is called
once more and left to finish. Prints one JSON line: what was killed where, and the exit status of each last
call.
"""

from __future__ import annotations

import builtins
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from latentpath.cli import main

# A kill just before or just after one of these leaves the disk in every state that a kill can leave it in.
WRITES = ("replace", "rename", "link", "unlink", "remove", "fsync", "mkdir")


def count_writes(limit: int, log: Path) -> None:
    """Die by SIGKILL at write number `limit` (0: never), and keep the number of writes in `log`."""
    seen, original = 0, builtins.open

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            nonlocal seen
            for moment in ("before", "after"):
                seen += 1
                if seen == limit:
                    os.kill(os.getpid(), signal.SIGKILL)
                if moment == "before":
                    result = function(*args, **options)
            with original(log, "w") as file:
                file.write(str(seen))
            return result

        return call

    for name in WRITES:
        setattr(os, name, counted(getattr(os, name)))

    def opened(file: Any, mode: str = "r", *args: Any, **options: Any) -> Any:
        nonlocal seen
        if set(mode) & set("wax+"):
            seen += 1
            if seen == limit:
                os.kill(os.getpid(), signal.SIGKILL)
        return original(file, mode, *args, **options)

    builtins.open = opened


def forked(words: list[str], *, limit: int = 0, after: float = 0.0, log: Path) -> int:
    """Call `latentpath words` in a fork, killed at a write or after so many seconds: its wait status."""
    child = os.fork()
    if child == 0:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
        sys.stderr = sys.__stderr__
        count_writes(limit, log)
        sys.argv = ["latentpath"]
        status = 1
        try:
            main(words)
            status = 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(status)
    if after:
        time.sleep(after)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def attack(kills: int, seed: int, outputs: Path, commands: list[str], overrides: list[str]) -> dict[str, Any]:
    for command in ("phantom", "classify", "finetune", "traverse", "evaluate", "report"):
        import_module(f"latentpath.commands.{command}")
    rng, log = random.Random(seed), outputs / "writes"
    undisturbed, shaken = ([*overrides, f"output_dir={outputs / name}"] for name in ("whole", "shaken"))
    story: dict[str, Any] = {"kills": [], "ends": {}}
    for command in commands:
        began = time.monotonic()
        story["ends"][f"{command} undisturbed"] = forked([command, *undisturbed], log=log)
        seconds, writes = time.monotonic() - began, int(log.read_text())
        for number in range(kills):
            if number % 3 == 2:
                after = rng.uniform(0, seconds)
                status = forked([command, *shaken], after=after, log=log)
                story["kills"].append([command, f"after {after / seconds:.0%}", status])
            else:
                limit = rng.randint(1, writes)
                status = forked([command, *shaken], limit=limit, log=log)
                story["kills"].append([command, f"write {limit} of {writes}", status])
        story["ends"][command] = forked([command, *shaken], log=log)
    return story


if __name__ == "__main__":
    end = sys.argv.index("--")
    kills, seed, outputs, *commands = sys.argv[1:end]
    print(json.dumps(attack(int(kills), int(seed), Path(outputs), commands, sys.argv[end + 1 :])))
