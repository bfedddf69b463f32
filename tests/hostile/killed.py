"""Runs each stage many times, each time in a fork that is killed, at a random write or at a random instant.

`python killed.py KILLS SECONDS SEED OUTPUTS STAGE... -- OVERRIDES...`: torch and the commands are imported
once, so that a kill costs no more than the work of the stage. A stage that is complete before it was killed
KILLS times is removed and begun anew. After its kills, or after one and its share of SECONDS, the same
line is called once more and left to finish. Prints one JSON line: what was killed where, and the exit status
of each other call.
"""

from __future__ import annotations

import builtins
import json
import os
import random
import shutil
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


def forked(
    words: list[str],
    *,
    limit: int = 0,
    after: float = 0.0,
    log: Path,
    press: Callable[[], object] = lambda: None,
    errors: Path | None = None,
) -> int:
    """Call `latentpath words` in a fork, killed at a write or after so many seconds: its wait status.

    press: called in the fork before the command, to take something from it. errors: where its stderr goes.
    """
    child = os.fork()
    if child == 0:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
        if errors:
            os.dup2(os.open(errors, os.O_CREAT | os.O_WRONLY | os.O_TRUNC), 2)
        sys.stderr = sys.__stderr__
        press()
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


def import_commands() -> None:
    for command in ("phantom", "classify", "finetune", "traverse", "evaluate", "report"):
        import_module(f"latentpath.commands.{command}")


def attack(
    kills: int, seconds: float, seed: int, outputs: Path, stages: list[str], overrides: list[str]
) -> dict[str, Any]:
    import_commands()
    rng, log = random.Random(seed), outputs / "writes"
    undisturbed, shaken = ([*overrides, f"output_dir={outputs / name}"] for name in ("whole", "shaken"))
    story: dict[str, Any] = {"kills": [], "ends": {}}
    for stage in stages:
        began = time.monotonic()
        story["ends"][f"{stage} undisturbed"] = forked([stage, *undisturbed], log=log)
        took, writes = time.monotonic() - began, int(log.read_text())
        killed = 0
        while killed < kills and (not killed or time.monotonic() - began < seconds / len(stages)):
            how: dict[str, Any] = {"limit": rng.randint(1, writes)}
            if killed % 3 == 2:
                how = {"after": rng.uniform(0, took)}
            status = forked([stage, *shaken], log=log, **how)
            if status == -signal.SIGKILL:
                killed += 1
                story["kills"].append([stage, how])
            elif status == 0:
                shutil.rmtree(outputs / "shaken" / "tiny" / stage)
            else:
                story["ends"][f"{stage} after {killed} kills, {how}"] = status
                break
        story["ends"][stage] = forked([stage, *shaken], log=log)
    return story


if __name__ == "__main__":
    end = sys.argv.index("--")
    kills, seconds, seed, outputs, *stages = sys.argv[1:end]
    story = attack(int(kills), float(seconds), int(seed), Path(outputs), stages, sys.argv[end + 1 :])
    print(json.dumps(story))
