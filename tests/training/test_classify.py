"""The classifier: unknown labels are ignored, training learns, saving and resuming change nothing."""

from __future__ import annotations

import json
import logging
import os
import pickle
import re
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
from latentpath.config.checks import check
from latentpath.config.schema import Config
from latentpath.data.images import ImageSpec, load_images
from latentpath.data.load import load_dataset
from latentpath.data.pixels import to_model_range
from latentpath.errors import UserError
from latentpath.judge.classifier import Classifier, class_outputs, load_classifier
from latentpath.judge.networks import build_network
from latentpath.metrics.calibration import ece
from latentpath.runs.weights import WeightsFolder
from latentpath.training import classify as tasks_classify
from latentpath.training.classify import (
    AttributeClassifier,
    balance,
    classification_loss,
    label_weights,
    one_cycle,
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
    outputs = class_outputs(names["classes"]) + len(names["attributes"])
    network = build_network("efficientnet_tiny", num_outputs=outputs, pretrained=False)
    return Classifier(network, arch="efficientnet_tiny", image_size=32, **names)


def test_the_loss_ignores_unknown_labels():
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


def test_the_loss_is_defined_without_classes_or_labels():
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
    weights = balance(classes, attributes, class_outputs=2)
    assert torch.allclose(weights.classes, torch.tensor([4 / 6, 2.0]))
    assert torch.allclose(weights.positives, torch.tensor([2.0, 3.0, 0.1]))
    assert np.allclose(np.exp(weights.logs), [4 / 6, 2, 2, 3, 0.1])
    assert balance(classes, attributes, class_outputs=0).classes.numel() == 0


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


def test_calibration_is_saved_and_decides_nothing(tmp_path: Path):
    classifier, images = tiny(attributes=("x", "y")), torch.rand(64, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        classifier.network.get_submodule("classifier").weight.mul_(300)  # far too sure of everything
    logits, before = classifier.logits(images), classifier.predict(images)
    classes, attributes = torch.randint(0, 2, (64,)), torch.randint(0, 2, (64, 2)).float()
    attributes[::3, 1] = float("nan")
    classifier.calibrate(logits, classes, attributes)
    temperatures = classifier.temperatures
    assert temperatures is not None and list(temperatures) == ["class", "x", "y"]
    assert min(temperatures.values()) > 2
    after = classifier.predict(images)
    assert torch.allclose(after[0], (logits[:, :2] / temperatures["class"]).softmax(1), atol=1e-6)
    assert torch.allclose(after[1][:, 1], (logits[:, 3] / temperatures["y"]).sigmoid(), atol=1e-6)
    for old, new in zip(before, after, strict=True):
        assert ((old > 0.5) == (new > 0.5)).all() and not torch.allclose(old, new, atol=0.05)
    classifier.save(tmp_path)
    again = load_classifier(tmp_path)
    assert again.temperatures == temperatures
    assert all(torch.equal(a, b) for a, b in zip(again.predict(images), after, strict=True))


def test_a_classifier_from_before_calibration_still_loads(tmp_path: Path):
    classifier, images = tiny(), torch.rand(2, 3, 32, 32) * 2 - 1
    classifier.save(tmp_path)
    settings = json.loads((tmp_path / "classifier.json").read_text())
    del settings["temperatures"]
    (tmp_path / "classifier.json").write_text(json.dumps(settings))
    assert torch.equal(load_classifier(tmp_path).predict(images)[1], classifier.predict(images)[1])


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
        ("efficientnet_tiny", True, "no pretrained weights; set `pretrained=false`"),
        ("resnet_micro", True, "resnet_micro has no pretrained weights; set `pretrained=false`"),
        ("resnet_mikro", False, "Did you mean 'resnet_micro'"),
        (
            "convnext_tiny",
            True,
            "of timm/convnext_tiny.in12k_ft_in1k are not in .*/hub and .*hf download timm/convnext_tiny",
        ),
        (
            "efficientnet_b0",
            True,
            "model.safetensors of timm/efficientnet_b0.ra_in1k are not in .*pretrained=false",
        ),
    ],
)
def test_networks_without_weights_are_refused(
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


def test_weights_may_lie_in_the_folder_of_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import timm
    from safetensors.torch import save_file

    weights = timm.create_model("convnext_atto", num_classes=1000).state_dict()
    file = tmp_path / "timm" / "convnext_atto" / "model.safetensors"
    file.parent.mkdir(parents=True)
    save_file(weights, file)
    monkeypatch.setenv("LATENTPATH_WEIGHTS", str(tmp_path))
    network = build_network("convnext_atto", num_outputs=2, pretrained=True)
    assert torch.equal(network.state_dict()["stem.0.weight"], weights["stem.0.weight"])


@pytest.mark.parametrize("content", [b"", b"PK no safetensors", pickle.dumps({"state_dict": {}})])
def test_files_that_hold_no_weights_are_named_with_what_to_do(tmp_path: Path, content: bytes):
    file = tmp_path / "timm" / "efficientnet_b0" / "model.safetensors"
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    with pytest.raises(
        UserError, match=f"^{file}: expected timm's weights of efficientnet_b0 .*Delete the file"
    ):
        build_network("efficientnet_b0", num_outputs=2, pretrained=True, weights=WeightsFolder(str(tmp_path)))


@pytest.mark.parametrize("arch", ["resnet_micro", "efficientnet_tiny"])
def test_small_networks_are_small_and_see_small_pictures(arch: str):
    network = build_network(arch, num_outputs=5, pretrained=False, dropout=0.1)
    assert sum(p.numel() for p in network.parameters()) < 0.5e6
    for size in (32, 64, 128):
        assert network(torch.zeros(2, 3, size, size)).shape == (2, 5)


def test_classify_learns_and_reports_its_accuracy(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    cfg = config(write_images(tmp_path / "data"), **{"classifier.calibrate": "temperature"})
    accuracy = classify.run(cfg, tmp_path / "run")
    folder = tmp_path / "run" / "classify"
    metrics = json.loads((folder / "metrics.json").read_text())
    assert set(metrics) == {"test", "val", "held_out"} and list(metrics["test"]) == ["class", *ATTRIBUTES]
    assert metrics["test"]["green"]["count"] < metrics["test"]["blue"]["count"]  # some are not known
    assert accuracy == pytest.approx(np.mean([row["accuracy"] for row in metrics["test"].values()]))
    assert accuracy > 0.9
    saved = json.loads((folder / "classifier.json").read_text())["temperatures"]
    for split in (metrics["test"], metrics["val"]):
        for label, row in split.items():
            assert row["temperature"] == saved[label] and sum(row["reliability"]["count"]) == row["count"]
    assert all(row["nll"] <= row["uncalibrated"]["nll"] for row in metrics["val"].values())
    log = pd.read_csv(folder / "metrics.csv")
    assert log["val/loss"].notna().sum() == 8
    assert not (folder / "pixels").exists() and not (folder / "checkpoints").exists()
    assert load_classifier(folder).attributes == tuple(ATTRIBUTES)
    with caplog.at_level(logging.INFO):
        assert classify.run(cfg, tmp_path / "run") == accuracy
    assert "classify is complete" in caplog.text


def test_calibrated_figures_are_those_of_predict(tmp_path: Path):
    """The ECE in metrics.json is what a reader of `predict` finds; without calibration the network's own."""
    changes = {"classifier.epochs": 2, "classifier.calibrate": "temperature"}
    cfg = config(write_images(tmp_path / "data"), **changes)
    classify.run(cfg, tmp_path / "run")
    cfg.classifier.calibrate = "none"
    classify.run(cfg, tmp_path / "plain")
    found = {
        name: json.loads((tmp_path / name / "classify" / "metrics.json").read_text())["test"]
        for name in ("run", "plain")
    }
    for label, row in found["plain"].items():
        assert row["uncalibrated"] is None and row["temperature"] is None
        assert row["ece"] == pytest.approx(found["run"][label]["uncalibrated"]["ece"])
        assert row["accuracy"] == found["run"][label]["accuracy"]
    rows = load_dataset(cfg.dataset).split("test")
    images, _ = load_images(rows, ImageSpec(16))
    _, probs = load_classifier(tmp_path / "run" / "classify").predict(
        to_model_range(torch.from_numpy(images))
    )
    blue = rows["blue"].to_numpy()
    assert found["run"]["blue"]["ece"] == pytest.approx(ece(probs[:, 1].double().numpy(), blue), abs=1e-6)
    assert load_classifier(tmp_path / "plain" / "classify").temperatures is None


def test_full_calibration_undoes_the_weights_of_training(tmp_path: Path):
    """Probabilities are those of the data's own frequencies, and decisions follow them."""
    cfg = config(write_images(tmp_path / "data"), **{"classifier.epochs": 2, "classifier.calibrate": "full"})
    classify.run(cfg, tmp_path / "run")
    folder = tmp_path / "run" / "classify"
    judge, table = load_classifier(folder), load_dataset(cfg.dataset)
    weights = label_weights(table)
    assert judge.log_weight.tolist() == pytest.approx(weights.logs) and min(map(abs, weights.logs)) > 0
    rows = table.split("test")
    images = to_model_range(torch.from_numpy(load_images(rows, ImageSpec(16))[0]))
    logits, probs = judge.logits(images), judge.predict(images)[1]
    expected = (logits - torch.tensor(weights.logs)) / judge.temperature
    torch.testing.assert_close(probs, expected[:, 2:].sigmoid())
    row, blue = json.loads((folder / "metrics.json").read_text())["test"]["blue"], rows["blue"].to_numpy()
    assert row["accuracy"] == pytest.approx(((probs[:, 1] > 0.5).numpy() == blue).mean())
    assert row["ece"] == pytest.approx(ece(probs[:, 1].double().numpy(), blue), abs=1e-6)
    assert row["uncalibrated"]["ece"] == pytest.approx(
        ece(logits[:, 3].sigmoid().double().numpy(), blue), abs=1e-6
    )


def test_a_judge_of_version_0_1_is_loaded(tmp_path: Path):
    tiny().save(tmp_path)
    settings = json.loads((tmp_path / "classifier.json").read_text())
    for name in ("trainable", "log_weights"):  # it did not write these
        del settings[name]
    (tmp_path / "classifier.json").write_text(json.dumps(settings))
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    judge = load_classifier(tmp_path)
    assert judge.trainable == "full"
    torch.testing.assert_close(judge.predict(images)[1], judge.logits(images)[:, 2:].sigmoid())


class Killed(Exception):
    pass


def kill_in(monkeypatch: pytest.MonkeyPatch, epoch: int) -> None:
    """Die in the second step of `epoch`, until `monkeypatch.undo`."""
    step = AttributeClassifier.training_step

    def dies(self: AttributeClassifier, batch: Any, batch_idx: int) -> Any:
        if self.current_epoch == epoch and batch_idx == 1:
            raise Killed
        return step(self, batch, batch_idx)

    monkeypatch.setattr(AttributeClassifier, "training_step", dies)


def assert_same_end(one: Path, other: Path, *, log: bool = True) -> None:
    """Bit for bit the same classifier and metrics, and the same log of the validation loss."""
    folders = [run / "classify" for run in (one, other)]
    for name in ("classifier.safetensors", "classifier.json", "metrics.json"):
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes(), name
    if not log:
        return
    logs = [pd.read_csv(folder / "metrics.csv")["val/loss"].dropna().tolist() for folder in folders]
    assert logs[0] == logs[1]


def test_a_killed_run_ends_like_an_uninterrupted_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """With everything on that draws random numbers."""
    changes = {"epochs": 3, "dropout": 0.2, "rotation": 15.0, "color_jitter": 0.2, "blur": 1.0}
    root = write_images(tmp_path / "data")
    cfg = config(root, **{f"classifier.{key}": value for key, value in changes.items()})
    classify.run(cfg, tmp_path / "straight")
    with monkeypatch.context() as patch:
        kill_in(patch, epoch=2)
        with pytest.raises(Killed):
            classify.run(cfg, tmp_path / "killed")
    manifest = json.loads((tmp_path / "killed" / "classify" / "manifest.json").read_text())
    assert manifest["status"] != "complete"
    classify.run(cfg, tmp_path / "killed")
    assert_same_end(tmp_path / "straight", tmp_path / "killed")


def test_patience_counts_on_after_an_interruption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    changes = {"classifier.epochs": 8, "classifier.patience": 2, "classifier.monitor": "auroc"}
    cfg = config(write_images(tmp_path / "data"), **changes)
    monkeypatch.setattr(tasks_classify, "mean_auroc", lambda *_, **__: 0.5)  # never better than at first
    classify.run(cfg, tmp_path / "straight")
    assert len(pd.read_csv(tmp_path / "straight" / "classify" / "metrics.csv")["val/loss"].dropna()) == 3
    manifest = json.loads((tmp_path / "straight" / "classify" / "manifest.json").read_text())
    assert manifest["figures"]["best_epoch"] == 1

    with monkeypatch.context() as patch:
        kill_in(patch, epoch=2)
        with pytest.raises(Killed):
            classify.run(cfg, tmp_path / "early")
    classify.run(cfg, tmp_path / "early")
    assert_same_end(tmp_path / "straight", tmp_path / "early")

    def dies(*_: Any, **__: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:  # when it has stopped and nothing is written yet
        patch.setattr(classify, "judge_splits", dies)
        with pytest.raises(Killed):
            classify.run(cfg, tmp_path / "late")
    classify.run(cfg, tmp_path / "late")
    assert_same_end(tmp_path / "straight", tmp_path / "late", log=False)


def test_the_best_epoch_by_auroc_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Of the validation split; test is first looked at when the choice is made."""
    cfg = config(write_images(tmp_path / "data"), **{"classifier.epochs": 3, "classifier.monitor": "auroc"})
    scores, at_end = iter([0.6, 0.9, 0.7]), []
    monkeypatch.setattr(tasks_classify, "mean_auroc", lambda *_, **__: next(scores))
    end = AttributeClassifier.on_validation_epoch_end

    def remembers(self: AttributeClassifier) -> None:
        end(self)
        at_end.append({key: value.clone() for key, value in self.network.network.state_dict().items()})

    monkeypatch.setattr(AttributeClassifier, "on_validation_epoch_end", remembers)
    classify.run(cfg, tmp_path / "run")
    saved = load_classifier(tmp_path / "run" / "classify").network.state_dict()
    assert all(torch.equal(value, at_end[1][key]) for key, value in saved.items())


def run_killed(cfg: Any, run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train, and be killed in the second epoch."""
    with monkeypatch.context() as patch:
        kill_in(patch, epoch=1)
        with pytest.raises(Killed):
            classify.run(cfg, run_dir)


@pytest.mark.parametrize("change", ["a row", "pixels", "labels"])
def test_a_killed_run_does_not_resume_with_other_data(
    change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """Its pixels are kept by position: with a row less, every later image would have another's labels."""
    root = write_images(tmp_path / "data")
    cfg = config(root, **{"classifier.epochs": 2})
    run_killed(cfg, tmp_path / "killed", monkeypatch)
    labels = pd.read_csv(root / "labels.csv")
    if change == "a row":
        labels.drop(index=3).to_csv(root / "labels.csv", index=False)
    elif change == "labels":
        labels.assign(blue=1 - labels["blue"]).to_csv(root / "labels.csv", index=False)
    else:
        Image.fromarray(np.full((16, 16, 3), 9, np.uint8)).save(root / "images" / "5.png")
    with caplog.at_level(logging.WARNING):
        classify.run(cfg, tmp_path / "killed")
    assert "the images, labels or splits have changed since this training was interrupted" in caplog.text
    classify.run(cfg, tmp_path / "straight")
    assert_same_end(tmp_path / "straight", tmp_path / "killed")
    assert not (tmp_path / "killed" / "classify" / "checkpoints").exists()


def test_files_written_anew_with_the_same_content_are_the_same_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """As where a job copies its data to the node each time."""
    root = write_images(tmp_path / "data")
    cfg = config(root, **{"classifier.epochs": 2})
    run_killed(cfg, tmp_path / "killed", monkeypatch)
    for file in (root / "images").iterdir():
        os.utime(file, (1, 1))
    with caplog.at_level(logging.INFO):
        classify.run(cfg, tmp_path / "killed")
    assert "resuming from" in caplog.text and "have changed since" not in caplog.text


def test_a_planted_leak_is_refused_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    cfg = config(write_images(tmp_path / "data"))
    table = load_dataset(cfg.dataset)
    train, test = (table.rows.index[table.rows["split"] == name][0] for name in ("train", "test"))
    table.rows.loc[[train, test], "group"] = "lesion7"
    monkeypatch.setattr(classify, "load_dataset", lambda *_, **__: table)
    with pytest.raises(UserError, match=r"lesion7 is in (train and test|test and train) at once"):
        classify.run(cfg, tmp_path / "run")
    assert not (tmp_path / "run" / "classify" / "pixels").exists()


def test_copies_under_other_groups_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    cfg = config(write_images(tmp_path / "data"), **{"classifier.epochs": 1})
    table = load_dataset(cfg.dataset)
    train, test = (table.split(name)["path"].iloc[0] for name in ("train", "test"))
    Path(test).write_bytes(Path(train).read_bytes())
    with caplog.at_level(logging.WARNING):
        classify.run(cfg, tmp_path / "run")
    assert "2 images have an exact copy in another split" in caplog.text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classifier.monitor": "auroc", "dataset.val_fraction": 0.001}, "need validation images, and there"),
        ({"classifier.patience": 2, "dataset.val_fraction": 0.001}, "need validation images, and there are"),
    ],
)
def test_a_validation_split_that_cannot_decide_is_refused(
    changes: dict[str, Any], message: str, tmp_path: Path
):
    with pytest.raises(UserError, match=message):
        classify.run(config(write_images(tmp_path / "data"), **changes), tmp_path / "run")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("classifier.monitor=auc", "classifier.monitor is 'auc'. Did you mean 'auroc'"),
        ("classifier.patience=-1", "classifier.patience is -1"),
        ("classifier.rotation=270", "classifier.rotation is 270.0, expected a number from 0 to 180"),
        ("classifier.color_jitter=2", "classifier.color_jitter is 2.0, expected a number from 0 to 1"),
        ("classifier.blur=-1", "classifier.blur is -1.0, expected a number from 0 to 100"),
    ],
)
def test_classifier_settings_out_of_range_are_refused(override: str, message: str, compose: Any):
    with pytest.raises(UserError, match=re.escape(message)):
        check(compose("classify", override))


