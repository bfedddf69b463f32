"""The classifier: unknown labels are left out, training learns, saving and resuming change nothing."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from latentpath.commands import classify
from latentpath.config import Config
from latentpath.errors import UserError
from latentpath.tasks.classify import (
    AttributeClassifier,
    Classifier,
    balance,
    build_network,
    classification_loss,
    load_classifier,
)

ATTRIBUTES = ["green", "blue"]


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def write_images(root: Path, *, count: int = 96) -> Path:
    """16 px pictures: class = brightness of red, attributes = green and blue; some labels are not known."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (count, 3))
    (root / "images").mkdir(parents=True)
    rows = []
    for i, flags in enumerate(labels):
        pixels = (flags * 120 + 60 + rng.normal(0, 10, (16, 16, 3))).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(root / "images" / f"{i}.png")
        green = "" if i % 7 == 0 else flags[1]
        rows.append({"image": f"{i}.png", "kind": "ab"[flags[0]], "green": green, "blue": flags[2]})
    pd.DataFrame(rows).to_csv(root / "labels.csv", index=False)
    return root


def config(root: Path, **changes: Any) -> Any:
    cfg = OmegaConf.structured(Config)
    changes = {
        "dataset.layout": "image_table",
        "dataset.root": str(root),
        "dataset.image_size": 16,
        "dataset.classes": ["a", "b"],
        "dataset.attributes": ATTRIBUTES,
        "dataset.table.class_column": "kind",
        "dataset.captions.with_attributes": "{cls} {attributes}",
        "dataset.captions.without_attributes": "{cls}",
        "dataset.val_fraction": 0.2,
        "dataset.test_fraction": 0.2,
        "classifier.arch": "efficientnet_tiny",
        "classifier.pretrained": False,
        "classifier.epochs": 8,
        "classifier.batch_size": 8,
        "classifier.lr": 5e-3,
        "classifier.dropout": 0.0,
        "trainer.accelerator": "cpu",
        **changes,
    }
    for key, value in changes.items():
        OmegaConf.update(cfg, key, value)
    return cfg


def tiny(**names: Any) -> Classifier:
    torch.manual_seed(0)
    names = {"classes": ("a", "b"), "attributes": ("x",), **names}
    outputs = (len(names["classes"]) if len(names["classes"]) > 1 else 0) + len(names["attributes"])
    network = build_network("efficientnet_tiny", num_outputs=outputs, pretrained=False)
    return Classifier(network, arch="efficientnet_tiny", image_size=32, **names)


def test_unknown_labels_do_not_count():
    logits, classes = torch.randn(4, 4), torch.tensor([0, 1, 1, 0])
    attributes = torch.tensor([[1.0, float("nan")], [0.0, 1.0], [float("nan")] * 2, [1.0, 0.0]])
    logits.requires_grad_()
    loss = classification_loss(logits, classes, attributes, class_outputs=2)
    loss.backward()
    assert logits.grad is not None
    assert ((logits.grad[:, 2:] == 0) == attributes.isnan()).all()
    known = ~attributes.isnan()
    bce = torch.nn.functional.binary_cross_entropy_with_logits(logits[:, 2:][known], attributes[known])
    expected = torch.nn.functional.cross_entropy(logits[:, :2], classes) + bce
    assert torch.allclose(loss, expected)


def test_loss_without_classes_or_labels():
    nothing_known = torch.full((3, 2), float("nan"))
    zero = classification_loss(torch.randn(3, 2), torch.zeros(3).long(), nothing_known, class_outputs=0)
    assert zero == 0
    only_classes = classification_loss(
        torch.zeros(3, 2), torch.zeros(3).long(), torch.zeros(3, 0), class_outputs=2
    )
    assert torch.allclose(only_classes, torch.tensor(2.0).log())


