"""Loggers write where they should, go on after a kill, name what made the run, and name nobody."""

from __future__ import annotations

import getpass
import logging
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from latentpath.config.schema import LoggerConfig
from latentpath.evaluation.tracked import log_evaluation
from latentpath.metrics.figure_table import KEY
from latentpath.runs import tracking
from latentpath.runs.files import write_json
from latentpath.runs.provenance import facts, git_state
from latentpath.runs.ranks import Rank
from latentpath.runs.tracking import build_loggers, log_figures, log_images


@pytest.fixture(autouse=True)
def no_servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("WANDB_API_KEY", "WANDB_MODE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    yield
    if wandb := sys.modules.get("wandb"):
        wandb.finish()


@pytest.fixture
def stage(tmp_path: Path) -> Path:
    folder = tmp_path / "outputs" / "mine" / "finetune"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def config(compose) -> Any:
    return compose("finetune", "dataset.root=/data/Jane Doe/scans", "model.name=/home/jane/models/sd15")


def test_the_csv_logger_is_always_on(tmp_path: Path):
    (logger,) = build_loggers(LoggerConfig(), tmp_path, "mine")
    logger.log_metrics({"loss": 0.5}, step=3)
    logger.log_metrics({"val": 0.25}, step=4)
    table = pd.read_csv(tmp_path / "metrics.csv")  # on disk at once, before finalize
    assert table["step"].tolist() == [3, 4]
    assert table["loss"].dropna().tolist() == [0.5] and table["val"].dropna().tolist() == [0.25]


def test_csv_continues_after_an_interruption(tmp_path: Path):
    (first,) = build_loggers(LoggerConfig(), tmp_path, "mine")
    for step in range(5):
        first.log_metrics({"loss": float(step)}, step=step)
    (second,) = build_loggers(LoggerConfig(), tmp_path, "mine")  # resumed from a checkpoint at step 3
    assert len(pd.read_csv(tmp_path / "metrics.csv")) == 5  # nothing is lost before the first new row
    for step in range(3, 7):
        second.log_metrics({"loss": step + 0.5, "lr": 0.1}, step=step)
    table = pd.read_csv(tmp_path / "metrics.csv")
    assert table["step"].tolist() == list(range(7))
    assert table["loss"].tolist() == [0, 1, 2, 3.5, 4.5, 5.5, 6.5]


def test_what_made_the_run_is_noted_without_where(stage: Path, config: Any):
    build_loggers(LoggerConfig(), stage, "mine", config=config)
    text = (stage / "run.yaml").read_text()
    noted = yaml.safe_load(text)
    assert noted["config"]["finetune"]["lr"] == config.finetune.lr
    assert noted["config"]["dataset"]["root"] == "…/scans"
    assert noted["versions"]["torch"] and set(noted["git"]) == {"commit", "dirty"}
    assert "Jane" not in text and "jane" not in text


def test_git_state_gives_commit_and_whether_files_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    unknown = {"commit": None, "dirty": None}
    assert git_state(tmp_path) == unknown  # no repository
    git = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@x"]
    (tmp_path / "__init__.py").touch()
    subprocess.run([*git, "init", "-q"], check=True)
    assert git_state(tmp_path) == unknown  # a repository around it, which does not track it
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-qm", "x"], check=True)
    state = git_state(tmp_path)
    assert re.fullmatch("[0-9a-f]{40}", state["commit"]) and state["dirty"] is False
    (tmp_path / "__init__.py").write_text("x = 1\n")
    assert git_state(tmp_path) == state | {"dirty": True}
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    assert git_state(tmp_path)["commit"] == state["commit"]
    monkeypatch.setenv("PATH", "")
    assert git_state(tmp_path) == unknown  # no git


def test_wandb_is_offline_without_a_key(stage: Path, caplog: pytest.LogCaptureFixture):
    wandb = pytest.importorskip("wandb")
    caplog.set_level(logging.INFO, logger=tracking.__name__)
    _, logger = build_loggers(LoggerConfig(name="wandb"), stage, "mine")
    logger.log_metrics({"loss": 0.5}, step=1)
    assert logger.experiment.offline
    assert list((stage / "wandb").glob("offline-run-*"))
    assert f"wandb sync {stage}" in caplog.text
    wandb.finish()
    _, resumed = build_loggers(LoggerConfig(name="wandb"), stage, "mine")
    assert resumed.version == logger.version


@pytest.mark.parametrize("name", ["wandb", "tensorboard", "mlflow"])
def test_every_tracker_gets_the_same_names_and_the_configuration(name: str, stage: Path, config: Any):
    pytest.importorskip(name)
    _, logger = build_loggers(LoggerConfig(name=name), stage, "mine", config=config)
    log_figures([logger], {"train/loss": 0.5, "cfrt": {"a (b)": 1, "none": None, "yes": True}}, step=2)
    seen, settings, commit = _read(name, logger, stage)
    assert seen == {"train/loss": 0.5, "cfrt/a _b_": 1.0}
    assert float(settings["finetune/lr"]) == config.finetune.lr
    assert settings["dataset/root"] == "…/scans"
    assert commit == str(facts(config)["git"]["commit"])


@pytest.mark.parametrize("name", ["wandb", "tensorboard", "mlflow"])
def test_no_tracker_learns_a_path_a_person_or_a_host(
    name: str, stage: Path, config: Any, monkeypatch: pytest.MonkeyPatch
):
    """In the contents of what is uploaded or shown: not in wandb's own debug logs."""
    pytest.importorskip(name)
    monkeypatch.setattr(sys, "argv", ["/home/jane/script.py", "dataset.root=/data/Jane Doe/scans"])
    for variable in ("USER", "LOGNAME", "USERNAME"):
        monkeypatch.setenv(variable, "janedoe")
    monkeypatch.setattr(socket, "gethostname", lambda: "janes-laptop")
    assert getpass.getuser() == "janedoe"
    _, logger = build_loggers(LoggerConfig(name=name), stage, "mine", config=config)
    log_figures([logger], {"loss": 0.5})
    if name == "wandb":
        logger.experiment.finish()
    records = ("*/wandb/*/run-*.wandb", "*/wandb/*/files/**/*", "*/tensorboard/*", "../mlflow.db")
    files = [f for place in records for f in stage.parent.glob(place) if f.is_file()]
    assert files
    for file in files:
        content = file.read_bytes()
        for secret in ("jane", "Jane", str(stage)):
            assert secret.encode() not in content, f"{secret} in {file}"


@pytest.mark.parametrize("name", ["tensorboard", "mlflow"])
def test_a_resumed_run_continues_its_record(name: str, stage: Path, config: Any):
    pytest.importorskip(name)
    for step in (1, 2):
        config.sampler.batch_size = step  # may change when a run goes on
        _, logger = build_loggers(LoggerConfig(name=name), stage, "mine", config=config)
        logger.log_metrics({"loss": 0.5}, step=step)
        logger.finalize("success")
    if name == "tensorboard":
        assert len(list((stage / "tensorboard").glob("events.*"))) == 2
    else:
        assert logger.run_id == (stage / "mlflow_run_id").read_text()
        assert len(logger.experiment.get_metric_history(logger.run_id, "loss")) == 2
        (stage / "mlflow_run_id").write_text("0" * 32)  # as if its record had been deleted
        _, anew = build_loggers(LoggerConfig(name=name), stage, "mine", config=config)
        assert anew.run_id not in (logger.run_id, "0" * 32)


def test_mlflow_says_how_to_look(stage: Path, caplog: pytest.LogCaptureFixture):
    pytest.importorskip("mlflow")
    caplog.set_level(logging.INFO, logger=tracking.__name__)
    build_loggers(LoggerConfig(name="mlflow"), stage, "mine")
    database = stage.parents[1] / "mlflow.db"
    assert re.search(rf"mlflow(@[\d.]+)? ui --backend-store-uri sqlite:///{database}", caplog.text)


@pytest.mark.parametrize("name", ["wandb", "tensorboard", "mlflow"])
def test_of_several_processes_the_first_alone_keeps_a_record(name: str, stage: Path):
    assert build_loggers(LoggerConfig(name=name), stage, "mine", rank=Rank(1, 2)) == []
    assert list(stage.iterdir()) == []


@pytest.fixture
def evaluated(stage: Path) -> Path:
    """A stage's folder with figures and pictures of two seeds, of which the second lacks a swap."""
    metrics = {
        "attributes": ["hair"],
        "cfrt_mean": {"swap": {"cfrt_released": 1.0, "cfrt_released_low": 0.5}, "slerp": {"ssim": 0.25}},
    }
    write_json(stage / "metrics.json", metrics)
    figures = [
        ("MEL", "hair", "swap", None, "finetuned", "cfrt_released", 1.0),
        ("MEL", "hair", "swap", None, "finetuned", "cfrt_strict", None),
        ("MEL", "hair", "swap", None, "finetuned", "ssim", 0.75),
        ("MEL", "hair", "swap", 2, "finetuned", "ssim", 0.5),  # of one position: not tracked
        (None, None, "swap", None, "finetuned", "ssim", 0.25),
    ]
    pd.DataFrame(figures, columns=[*KEY, "value"]).to_parquet(stage / "figures.parquet")
    (stage / "examples").mkdir()
    rows = []
    for seed, method, swap_step, grey in (
        (0, "neutral", 4, 51),
        (0, "swap", 2, 0),
        (0, "swap", 0, 255),
        (1, "neutral", 4, 0),
    ):
        file = f"{seed}_{method}_{swap_step}.png"
        Image.new("RGB", (8, 8), (grey,) * 3).save(stage / "examples" / file)
        rows.append(("MEL", seed, "hair" if method == "swap" else "", method, swap_step, "finetuned", file))
    columns = ["class", "seed", "attribute", "method", "swap_step", "model", "file"]
    pd.DataFrame(rows, columns=columns).to_parquet(stage / "examples.parquet")
    return stage


@pytest.mark.parametrize("name", ["wandb", "tensorboard", "mlflow"])
def test_figures_of_an_evaluation_have_the_names_of_the_figures(name: str, evaluated: Path, config: Any):
    pytest.importorskip(name)
    _, logger = build_loggers(LoggerConfig(name=name), evaluated, "mine", config=config)
    log_evaluation([logger], evaluated)
    assert _read(name, logger, evaluated)[0] == {
        "cfrt_mean/swap/cfrt_released": 1.0,
        "cfrt_mean/swap/cfrt_released_low": 0.5,
        "cfrt_mean/slerp/ssim": 0.25,
        "swap/MEL/hair/cfrt_released": 1.0,
        "swap/MEL/hair/ssim": 0.75,
    }


@pytest.mark.parametrize("asked", [False, True])
def test_pictures_of_an_evaluation_only_where_asked_for(asked: bool, evaluated: Path, tmp_path: Path):
    pytest.importorskip("tensorboard")
    loggers = build_loggers(LoggerConfig(name="tensorboard", images=asked), evaluated, "mine")
    log_evaluation(loggers[1:], evaluated)
    events = _events(evaluated)
    assert events.Tags()["images"] == (["examples"] if asked else [])
    if asked:  # of the first seed: neutral, and the strongest swap beside it
        (sheet,) = events.Images("examples")
        (tmp_path / "sheet.png").write_bytes(sheet.encoded_image_string)
        pixels = Image.open(tmp_path / "sheet.png")
        assert pixels.size == (16, 8)
        assert [pixels.getpixel((x, 4)) for x in (0, 15)] == [(51, 51, 51), (255, 255, 255)]


@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize("name", ["wandb", "tensorboard"])
def test_images_only_where_asked_for(name: str, asked: bool, stage: Path):
    pytest.importorskip(name)
    loggers = build_loggers(LoggerConfig(name=name, images=asked), stage, "mine")
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 3, 8, 8), np.uint8)
    log_images(loggers, "samples", pixels, columns=["neutral", "a", "b"], step=5)
    if name == "wandb":
        loggers[1].experiment.finish()
        assert len(list(stage.glob("wandb/offline-run-*/files/media/**/*.png"))) == (6 if asked else 0)
        # wandb's own log lies in the home folder if this test is the first of its process to start wandb.
        outside = [f for f in stage.parents[2].rglob("*") if f.is_file() and stage not in f.parents]
        assert all(f.suffix == ".log" for f in outside)
    else:
        loggers[1].finalize("success")
        assert _events(stage).Tags()["images"] == (["samples"] if asked else [])


def _events(stage: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(str(stage / "tensorboard")).Reload()


def _read(name: str, logger: Any, stage: Path) -> tuple[dict[str, float], dict[str, Any], str]:
    """(metrics, flat settings, commit) as the tracker holds them."""
    if name == "mlflow":
        data = logger.experiment.get_run(logger.run_id).data
        return data.metrics, data.params, data.tags["git.commit"]
    if name == "tensorboard":
        events = _events(stage)
        texts = {
            part: yaml.safe_load(events.Tensors(f"{part}/text_summary")[0].tensor_proto.string_val[0])
            for part in ("config", "git")
        }
        flat = pd.json_normalize(texts["config"], sep="/").iloc[0].to_dict()
        metrics = {tag: events.Scalars(tag)[-1].value for tag in events.Tags()["scalars"]}
        return metrics, flat, str(texts["git"]["commit"])
    held = dict(logger.experiment.config)
    summary = {
        k: v for k, v in dict(logger.experiment.summary).items() if not k.startswith(("_", "trainer/"))
    }
    flat = pd.json_normalize(dict(held["config"]), sep="/").iloc[0].to_dict()
    return summary, flat, str(held["git"]["commit"])
