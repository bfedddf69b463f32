"""Loggers write where they should, go on after a kill, and say what to install."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
import pytest

from latentpath.config import LoggerConfig
from latentpath.errors import UserError
from latentpath.tracking import build_loggers


def test_csv_is_always_there(tmp_path: Path):
    (logger,) = build_loggers(LoggerConfig(), tmp_path, "mine")
    logger.log_metrics({"loss": 0.5}, step=3)
    logger.log_metrics({"val": 0.25}, step=4)
    table = pd.read_csv(tmp_path / "metrics.csv")  # on disk at once, before finalize
    assert table["step"].tolist() == [3, 4]
    assert table["loss"].dropna().tolist() == [0.5] and table["val"].dropna().tolist() == [0.25]


def test_csv_goes_on_after_a_kill(tmp_path: Path):
    (first,) = build_loggers(LoggerConfig(), tmp_path, "mine")
    for step in range(5):
        first.log_metrics({"loss": float(step)}, step=step)
    (second,) = build_loggers(LoggerConfig(), tmp_path, "mine")  # resumed from a checkpoint at step 3
    for step in range(3, 7):
        second.log_metrics({"loss": step + 0.5, "lr": 0.1}, step=step)
    table = pd.read_csv(tmp_path / "metrics.csv")
    assert table["step"].tolist() == list(range(7))
    assert table["loss"].tolist() == [0, 1, 2, 3.5, 4.5, 5.5, 6.5]


def test_wandb_is_offline_without_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    wandb = pytest.importorskip("wandb")
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    stage = tmp_path / "outputs" / "mine" / "classify"
    stage.mkdir(parents=True)
    _, logger = build_loggers(LoggerConfig(name="wandb"), stage, "mine")
    try:
        logger.log_metrics({"loss": 0.5}, step=1)
        assert logger.experiment.offline
        assert list((stage / "wandb").glob("offline-run-*"))
    finally:
        wandb.finish()
    _, resumed = build_loggers(LoggerConfig(name="wandb"), stage, "mine")
    assert resumed.version == logger.version


@pytest.mark.parametrize("name", ["tensorboard", "mlflow"])
def test_other_trackers_write_files(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip(name)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    stage = tmp_path / "outputs" / "mine" / "classify"
    stage.mkdir(parents=True)
    for step in (1, 2):  # the second is a resumed run
        _, logger = build_loggers(LoggerConfig(name=name), stage, "mine")
        logger.log_metrics({"loss": 0.5}, step=step)
        logger.finalize("success")
    if name == "tensorboard":
        assert list((stage / "tensorboard").glob("events.*"))
    else:
        assert (tmp_path / "outputs" / "mlflow.db").is_file()
        assert logger.run_id == (stage / "mlflow_run_id").read_text()
        assert len(logger.experiment.get_metric_history(logger.run_id, "loss")) == 2


@pytest.mark.parametrize(
    ("name", "extra"), [("tensorboard", "trackers"), ("mlflow", "trackers"), ("wandb", "wandb")]
)
def test_missing_tracker_names_its_extra(
    name: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr("lightning.pytorch.loggers.mlflow._MLFLOW_AVAILABLE", False)
    monkeypatch.setattr("lightning.fabric.loggers.tensorboard._TENSORBOARD_AVAILABLE", False)
    with pytest.raises(UserError, match=f"(?s)not installed.*pip install .*{extra}"):
        build_loggers(LoggerConfig(name=name), tmp_path, "mine")
