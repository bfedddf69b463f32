"""`latentpath report`: write tables, figures and one HTML page of an evaluated run, or compare runs."""

import logging
from contextlib import suppress
from pathlib import Path

from latentpath.commands import REPORT
from latentpath.config.schema import Config
from latentpath.metrics.measures import own_measures
from latentpath.report.artefacts import read_run
from latentpath.report.charts import write_figures
from latentpath.report.compare import write_comparison
from latentpath.report.contents import every_chart
from latentpath.report.grids import write_grids
from latentpath.report.page import write_report
from latentpath.runs.stages import open_stage

log = logging.getLogger(__name__)


def run(cfg: Config, run_dir: Path) -> None:
    """Write run_dir/report/index.html, its tables, overview.png and one PNG per trajectory.

    `figures` names a format for charts in figures/. With `compare`, it writes compare.html into the first
    run's report instead.
    """
    with own_measures(cfg.metric.measures, cfg.plugins):
        _write(cfg, run_dir)


def _write(cfg: Config, run_dir: Path) -> None:
    if cfg.compare:
        folders = [Path(cfg.output_dir) / name for name in cfg.compare]
        log.info("wrote %s", write_comparison(folders, folders[0] / "report"))
        with suppress(OSError):
            run_dir.rmdir()  # Hydra made it for `name`, which is not used here
        return
    with open_stage(run_dir, REPORT, cfg) as stage:
        if not stage.complete or cfg.overwrite:
            write_grids(run_dir, stage.path)
            write_report(run_dir, stage.path)
    if cfg.figures:
        for file in write_figures(every_chart(read_run(run_dir)), stage.path / "figures", cfg.figures):
            log.info("wrote %s", file)
