"""Where a training run's numbers go: always a CSV file, and one of the trackers besides."""

from __future__ import annotations

import csv
import os
import uuid
import warnings
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from latentpath.errors import UserError


def build_loggers(logger_cfg: Any, stage_path: Path, run_name: str) -> list[Logger]:
    """A CSV logger (`stage_path/metrics.csv`), then the one that `logger_cfg.name` asks for.

    wandb: synchronised where WANDB_MODE or an API key says so, else offline in `stage_path/wandb`.
    tensorboard: event files in `stage_path/tensorboard`. mlflow: MLFLOW_TRACKING_URI, else `mlflow.db` beside
    the run's folder. A resumed stage goes on in the same record.
    Raises UserError where the tracker is not installed, naming the extra that installs it.
    """
    # The folder is the stage's, and ContinuedCSV does not lose the file that it says it will delete.
    warnings.filterwarnings("ignore", message="Experiment logs directory .* exists and is not empty")
    loggers: list[Logger] = [ContinuedCSV(stage_path)]
    builders = {"wandb": _wandb, "tensorboard": _tensorboard, "mlflow": _mlflow}
    if logger_cfg.name in builders:
        try:
            loggers.append(
                builders[logger_cfg.name](logger_cfg.project, stage_path, f"{run_name}/{stage_path.name}")
            )
        except ModuleNotFoundError as error:
            what = "wandb" if logger_cfg.name == "wandb" else "'latentpath[trackers]'"
            raise UserError(
                f"logger={logger_cfg.name}: not installed ({error.name or error}); run `pip install {what}`"
            ) from error
    return loggers


class ContinuedCSV(CSVLogger):
    """CSVLogger, but it continues the file of an interrupted run; rows logged again replace theirs."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, name="", version="", flush_logs_every_n_steps=1)
        file = folder / "metrics.csv"
        self._earlier: list[dict[str, str]] = []
        if file.exists():
            with file.open(newline="") as lines:
                self._earlier = list(csv.DictReader(lines))

    @rank_zero_only
    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        earlier, self._earlier = self._earlier, []
        for row in earlier:
            if step is not None and int(row["step"]) < step:
                values = {key: float(text) for key, text in row.items() if key != "step" and text}
                self.experiment.log_metrics(values, int(row["step"]))
        super().log_metrics(metrics, step)


def _wandb(project: str, stage_path: Path, run_name: str) -> Logger:
    import wandb

    if wandb.run is not None:
        wandb.finish()  # an earlier stage's in this process, which Lightning would go on with
    mode = os.environ.get("WANDB_MODE")
    if not mode:
        mode = "online" if wandb.login(prompt=False, verify=False) else "offline"
    # Command lines, console output and host details can name patients' files.
    private = wandb.Settings(
        console="off",
        silent=True,
        disable_code=True,
        disable_git=True,
        x_disable_meta=True,
        x_disable_machine_info=True,
    )
    return WandbLogger(
        name=run_name,
        project=project,
        save_dir=stage_path,
        id=_record_id(stage_path),
        mode=mode,
        settings=private,
    )


def _tensorboard(project: str, stage_path: Path, run_name: str) -> Logger:
    return TensorBoardLogger(stage_path, name="tensorboard", version="")


def _mlflow(project: str, stage_path: Path, run_name: str) -> Logger:
    database = (stage_path.parents[1] / "mlflow.db").absolute()
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{database}"
    file = stage_path / "mlflow_run_id"
    # a server keeps artifacts its own way, and has no use for a folder of this machine
    artifacts = (stage_path / "mlflow").absolute().as_uri() if uri.startswith("sqlite:") else None
    logger = MLFlowLogger(
        experiment_name=project,
        run_name=run_name,
        tracking_uri=uri,
        artifact_location=artifacts,
        run_id=file.read_text() if file.exists() else None,
    )
    if not file.exists() and rank_zero_only.rank == 0 and logger.run_id:
        file.write_text(logger.run_id)
    return logger


def _record_id(stage_path: Path) -> str:
    """Random, and the same whenever this folder is trained again: it joins a resumed run to its record."""
    file = stage_path / "wandb_run_id"
    if not file.exists():
        file.write_text(uuid.uuid4().hex[:12])
    return file.read_text()
