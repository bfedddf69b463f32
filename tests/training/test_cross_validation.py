"""Cross-validation of the last layer: no image is judged by a layer that saw its group."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from latentpath.commands import classify
from latentpath.config.checks import check
from latentpath.errors import UserError
from latentpath.judge.classifier import Classifier
from latentpath.judge.networks import build_network
from latentpath.training.classify import LabelWeights
from latentpath.training.cross_validation import cross_validate, fold_of
from latentpath.training.labelled_images import LabelledImages


class Splits:
    """The splits of 60 groups of three images whose brightness, or nothing, tells the label of the group."""

    def __init__(self, *, visible: bool) -> None:
        rng = np.random.default_rng(0)
        groups = np.repeat(np.arange(60), 3)
        label = np.repeat(rng.random(60) < 0.5, 3)
        # Each group has its own colour: a layer that saw a group knows its label by heart.
        images = np.repeat(rng.integers(60, 180, (60, 3, 1, 1)), 3, axis=0) * np.ones((180, 3, 32, 32))
        images = (images + 60 * label[:, None, None, None] * visible + rng.normal(0, 3, images.shape)).clip(
            0, 255
        )
        parts = {"train": groups < 40, "val": (groups >= 40) & (groups < 50), "test": groups >= 50}
        labels = torch.tensor(label[:, None], dtype=torch.float32)
        self.splits = {
            name: LabelledImages(
                images.astype(np.uint8),
                np.flatnonzero(part),
                torch.zeros(int(part.sum()), dtype=torch.long),
                labels[torch.from_numpy(part)],
                groups[part],
            )
            for name, part in parts.items()
        }


@pytest.fixture(scope="module")
def judge() -> Classifier:
    torch.manual_seed(0)
    arch = "tf_efficientnet_lite0"
    network = build_network(arch, num_outputs=1, pretrained=False, trainable="head")
    return Classifier(
        network, arch=arch, trainable="head", image_size=32, classes=["c"], attributes=["bright"]
    ).eval()


@pytest.mark.parametrize(("visible", "low", "high"), [(True, 0.9, 1.0), (False, 0.25, 0.72)])
def test_cross_validation_does_not_credit_memorised_groups(judge, visible: bool, low: float, high: float):
    weights = LabelWeights(torch.ones(0), torch.ones(1))
    data = Splits(visible=visible)
    found = cross_validate(judge, data, weights=weights, penalty={"bright": 0.1}, folds=5)
    assert found["images"] == 180 and found["folds"] == 5
    row = found["heads"]["bright"]
    assert row["groups"] == 60 and row["positives"] + row["negatives"] == 180
    assert low <= row["auroc"]["value"] <= high


def test_folds_keep_groups_together_and_are_about_equal():
    groups = np.repeat([f"patient {i}" for i in range(500)], 2)
    fold = fold_of(groups, 5)
    assert (fold[::2] == fold[1::2]).all() and set(fold) == set(range(5))
    assert np.bincount(fold).min() > 140
    assert (fold_of(groups[:10], 5) == fold[:10]).all()


def test_a_label_of_one_fold_cannot_be_learned(judge):
    data = Splits(visible=True)
    only = fold_of(np.arange(60), 5)[7] == fold_of(np.arange(60), 5)
    for split in data.splits.values():
        split.attribute_labels[:] = torch.from_numpy(only[split.groups][:, None]).float()
    with pytest.raises(UserError, match="Take fewer folds"):
        cross_validate(
            judge, data, weights=LabelWeights(torch.ones(0), torch.ones(1)), penalty={"bright": 0.1}, folds=5
        )


@pytest.mark.parametrize(
    "overrides", [["classifier.folds=5"], ["classifier.folds=1", "classifier.trainable=head"]]
)
def test_folds_need_a_frozen_network(compose, overrides: list[str]):
    with pytest.raises(UserError, match="two folds or more, and"):
        check(compose("classify", "classifier=efficientnet_lite0", *overrides))


def test_the_chest_experiment_cross_validates_its_judge(compose, tmp_path: Path, monkeypatch):
    """On drawn films: the whole command, with the shipped configuration."""
    from PIL import Image

    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    lines = ["image,Effusion,Pneumonia,patient_id"]
    for i in range(120):
        effusion, pneumonia = rng.random(2) < 0.4
        film = rng.normal(110, 10, (40, 40))
        film[28:] += 60 * effusion
        film[5:15, 5:15] += 60 * pneumonia
        Image.fromarray(film.clip(0, 255).astype(np.uint8)).save(tmp_path / "images" / f"{i}.png")
        lines.append(f"{i}.png,{int(effusion)},{int(pneumonia)},p{i // 2}")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    smaller = ("dataset.image_size=32", "classifier.image_size=48", "classifier.folds=3")
    cfg = compose(
        "classify",
        "experiment=chest_xray_128",
        f"dataset.root={tmp_path}",
        "classifier.pretrained=false",
        *smaller,
    )
    classify.run(cfg, tmp_path / "run")
    found = json.loads((tmp_path / "run" / "classify" / "metrics.json").read_text())["cross_validation"]
    assert found["folds"] == 3 and found["images"] == 120
    for name in ("Effusion", "Pneumonia"):
        row = found["heads"][name]
        assert (
            row["groups"] == 60 and row["auroc"]["low"] > 0.7 and row["positives"] + row["negatives"] == 120
        )