@pytest.mark.parametrize("steps", range(1, 13))
def test_a_training_may_be_as_short_as_it_likes(steps):
    """Few images and epochs make few steps; torch's own rate divides by zero if there are five."""
    weight = torch.nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    rate = one_cycle(optimizer, 0.5, steps=steps)
    rates = [rate.get_last_lr()[0]]
    for _ in range(steps - 1):
        optimizer.step()
        rate.step()
        rates.append(rate.get_last_lr()[0])
    assert max(rates) <= 0.5
    assert steps == 1 or rates[-1] < 1e-5


def test_patience_needs_validation(compose: Any):
    with pytest.raises(UserError, match=r"dataset\.val_fraction is 0"):
        check(compose("classify", "classifier.patience=3", "dataset.val_fraction=0"))


def test_a_classifier_of_a_single_class_trains_without_validation(tmp_path: Path):
    changes = {
        "dataset.classes": ["skin"],
        "dataset.table.class_column": None,
        "dataset.val_fraction": 0.0,
        "dataset.attributes": ["blue"],
        "classifier.epochs": 1,
    }
    found = classify.run(config(write_images(tmp_path / "data"), **changes), tmp_path / "run")
    assert found is None, "without validation there is nothing to choose by"
    metrics = json.loads((tmp_path / "run" / "classify" / "metrics.json").read_text())
    assert list(metrics["test"]) == ["blue"]
    assert metrics["val"]["blue"]["accuracy"] is None
    assert load_classifier(tmp_path / "run" / "classify").predict(torch.zeros(1, 3, 16, 16))[0].shape == (
        1,
        0,
    )


def test_labels_with_one_value_only_are_refused(tmp_path: Path):
    root = write_images(tmp_path / "data")
    table = pd.read_csv(root / "labels.csv")
    table.assign(blue=0).to_csv(root / "labels.csv", index=False)
    with pytest.raises(UserError, match=r"attribute 'blue': no positive among \d+ training images"):
        classify.run(config(root), tmp_path / "run")


def test_sigterm_ends_a_classifier_training_with_status_143(tmp_path: Path):
    import os
    import signal

    from latentpath.training.fit import fit

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
