"""The last layer of a frozen network: fitted on known labels, saved and loaded like any other judge."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.metrics import log_loss

from latentpath.commands import classify
from latentpath.errors import UserError
from latentpath.judge.classifier import load_classifier
from latentpath.judge.networks import build_network
from latentpath.judge.stage_features import StageFeatures
from latentpath.training.fit_head import Head

LITE = "tf_efficientnet_lite0"


def write_images(root: Path, *, count: int = 240) -> Path:
    """Class = brightness of red, `stripes` = thin lines in a quarter; some labels are not known."""
    rng = np.random.default_rng(0)
    (root / "images").mkdir(parents=True)
    rows = []
    for i in range(count):
        bright, striped = rng.random() < 0.5, rng.random() < 0.25
        pixels = rng.normal(100, 20, (32, 32, 3))
        pixels[:, :, 0] += 60 * bright
        pixels[::4] += 50 * striped
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / "images" / f"{i}.png")
        rows.append(
            {"image": f"{i}.png", "kind": "ab"[bright], "stripes": "" if i % 9 == 0 else int(striped)}
        )
    pd.DataFrame(rows).to_csv(root / "labels.csv", index=False)
    return root


@pytest.fixture
def cfg(compose, tmp_path: Path):
    return compose(
        "classify",
        f"dataset.root={write_images(tmp_path / 'data')}",
        "dataset=image_table",
        "dataset.image_size=32",
        "dataset.classes=[a,b]",
        "dataset.attributes=[stripes]",
        "dataset.table.class_column=kind",
        "dataset.val_fraction=0.2",
        "dataset.captions.with_attributes='{cls} {attributes}'",
        "dataset.captions.without_attributes='{cls}'",
        "classifier=efficientnet_lite0",
        "classifier.trainable=head",
        "classifier.pretrained=false",  # random maps tell stripes from none as well
        "classifier.image_size=48",
        "trainer.accelerator=cpu",
    )


def test_it_learns_and_is_loaded_like_any_judge(cfg, tmp_path: Path):
    accuracy = classify.run(cfg, tmp_path / "run")
    folder = tmp_path / "run" / "classify"
    metrics = json.loads((folder / "metrics.json").read_text())
    assert accuracy > 0.85 and metrics["test"]["stripes"]["auroc"] > 0.9
    manifest = json.loads((folder / "manifest.json").read_text())
    assert set(manifest["figures"]["penalty"]) == {"class", "stripes"}
    judge = load_classifier(folder)
    assert isinstance(judge.network, StageFeatures) and judge.image_size == 48
    images = torch.rand(3, 3, 32, 32) * 2 - 1
    classes, attributes, features = judge.predict_with_features(images)
    again = judge.network.head(features)
    torch.testing.assert_close(judge.calibrated(again)[:, 2:].sigmoid(), attributes)
    assert features.shape == (3, judge.network.head.in_features) and classes.shape == (3, 2)
    assert not (folder / "pixels").exists()
    held_out = metrics["held_out"]
    assert held_out["vae"] == "phantom-sd" and held_out["images"] == metrics["test"]["class"]["count"]
    assert 5 < held_out["psnr"]["low"] < held_out["psnr"]["value"] < 60
    for figures in (held_out["originals"], held_out["round_trips"]):
        assert list(figures) == ["a", "stripes"]
        assert all(row["sensitivity"]["low"] is not None for row in figures.values())
    found, row = held_out["originals"]["stripes"], metrics["test"]["stripes"]
    assert found["auroc"]["value"] == pytest.approx(row["auroc"])
    assert found["positives"] == row["positives"]


def test_it_is_fitted_on_images_after_the_vae_too(cfg, tmp_path: Path):
    """Then it sees after the VAE what it sees before; fitted on the originals alone, it does not."""
    found = {}
    for name, through in (("both", True), ("originals", False)):
        cfg.classifier.through_vae = through
        classify.run(cfg, tmp_path / name)
        folder = tmp_path / name / "classify"
        found[name] = json.loads((folder / "metrics.json").read_text())["held_out"]["round_trips"]["stripes"]
        manifest = json.loads((folder / "manifest.json").read_text())
        assert ("vae" in manifest["weights"]) is through
    assert found["both"]["sensitivity"]["value"] > found["originals"]["sensitivity"]["value"]
    assert found["both"]["specificity"]["value"] > 0.8


def test_fitting_the_head_leaves_the_network_as_it_is():
    torch.manual_seed(0)
    network = build_network(LITE, num_outputs=3, pretrained=False, trainable="head")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.train()
    network(torch.randn(4, 3, 48, 48)).sum().backward()
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert {name for name, p in network.named_parameters() if p.grad is not None} == {
        "head.weight",
        "head.bias",
    }


def test_features_are_means_and_standard_deviations_of_all_stages():
    torch.manual_seed(0)
    network = build_network(LITE, num_outputs=1, pretrained=False, trainable="head")
    images = torch.randn(2, 3, 64, 64)
    maps = network.body.forward_intermediates(images, intermediates_only=True)
    expected = [value for m in maps for value in (m.mean((2, 3)), m.flatten(2).std(2, correction=0))]
    with torch.no_grad():
        network.head.weight.fill_(0)
        network.head.weight[0, 40] = 1.0
        network.head.bias.fill_(0)
    torch.testing.assert_close(network(images)[:, 0], torch.cat(expected, 1)[:, 40])


@pytest.mark.parametrize("labels", [2, 3])
def test_a_layer_is_the_regression_and_its_weights_can_be_undone(labels: int):
    """With weights and their logs subtracted the probabilities are as good as without weights."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(6000, 4)).astype(np.float32)
    true = x @ rng.normal(size=(4, labels)) + np.arange(labels) * 1.5
    y = np.array([rng.choice(labels, p=np.exp(row) / np.exp(row).sum()) for row in true])
    weights = torch.tensor([5.0, 1.0, 0.5][:labels])
    half = len(x) // 2
    probabilities = {}
    for name, used in (("weighted", weights), ("plain", torch.ones(labels))):
        head = Head("kind", y[:half].astype(float), used, one_logit=False)
        weight, bias = head.fit(x[:half], 0.1)
        assert weight.shape == (labels, 4) and bias.shape == (labels,)
        logits = torch.from_numpy(x[half:]) @ weight.T + bias
        probabilities[name] = (logits - used.log()).softmax(1).double().numpy()
        probabilities[f"{name}, kept"] = logits.softmax(1).double().numpy()
    losses = {name: log_loss(y[half:], p, labels=range(labels)) for name, p in probabilities.items()}
    assert losses["weighted"] == pytest.approx(losses["plain"], rel=0.02)
    assert losses["weighted, kept"] > losses["plain"] * 1.1


def test_a_head_needs_a_timm_network_with_stages(compose):
    for arch in ("efficientnet_tiny", "my_module:build"):
        with pytest.raises(UserError, match="needs a network of timm"):
            build_network(arch, num_outputs=1, pretrained=False, trainable="head")
