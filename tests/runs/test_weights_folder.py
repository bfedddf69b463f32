"""Everything that a hub would give is read from the folder of weights, and no server is asked."""

from __future__ import annotations

import hashlib
import shutil
import socket
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torchvision import models

from latentpath.diffusion.components import BaseModel
from latentpath.judge.networks import build_network
from latentpath.metrics import lpips_or_none
from latentpath.runs import weights


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of weights, on a machine on which a connection is an error."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a server was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "nothing"))
    monkeypatch.setenv(weights.ENVIRONMENT, str(tmp_path / "weights"))
    return tmp_path / "weights"


def test_a_hub_model_is_found_in_the_folder_of_weights(folder: Path, tiny_sd: Path):
    shutil.copytree(tiny_sd, folder / "hub" / "fake" / "sd")
    shutil.copytree(tiny_sd, folder / "hub" / "fake" / "sd@v2")
    here = BaseModel(str(tiny_sd))
    for base in (BaseModel("fake/sd"), BaseModel("fake/sd", "v2"), BaseModel("fake/sd", None, "fake/sd")):
        base.check()
        for part in ("unet", "vae", "text_encoder"):
            theirs, ours = getattr(base, part)().state_dict(), getattr(here, part)().state_dict()
            assert all(torch.equal(theirs[name], ours[name]) for name in ours)
        assert base.tokenizer().vocab_size == here.tokenizer().vocab_size
        assert torch.equal(base.schedule().alphas_cumprod, here.schedule().alphas_cumprod)
        parts = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
        assert base.fingerprint(*parts) == here.fingerprint(*parts)


def test_a_vae_alone_is_found_in_the_folder_of_weights(folder: Path, tiny_sd: Path):
    shutil.copytree(tiny_sd / "vae", folder / "hub" / "fake" / "vae")
    assert BaseModel(str(tiny_sd), None, "fake/vae").latent_shape(32) == (4, 8, 8)


def test_the_backbone_of_the_classifier_is_found_in_the_folder_of_weights(folder: Path):
    network = timm.create_model("efficientnet_b0")
    (folder / "timm" / "efficientnet_b0").mkdir(parents=True)
    save_file(network.state_dict(), folder / "timm" / "efficientnet_b0" / "model.safetensors")
    ours = build_network("efficientnet_b0", num_outputs=3, pretrained=True).state_dict()
    assert torch.equal(ours["conv_stem.weight"], network.state_dict()["conv_stem.weight"])


def test_the_backbone_of_lpips_is_found_in_the_folder_of_weights(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    (folder / "torchvision").mkdir(parents=True)
    file = folder / "torchvision" / "it.pth"
    network = models.squeezenet1_1()
    torch.save(network.state_dict(), file)
    digits = hashlib.sha256(file.read_bytes()).hexdigest()[:8]
    monkeypatch.setitem(weights.BACKBONES, "squeeze", f"squeezenet1_1-{digits}.pth")
    file.rename(folder / "torchvision" / weights.BACKBONES["squeeze"])
    model = lpips_or_none("squeeze")
    assert model is not None
    assert torch.equal(model.net.state_dict()["slice1.0.weight"], network.state_dict()["features.0.weight"])
