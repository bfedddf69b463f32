"""`latentpath run`: run all stages in order, skipping complete ones."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from latentpath.commands import EVALUATE, PHANTOM, RUN, TRAVERSE, function_of
from latentpath.config.schema import Config
from latentpath.errors import UserError
from latentpath.report.artefacts import read_run
from latentpath.report.headline import verdict
from latentpath.runs.command import Command
from latentpath.runs.ranks import barrier, current_rank
from latentpath.runs.stages import reusable, seconds_of


def run(cfg: Config, run_dir: Path) -> float | None:
    """Run all stages and skip complete ones; return what `evaluate` returns.

    With `from_run` a stage is taken from that run if it and all that it reads are the same there. The
    processes of a job share the parallel stages, and in the others they wait for the first one. With
    `dry_run` only the stages and the cost of the sweep are printed.
    """
    rank = current_rank()
    console, result, began = Console(quiet=not rank.is_zero), None, time.monotonic()
    commands = [*([PHANTOM] if cfg.dataset.phantom.count else []), *RUN.stages(cfg)]
    reused = _reused(commands, run_dir, cfg)
    _announce(console, commands, run_dir, {name: f"as in {cfg.from_run}" for name in reused})
    if cfg.dry_run:
        function_of(TRAVERSE)(cfg, run_dir)  # prints the cost of the sweep
        return None
    for number, command in enumerate(commands, 1):
        console.rule(f"[bold]{number}/{len(commands)} {command.name}", align="left")
        if command.name in reused:
            console.print(f"as in {cfg.from_run}", markup=False)
            continue
        if rank.is_zero or command.parallel:
            value = function_of(command)(cfg, run_dir)
            result = value if command is EVALUATE else result
        barrier(rank)
    console.print(f"\nAll stages took {time.monotonic() - began:.0f} s.")
    page = run_dir / "report" / "index.html"
    if rank.is_zero and page.is_file():
        console.print(
            f"Verdict: {escape(verdict(read_run(run_dir)))}\n"
            f"Page:    [bold]{escape(str(page))}[/]\n"
            f"Next:    [bold]latentpath explore {escape(str(run_dir))}[/]   (edit by hand in a browser)",
            soft_wrap=True,
        )
    return result


def _reused(commands: Sequence[Command], run_dir: Path, cfg: Config) -> set[str]:
    """Return the stages that `cfg.from_run` has with the same configuration, as it has all that they read."""
    found: set[str] = set()
    for command in commands if cfg.from_run else ():
        if command.reusable and {up.name for up in command.upstream(cfg)} <= found:
            found |= {command.name} if reusable(run_dir, command, cfg) else set()
    return found


def _announce(
    console: Console, commands: Sequence[Command], run_dir: Path, reused: Mapping[str, str]
) -> None:
    """Say what will be done, what is there already, and how long a stage took last time on this machine."""
    console.print(f"{len(commands)} stages, into [bold]{escape(str(run_dir))}[/]:", soft_wrap=True)
    for command in commands:
        about = f" ({reused[command.name]})" if command.name in reused else _took(run_dir, command.name)
        console.print(f"  {command.name:<10} {command.help}{about}", markup=False, soft_wrap=True)


def _took(run_dir: Path, stage: str) -> str:
    """Say how long a stage took in this run, or in the newest other run beside it; else return nothing."""
    if (own := seconds_of(run_dir / stage)) is not None:
        return f" (complete, took {own:.0f} s)"
    manifests = run_dir.parent.glob(f"*/{stage}/manifest.json")
    for manifest in sorted(manifests, key=lambda file: file.stat().st_mtime, reverse=True):
        with suppress(UserError):  # a damaged manifest of another run does not stop this one
            if (seconds := seconds_of(manifest.parent)) is not None:
                return f" (took {seconds:.0f} s in run {manifest.parents[1].name})"
    return ""
