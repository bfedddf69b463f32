"""`latentpath run`: every stage in the order of the data, skipping what is complete."""

from __future__ import annotations

import time
from importlib import import_module
from pathlib import Path

from rich.console import Console

from latentpath.config.schema import Config
from latentpath.runs.ranks import barrier, current_rank
from latentpath.runs.stages import reusable

STAGES = ("classify", "finetune", "traverse", "evaluate", "report")
# Shared among the processes of a job, and taken from another run with from_run where what they are made from
# is; the others take one process and little time.
LONG = {"classify": [], "finetune": [], "traverse": ["finetune"]}


def run(cfg: Config, run_dir: Path) -> float | None:
    """Returns what `evaluate` returns: the mean CFRT (released definition), the number a sweep maximises."""
    rank, reused = current_rank(), dict.fromkeys(LONG, bool(cfg.from_run))
    console, result, began = Console(quiet=not rank.is_zero), None, time.monotonic()
    stages = (["phantom"] if cfg.dataset.phantom.count else []) + list(STAGES)
    for number, stage in enumerate(stages, 1):
        console.rule(f"[bold]{number}/{len(stages)} {stage}", align="left")
        if stage in LONG:
            made_from = LONG[stage] + (["classify"] if stage == "traverse" and cfg.timesteps.bisect else [])
            reused[stage] &= all(reused[s] for s in made_from) and reusable(run_dir, stage, cfg)
            if reused[stage]:
                console.print(f"as in {cfg.from_run}")
                continue
        if rank.is_zero or stage in LONG:
            value = import_module(f"latentpath.commands.{stage}").run(cfg, run_dir)
            result = value if stage == "evaluate" else result
        barrier(rank)
    console.print(
        f"\nAll of it took {time.monotonic() - began:.0f} s. Results: [bold]{run_dir}[/]\n"
        f"Open [bold]{run_dir / 'report' / 'index.html'}[/] in a browser."
    )
    return result
