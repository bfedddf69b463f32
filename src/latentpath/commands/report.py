"""`latentpath report`: write tables, figures and one HTML page of an evaluated run, or compare runs."""

import logging
from contextlib import suppress
from pathlib import Path

from latentpath.commands import EVALUATE, REPORT
from latentpath.config.schema import Config
from latentpath.metrics.human_labels import HUMAN
from latentpath.metrics.measures import own_measures
from latentpath.report.artefacts import human_labels_folder, read_run
from latentpath.report.charts import write_figures
from latentpath.report.compare import write_comparison
from latentpath.report.contents import every_chart
from latentpath.report.grids import write_grids
from latentpath.report.label_sheets import write_sheets
from latentpath.report.page import write_report
from latentpath.runs.files import write_csv
from latentpath.runs.stages import check_complete, open_stage

log = logging.getLogger(__name__)


def run(cfg: Config, run_dir: Path) -> None:
    """Write run_dir/report/index.html, its tables, overview.png and one PNG per trajectory.

    `figures` names a format for charts in figures/. `to_label` draws sheets of images for a human to label
    into run_dir/human_labels. Where there are such labels, the report is written again each time. With
    `compare`, it writes compare.html into the first run's report instead.
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
    if cfg.to_label:
        check_complete(run_dir, EVALUATE, cfg, needed_by=REPORT)
        folder = run_dir / "human_labels"
        sheets = write_sheets(read_run(run_dir), folder, cfg.to_label)
        log.info("sheets to label: %d; fill in %s and report again", len(sheets), folder / "labels.csv")
    labelled = (human_labels_folder(run_dir) / "labels.csv").exists()
    with open_stage(run_dir, REPORT, cfg) as stage:
        if not stage.complete or cfg.overwrite or labelled:
            write_grids(run_dir, stage.path)
            write_report(run_dir, stage.path)
            rows = read_run(run_dir).figures.rows
            if len(human := rows[rows["figure"].isin(HUMAN)]):
                write_csv(stage.path / "human_figures.csv", human)
    if cfg.figures:
        for file in write_figures(every_chart(read_run(run_dir)), stage.path / "figures", cfg.figures):
            log.info("wrote %s", file)
