"""What is said before anything slow: trackers, accelerators and sizes that would fail later."""

from __future__ import annotations

import pytest
import torch

from latentpath.commands import CLASSIFY, EVALUATE
from latentpath.errors import UserError
from latentpath.runs.preflight import check_accelerator, check_ahead, check_tracker


@pytest.mark.parametrize("project", ["team/chest", "a:b", "50%", "", "x" * 129])
def test_a_project_that_wandb_refuses(project):
    with pytest.raises(UserError, match=r"^logger\.project is "):
        check_tracker("wandb", project)
    check_tracker("csv", project)


@pytest.mark.parametrize("uri", ["./mlruns", "/tmp/mlruns", "file:///tmp/mlruns"])
def test_a_folder_that_mlflow_refuses(monkeypatch, uri):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(UserError, match=r"^MLFLOW_TRACKING_URI is "):
        check_tracker("mlflow", "latentpath")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    check_tracker("mlflow", "latentpath")


@pytest.mark.parametrize("accelerator", ["gpu", "cuda"])
def test_no_gpu(monkeypatch, accelerator):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="torch sees no CUDA device here"):
        check_accelerator(accelerator)
    check_accelerator("auto")


def test_images_too_small_for_lpips(compose, tmp_path):
    cfg = compose("run", "dataset.image_size=16", "trainer=cpu", "classifier.pretrained=false")
    with pytest.raises(UserError, match="LPIPS needs 32 pixels or more"):
        check_ahead(cfg, EVALUATE, tmp_path)
    check_ahead(cfg, CLASSIFY, tmp_path)