def test_balance_weighs_rarity_within_bounds():
    classes = torch.tensor([0] * 3 + [1])
    attributes = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0], [float("nan"), 0.0, 1.0], [0.0, 1.0, 1.0]])
    class_weights, pos_weights = balance(classes, attributes, class_outputs=2)
    assert torch.allclose(class_weights, torch.tensor([4 / 6, 2.0]))
    assert torch.allclose(pos_weights, torch.tensor([2.0, 3.0, 0.1]))
    assert balance(classes, attributes, class_outputs=0)[0].numel() == 0


def test_predict_gives_probabilities_and_resizes():
    classifier = tiny(attributes=("x", "y"))
    images = torch.rand(5, 3, 32, 32) * 2 - 1
    class_probs, attribute_probs = classifier.predict(images, batch_size=2)
    assert class_probs.shape == (5, 2) and attribute_probs.shape == (5, 2)
    assert torch.allclose(class_probs.sum(1), torch.ones(5))
    assert attribute_probs.min() >= 0 and attribute_probs.max() <= 1
    assert classifier.training  # as it was
    larger = torch.nn.functional.interpolate(images, (64, 64), mode="nearest")
    assert torch.allclose(classifier.predict(larger)[1], attribute_probs, atol=0.05)


def test_a_single_class_has_no_output():
    class_probs, attribute_probs = tiny(classes=("chest",), attributes=("x", "y")).predict(
        torch.zeros(2, 3, 32, 32)
    )
    assert class_probs.shape == (2, 0) and attribute_probs.shape == (2, 2)


def test_save_and_load_change_nothing(tmp_path: Path):
    classifier = tiny()
    images = torch.rand(3, 3, 32, 32) * 2 - 1
    classifier(images)  # moves the running averages of the normalisation
    classifier.save(tmp_path)
    again = load_classifier(tmp_path)
    assert (again.classes, again.attributes, again.image_size) == (("a", "b"), ("x",), 32)
    assert not again.training
    for ours, theirs in zip(classifier.predict(images), again.predict(images), strict=True):
        assert torch.equal(ours, theirs)


def test_load_names_what_is_missing(tmp_path: Path):
    with pytest.raises(UserError, match=r"no classifier\.json in .*latentpath classify"):
        load_classifier(tmp_path)


def test_normalisation_is_the_networks_own():
    network = build_network("efficientnet_b0", num_outputs=3, pretrained=False, dropout=0.3)
    classifier = Classifier(
        network, arch="efficientnet_b0", image_size=32, classes=("a", "b"), attributes=("x",)
    )
    assert classifier.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert tiny().mean.flatten().tolist() == [0.5] * 3


@pytest.mark.parametrize(
    ("arch", "pretrained", "message"),
    [
        ("efficientnet_bo", False, "Did you mean 'efficientnet_b"),
        ("efficientnet_tiny", True, "no pretrained weights; set classifier.pretrained=false"),
        (
            "efficientnet_b0",
            True,
            "model.safetensors of timm/efficientnet_b0.ra_in1k are not in .*pretrained=false",
        ),
    ],
)
def test_networks_that_cannot_be_had(
    arch: str, pretrained: bool, message: str, monkeypatch: pytest.MonkeyPatch
):
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    def offline(*_: Any, **__: Any) -> str:
        raise LocalEntryNotFoundError("not here")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", offline)
    with pytest.raises(UserError, match=message):
        build_network(arch, num_outputs=2, pretrained=pretrained)


def test_pretrained_weights_are_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import huggingface_hub
    import timm
    from safetensors.torch import save_file

    torch.manual_seed(1)
    weights = timm.create_model("efficientnet_b0", num_classes=1000).state_dict()
    save_file(weights, tmp_path / "model.safetensors")
    monkeypatch.setattr(
        huggingface_hub, "hf_hub_download", lambda *_, **__: str(tmp_path / "model.safetensors")
    )
    network = build_network("efficientnet_b0", num_outputs=2, pretrained=True)
    assert torch.equal(network.state_dict()["conv_stem.weight"], weights["conv_stem.weight"])


