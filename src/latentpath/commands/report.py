"""`latentpath report`: tables, figures and one HTML page of a run that was evaluated."""

from pathlib import Path
from typing import Any

from latentpath.report.grids import write_grids
from latentpath.report.page import write_report
from latentpath.stages import open_stage


def run(cfg: Any, run_dir: Path) -> None:
    """Writes run_dir/report/index.html, overview.png and a PNG per trajectory."""
    with open_stage(run_dir, "report", cfg, upstream=["classify", "traverse", "evaluate"]) as stage:
        if stage.complete:
            return
        write_grids(run_dir, stage.path)
        write_report(run_dir, stage.path)
