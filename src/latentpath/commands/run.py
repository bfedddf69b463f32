"""`latentpath run`: every stage in the order of the data, skipping what is complete."""

from __future__ import annotations

import time
from importlib import import_module
from pathlib import Path
from typing import Any

from rich.console import Console

STAGES = ("classify", "finetune", "traverse", "evaluate", "report")


def run(cfg: Any, run_dir: Path) -> float | None:
    """Returns what `evaluate` returns: the mean CFRT (released definition), the number a sweep maximises."""
    console, result, began = Console(), None, time.monotonic()
    stages = (["phantom"] if cfg.dataset.phantom.count else []) + list(STAGES)
    for number, stage in enumerate(stages, 1):
        console.rule(f"[bold]{number}/{len(stages)} {stage}", align="left")
        value = import_module(f"latentpath.commands.{stage}").run(cfg, run_dir)
        result = value if stage == "evaluate" else result
    console.print(
        f"\nAll of it took {time.monotonic() - began:.0f} s. Results: [bold]{run_dir}[/]\n"
        f"Open [bold]{run_dir / 'report' / 'index.html'}[/] in a browser."
    )
    return result
