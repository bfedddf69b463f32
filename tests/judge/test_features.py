"""Networks of `metric.features` against the packages that publish them, with random weights in a file."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch_fidelity import feature_extractor_inceptionv3 as fidelity_module
from torchvision.models import densenet121

from latentpath.errors import UserError
from latentpath.evaluation.scoring import Scorer
from latentpath.judge.features import features_in_batches, load_feature_network
from latentpath.runs import weights

PIXELS = torch.randint(0, 256, (3, 3, 40, 40), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
IMAGES = PIXELS.float() / 127.5 - 1


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of weights, and an empty cache of torch."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv(weights.ENVIRONMENT, str(tmp_path / "weights"))
    return tmp_path / "weights"


@pytest.fixture
def inception(folder: Path, monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """torch-fidelity's own, with random weights, which lie in the folder of weights under their hash."""
    monkeypatch.setattr(fidelity_module, "load_state_dict_from_url", lambda *_, **__: {})
    with monkeypatch.context() as patched:
        patched.setattr(nn.Module, "load_state_dict", lambda *_, **__: None)
        torch.manual_seed(0)
        network = fidelity_module.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])
    place = folder / "torch_fidelity"
    place.mkdir(parents=True)
    torch.save(network.state_dict(), place / "it.pth")
    digits = hashlib.sha256((place / "it.pth").read_bytes()).hexdigest()[:8]
    name = (place / "it.pth").rename(place / f"inception-{digits}.pth").name
    named = replace(weights.FEATURES["inception"], names=(name,))
    monkeypatch.setitem(weights.FEATURES, "inception", named)
    return network


def test_inception_is_torch_fidelitys(inception: nn.Module):
    ours = load_feature_network("inception")
    assert ours is not None and not ours.training
    features = features_in_batches(ours, IMAGES, batch_size=2)
    (theirs,) = inception(PIXELS)
    assert features.shape == (3, 2048) and features.std(dim=0).max() > 0
    torch.testing.assert_close(features, theirs, atol=1e-6, rtol=1e-5)


def write_xrayvision(folder: Path) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    network = densenet121(num_classes=18)
    network.features.conv0 = nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
    state = {name: value.contiguous() for name, value in network.state_dict().items()}
    (folder / "torchxrayvision").mkdir(parents=True)
    save_file(state, folder / "torchxrayvision" / "densenet121-res224-all.safetensors")
    return state


def test_xrayvision_is_what_a_densenet_sees_before_its_last_layer(folder: Path):
    state = write_xrayvision(folder)
    network = densenet121(num_classes=18)
    network.features.conv0 = nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
    network.load_state_dict(state)
    network.classifier = nn.Identity()
    images = torch.rand(2, 3, 224, 224) * 2 - 1
    ours = load_feature_network("xrayvision")
    assert ours is not None
    with torch.no_grad():
        theirs = network.eval()(1024 * images.mean(1, keepdim=True))
    torch.testing.assert_close(features_in_batches(ours, images), theirs, atol=1e-4, rtol=1e-4)


def test_xrayvision_is_torchxrayvisions(folder: Path):
    package = pytest.importorskip("torchxrayvision")
    state = write_xrayvision(folder)
    theirs = package.models.DenseNet().eval()
    theirs.load_state_dict(state)
    theirs.input_resolution = 224
    grey = np.stack([package.utils.normalize(image.numpy(), 255) for image in PIXELS]).mean(1, keepdims=True)
    ours = load_feature_network("xrayvision")
    assert ours is not None
    with torch.no_grad():
        expected = theirs.features2(torch.from_numpy(grey))
    torch.testing.assert_close(features_in_batches(ours, IMAGES), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["inception", "xrayvision"])
def test_without_the_file_it_returns_none_and_says_where_to_put_it(folder: Path, name: str, caplog):
    assert load_feature_network(name) is None
    (message,) = caplog.messages
    network = weights.FEATURES[name]
    assert f"FID ({name}) is left out" in message and network.source in message
    assert str(folder / network.folder / network.names[0]) in message


def test_another_file_is_an_error_that_names_it(folder: Path, inception: nn.Module):
    file = weights.WeightsFolder().feature_network("inception")
    torch.save({"a": torch.zeros(1)}, file)
    with pytest.raises(UserError, match=f"{file} is not the file of .*: its SHA-256"):
        load_feature_network("inception")
    write_xrayvision(folder)
    save_file({"features.a": torch.zeros(1)}, weights.WeightsFolder().feature_network("xrayvision"))
    with pytest.raises(UserError, match=r"densenet121-res224-all\.safetensors: expected the weights of"):
        load_feature_network("xrayvision")


def test_either_name_of_inceptions_file_in_torchs_cache_will_do(tmp_path: Path):
    cache = tmp_path / "torch" / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    second = weights.FEATURES["inception"].names[1]
    (cache / second).touch()
    with pytest.raises(UserError, match=second):  # found, and not it
        weights.WeightsFolder().feature_network("inception")


def test_features_are_kept_of_neutral_images_and_the_strongest_swaps_alone():
    seen = []

    class Corner(nn.Linear):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            seen.append(len(images))
            return images[:, :, 0, 0]

    scorer = Scorer(
        vae=None, classifier=None, lpips={}, interpolations=[], frames=2, networks={"corner": Corner(1, 1)}
    )
    rows = pd.DataFrame(
        {
            "method": ["neutral", "swap", "swap", "swap", "window"],
            "attribute": ["", "x", "x", "y", "x"],
            "swap_step": [4, 0, 2, 0, 0],
        },
        index=[30, 31, 32, 33, 34],
    )
    images = torch.rand(9, 3, 4, 4)  # the last four of curves
    judged = torch.rand(9, 2)
    scorer._keep_features(rows, judged, images)
    (table,) = scorer.features
    assert sum(seen) == 3
    assert table["place"].tolist() == [30, 31, 33]
    np.testing.assert_array_equal(np.stack(table["corner"]), images[[0, 1, 3], :, 0, 0])
    np.testing.assert_array_equal(np.stack(table["judge"]), judged[[0, 1, 3]])
