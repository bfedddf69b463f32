"""Logs the numbers of a training or an evaluation to a CSV file and, if configured, to a tracker.

Every record holds the configuration, the git commit and package versions. No record holds a path, user, host
or command line, because these can identify patients or people.
"""

from __future__ import annotations

import logging
import os
import re
import uuid
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from numpy.typing import NDArray

from latentpath.config.schema import Config, LoggerConfig
from latentpath.config.written import flat
from latentpath.runs.files import Json, write_text
from latentpath.runs.metrics_file import MetricsFile
from latentpath.runs.provenance import facts
from latentpath.runs.ranks import SINGLE, Rank

log = logging.getLogger(__name__)


def build_loggers(
    logger_cfg: LoggerConfig,
    stage_path: Path,
    run_name: str,
    *,
    config: Config | None = None,
    rank: Rank = SINGLE,
) -> list[Logger]:
    """Return a CSV logger (`stage_path/metrics.csv`) and the logger `logger_cfg.name`, on rank 0 only.

    wandb: online if WANDB_MODE or an API key says so, else offline in `stage_path/wandb`. tensorboard: event
    files in `stage_path/tensorboard`. mlflow: MLFLOW_TRACKING_URI, else `mlflow.db` beside the run's folder.
    A resumed stage continues the same record. `config` without paths, the git commit and versions go to each
    logger and to `stage_path/run.yaml`. `preflight.check_tracker` says ahead what a tracker lacks.
    """
    if not rank.is_zero:
        return []
    made_by = facts(config)
    write_text(stage_path / "run.yaml", yaml.safe_dump(made_by, sort_keys=False, allow_unicode=True))
    loggers: list[Logger] = [MetricsFile(stage_path)]
    builders = {"wandb": _wandb, "tensorboard": _tensorboard, "mlflow": _mlflow}
    if logger_cfg.name in builders:
        name = f"{run_name}/{stage_path.name}"
        tracker: Any = builders[logger_cfg.name](logger_cfg.project, stage_path, name, made_by)  # Any: one
        tracker.takes_images = logger_cfg.images
        loggers.append(tracker)
    return loggers