def test_command_learns_and_says_how_well(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    cfg = config(write_images(tmp_path / "data"))
    accuracy = classify.run(cfg, tmp_path / "run")
    folder = tmp_path / "run" / "classify"
    metrics = json.loads((folder / "metrics.json").read_text())
    assert set(metrics) == {"test", "val"} and list(metrics["test"]) == ["class", *ATTRIBUTES]
    assert metrics["test"]["green"]["count"] < metrics["test"]["blue"]["count"]  # some are not known
    assert accuracy == pytest.approx(np.mean([row["accuracy"] for row in metrics["test"].values()]))
    assert accuracy > 0.9
    log = pd.read_csv(folder / "metrics.csv")
    assert log["val/loss"].notna().sum() == 8
    assert not (folder / "pixels").exists() and not (folder / "checkpoints").exists()
    assert load_classifier(folder).attributes == tuple(ATTRIBUTES)
    with caplog.at_level(logging.INFO):
        assert classify.run(cfg, tmp_path / "run") == accuracy
    assert "classify is complete" in caplog.text


class Killed(Exception):
    pass


def test_a_killed_run_ends_as_if_it_had_not_been(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    root = write_images(tmp_path / "data")
    cfg = config(root, **{"classifier.epochs": 3, "classifier.dropout": 0.2})
    classify.run(cfg, tmp_path / "straight")

    step = AttributeClassifier.training_step

    def dies(self: AttributeClassifier, batch: Any, batch_idx: int) -> Any:
        if self.current_epoch == 2 and batch_idx == 1:
            raise Killed
        return step(self, batch, batch_idx)

    monkeypatch.setattr(AttributeClassifier, "training_step", dies)
    with pytest.raises(Killed):
        classify.run(cfg, tmp_path / "killed")
    manifest = json.loads((tmp_path / "killed" / "classify" / "manifest.json").read_text())
    assert manifest["status"] != "complete"
    monkeypatch.setattr(AttributeClassifier, "training_step", step)
    classify.run(cfg, tmp_path / "killed")

    straight, resumed = (
        load_classifier(tmp_path / name / "classify").state_dict() for name in ("straight", "killed")
    )
    for key, value in straight.items():
        assert torch.equal(value, resumed[key]), key
    logs = [pd.read_csv(tmp_path / name / "classify" / "metrics.csv") for name in ("straight", "killed")]
    assert logs[0]["val/loss"].dropna().tolist() == pytest.approx(logs[1]["val/loss"].dropna().tolist())


def test_single_class_without_validation(tmp_path: Path):
    changes = {
        "dataset.classes": ["skin"],
        "dataset.table.class_column": None,
        "dataset.val_fraction": 0.0,
        "dataset.attributes": ["blue"],
        "classifier.epochs": 1,
    }
    assert classify.run(config(write_images(tmp_path / "data"), **changes), tmp_path / "run") is not None
    metrics = json.loads((tmp_path / "run" / "classify" / "metrics.json").read_text())
    assert list(metrics["test"]) == ["blue"]
    assert metrics["val"]["blue"]["accuracy"] is None
    assert load_classifier(tmp_path / "run" / "classify").predict(torch.zeros(1, 3, 16, 16))[0].shape == (
        1,
        0,
    )


def test_labels_that_cannot_be_learned(tmp_path: Path):
    root = write_images(tmp_path / "data")
    table = pd.read_csv(root / "labels.csv")
    table.assign(blue=0).to_csv(root / "labels.csv", index=False)
    with pytest.raises(UserError, match=r"attribute 'blue': no positive among \d+ training images"):
        classify.run(config(root), tmp_path / "run")


def test_sigterm_ends_with_143(tmp_path: Path):
    import os
    import signal

    from latentpath.tasks.fit import fit

    class Terminated(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(1, 1)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            os.kill(os.getpid(), signal.SIGTERM)
            return self.layer(batch).sum()

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    trainer = L.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    with pytest.raises(SystemExit) as exit_:
        fit(trainer, Terminated(), train_dataloaders=torch.ones(4, 1, 1), last=tmp_path / "last.ckpt")
    assert exit_.value.code == 143
