"""What is said before anything slow: trackers, accelerators and sizes that would fail later."""

from __future__ import annotations

import sys

import pytest
import torch

from latentpath.commands import CLASSIFY, EVALUATE
from latentpath.errors import UserError
from latentpath.runs.preflight import check_accelerator, check_ahead, check_tracker


@pytest.mark.parametrize("project", ["team/chest", "a:b", "50%", "", "x" * 129])
def test_a_project_name_that_wandb_would_refuse_is_refused(project):
    with pytest.raises(UserError, match=r"^logger\.project is "):
        check_tracker("wandb", project)
    check_tracker("csv", project)


@pytest.mark.parametrize("uri", ["./mlruns", "/tmp/mlruns", "file:///tmp/mlruns"])
def test_a_folder_for_mlflow_is_refused(monkeypatch, uri):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(UserError, match=r"^MLFLOW_TRACKING_URI is "):
        check_tracker("mlflow", "latentpath")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    check_tracker("mlflow", "latentpath")


NOBODY = "http://127.0.0.1:1"  # refuses at once


@pytest.mark.parametrize(
    "name, what", [("wandb", "wandb"), ("mlflow", "trackers"), ("tensorboard", "trackers")]
)
def test_a_tracker_that_is_not_installed_is_refused(monkeypatch, name, what):
    monkeypatch.setenv("WANDB_MODE", "offline")
    check_tracker(name, "latentpath")
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=rf"logger={name}: not installed; run `pip install .*{what}"):
        check_tracker(name, "latentpath")


def test_an_mlflow_server_that_does_not_answer_is_refused(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", NOBODY)
    with pytest.raises(UserError, match=f"MLFLOW_TRACKING_URI is {NOBODY}, which does not answer"):
        check_tracker("mlflow", "latentpath")


def test_wandb_without_a_key_or_server_is_refused(monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    for name, value in {"NETRC": str(netrc), "WANDB_BASE_URL": NOBODY, "WANDB_MODE": "online"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    with pytest.raises(UserError, match=f"no API key for {NOBODY}. Run `wandb login`"):
        check_tracker("wandb", "latentpath")
    monkeypatch.delenv("WANDB_MODE")
    check_tracker("wandb", "latentpath")  # without a key it is offline
    netrc.write_text("machine 127.0.0.1:1 login user password key")
    netrc.chmod(0o600)
    with pytest.raises(UserError, match=f"{NOBODY} does not answer. WANDB_MODE=offline writes"):
        check_tracker("wandb", "latentpath")


@pytest.mark.parametrize("accelerator", ["gpu", "cuda"])
def test_a_missing_gpu_is_refused(monkeypatch, accelerator):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="torch sees no CUDA device here"):
        check_accelerator(accelerator)
    check_accelerator("auto")


def test_images_too_small_for_lpips_are_refused(compose, tmp_path):
    cfg = compose("run", "dataset.image_size=16", "trainer=cpu", "classifier.pretrained=false")
    with pytest.raises(UserError, match="LPIPS needs 32 pixels or more"):
        check_ahead(cfg, EVALUATE, tmp_path)
    check_ahead(cfg, CLASSIFY, tmp_path)