def log_figures(loggers: Sequence[Logger], figures: Mapping[str, object], step: int = 0) -> None:
    """Log nested `figures` to all `loggers` under names such as `cfrt_mean/swap/released`, then close them.

    Values that are not numbers are left out. Names contain only characters that every tracker accepts.
    """
    numbers = {
        re.sub(r"[^\w/. -]", "_", name, flags=re.ASCII): float(value)
        for name, value in flat(figures, separator="/")
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    for logger in loggers:
        logger.log_metrics(numbers, step)
        logger.finalize("success")


def log_images(
    loggers: Sequence[Logger], name: str, pixels: NDArray[np.uint8], *, columns: Sequence[str], step: int
) -> None:
    """Log `pixels` (rows, columns, 3, h, w) to wandb as single images and to TensorBoard as one grid.

    columns: a caption for each column. Without logger.images=true nothing is logged, because a fine-tuned
    model can reproduce a patient from its training data.
    """
    pixels = pixels.transpose(0, 1, 3, 4, 2)  # (rows, columns, h, w, 3)
    rows, across, h, w, _ = pixels.shape
    for logger in loggers:
        if not getattr(logger, "takes_images", False):
            continue
        if isinstance(logger, WandbLogger):
            import wandb

            # Not wandb.Table, which stores its images in the home folder and records absolute paths.
            captioned = [
                wandb.Image(cell, caption=f"{column} ({row})")
                for row, line in enumerate(pixels)
                for column, cell in zip(columns, line, strict=True)
            ]
            logger.experiment.log({name: captioned, "trainer/global_step": step})
        elif isinstance(logger, TensorBoardLogger):
            sheet = pixels.transpose(0, 2, 1, 3, 4).reshape(rows * h, across * w, 3)
            logger.experiment.add_image(name, sheet, step, dataformats="HWC")
            logger.experiment.flush()  # the training may have closed it


def _wandb(project: str, stage_path: Path, run_name: str, made_by: Json) -> Logger:
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # crash reports contain paths
    import wandb

    if wandb.run is not None:
        wandb.finish()  # the run of an earlier stage in this process, which Lightning would continue
    mode = os.environ.get("WANDB_MODE")
    if not mode:
        mode = "online" if wandb.login(prompt=False, verify=False) else "offline"
    # Command lines, console output and host details can contain names of patients' files.
    private = wandb.Settings(
        console="off",
        silent=True,
        host="-",
        save_code=False,
        disable_code=True,
        disable_git=True,
        x_disable_meta=True,
        x_disable_machine_info=True,
        x_save_requirements=False,
    )
    logger = WandbLogger(
        name=run_name,
        project=project,
        save_dir=stage_path,
        id=_record_id(stage_path),
        mode=mode,
        settings=private,
    )
    logger._wandb_init.pop("anonymous", None)  # wandb warns about it regardless of its value
    logger.log_hyperparams(made_by)
    if mode == "offline":
        log.info("wandb is offline; to upload: wandb sync %s", stage_path / "wandb" / "offline-run-*")
    return logger


def _tensorboard(project: str, stage_path: Path, run_name: str, made_by: Json) -> Logger:
    logger = TensorBoardLogger(stage_path, name="tensorboard", version="", default_hp_metric=False)
    for name, part in made_by.items():
        text = yaml.safe_dump(part, sort_keys=False, allow_unicode=True)
        logger.experiment.add_text(name, "    " + text.replace("\n", "\n    "))  # Markdown's code block
    log.info("to view: tensorboard --logdir %s", stage_path.parents[1])
    return logger


def _mlflow(project: str, stage_path: Path, run_name: str, made_by: Json) -> Logger:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    for chatty in ("mlflow", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    database = (stage_path.parents[1] / "mlflow.db").absolute()
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{database}"
    file = stage_path / "mlflow_run_id"
    run_id = _mlflow_run(uri, project, file.read_text() if file.exists() else None, run_name)
    write_text(file, run_id)
    logger = MLFlowLogger(experiment_name=project, run_name=run_name, tracking_uri=uri, run_id=run_id)
    client = logger.experiment
    # Parameters can be written only once; a resumed run may have another commit, so that goes to tags.
    if not client.get_run(run_id).data.params:
        logger.log_hyperparams(made_by["config"])
    for part in ("git", "versions"):
        for key, value in made_by[part].items():
            client.set_tag(run_id, f"{part}.{key}", str(value))
    if uri.startswith("sqlite:"):
        log.info("to view: %s ui --backend-store-uri %s", _mlflow_program(), uri)
    return logger


def _mlflow_run(uri: str, project: str, run_id: str | None, run_name: str) -> str:
    """Return the id of the run to resume, or of a new run.

    Lightning does not create the run, because it would tag it with the user's name and the script's path.
    """
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    client = MlflowClient(uri)
    if run_id is not None:
        try:
            return client.get_run(run_id).info.run_id
        except MlflowException:
            log.warning("MLflow: run %s is no longer at %s; a new one begins", run_id, uri)
    found = client.get_experiment_by_name(project)
    if found is not None and found.lifecycle_stage != "deleted":
        experiment = found.experiment_id
    else:
        # No artefacts are stored; the default location would record a folder of this machine.
        rank = "mlflow-artifacts:/latentpath" if uri.startswith("sqlite:") else None
        experiment = client.create_experiment(project, artifact_location=rank)
    return client.create_run(experiment, tags={}, run_name=run_name).info.run_id


def _mlflow_program() -> str:
    """Return the command of MLflow's user interface, run by uv because full mlflow restricts pyarrow."""
    try:
        version("mlflow")
        return "mlflow"
    except PackageNotFoundError:
        return f"uvx mlflow@{version('mlflow-skinny')}"


def _record_id(stage_path: Path) -> str:
    """Return the random id of this folder's record, which is stored so that a resumed run continues it."""
    file = stage_path / "wandb_run_id"
    if not file.exists():
        write_text(file, uuid.uuid4().hex[:12])
    return file.read_text()
