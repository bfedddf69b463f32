"""The model card of a fine-tuned pipeline: valid for the hub, complete, and free of paths and identifiers."""

from __future__ import annotations

import pandas as pd
import pytest
from huggingface_hub import ModelCard, ModelCardData

from latentpath.data.load import load_dataset
from latentpath.metrics.figure_table import COLUMNS, FigureTable
from latentpath.report.model_card import FILE, NOT_EVALUATED, add_evaluation, write_card

# What the hub takes: https://huggingface.co/docs/hub/model-cards
KEYS = {
    "library_name",
    "pipeline_tag",
    "license",
    "license_name",
    "language",
    "tags",
    "base_model",
    "model-index",
}


@pytest.fixture
def pipeline(compose, tiny_sd, isic_32, tmp_path):
    def written(*overrides, base=tiny_sd):
        cfg = compose(
            "finetune", "experiment=demo", f"dataset.root={isic_32}", f"model.name={tiny_sd}", *overrides
        )
        folder = tmp_path / "run-7" / "finetune" / "pipeline"
        folder.mkdir(parents=True, exist_ok=True)
        write_card(folder, cfg, load_dataset(cfg.dataset), base=base)
        return folder

    return written


def figures(**values):
    rows = []
    for key, (value, low, high) in values.items():
        at = dict.fromkeys(COLUMNS)
        rows.append(
            at
            | {"figure": key, "method": "swap", "model": "finetuned", "reason": ""}
            | {"value": value, "low": low, "high": high, "n": 16}
        )
    return FigureTable(pd.DataFrame(rows, columns=COLUMNS))


JUDGE = {"hair": {"accuracy": 0.98, "auroc": None, "count": 28}}


def test_the_card_is_valid_and_holds_what_a_reader_asks(pipeline, isic_32):
    text = (pipeline() / FILE).read_text()
    card = ModelCard(text)  # parses the metadata as the hub does
    assert isinstance(card.data, ModelCardData)
    assert card.data.library_name == "diffusers" and card.data.pipeline_tag == "text-to-image"
    assert set(card.data.to_dict()) <= KEYS
    for part in (
        "Intended use",
        "Not intended",
        "Limits",
        "Training data",
        "Evaluation",
        "Licences",
        "Versions",
    ):
        assert f"\n## {part}\n" in text
    assert NOT_EVALUATED in text and "max_steps: 400" in text and "| torch | " in text
    assert "a dermoscopic image with melanoma" in text


def test_counts_are_those_of_the_training_split(pipeline, compose, isic_32):
    text = (pipeline() / FILE).read_text()
    table = load_dataset(compose("finetune", "experiment=demo", f"dataset.root={isic_32}").dataset)
    rows = table.split("train")
    assert f"{len(rows):,} images of {rows['group'].nunique():,} groups" in text
    assert f"| class MEL | {(rows['cls'] == 'MEL').sum()} |" in text
    assert f"| hair | {(rows['hair'] == 1).sum()} |" in text


def test_no_path_and_no_identifier_is_in_it(pipeline, tiny_sd, isic_32, compose):
    text = (pipeline("output_dir=/srv/canary/outputs") / FILE).read_text()
    table = load_dataset(compose("finetune", "experiment=demo", f"dataset.root={isic_32}").dataset)
    for secret in (str(isic_32), str(tiny_sd), str(tiny_sd.parent), "canary", *table.rows["image_id"]):
        assert secret not in text


def test_the_licence_is_that_of_the_base_and_of_the_data(pipeline, tmp_path):
    base = tmp_path / "base"
    base.mkdir()
    assert ModelCard((pipeline(base=base) / FILE).read_text()).data.license == "other"
    (base / FILE).write_text("---\nlicense: creativeml-openrail-m\n---\n# a base\n")
    text = (pipeline(base=base) / FILE).read_text()
    assert ModelCard(text).data.license == "creativeml-openrail-m"
    assert "- Data: none needed: the images are drawn" in text
    assert "- Data: CC BY-NC 4.0" in (pipeline("dataset.phantom.count=0") / FILE).read_text()
    assert ModelCard((pipeline("model.name=owner/base") / FILE).read_text()).data.base_model == "owner/base"


def test_an_evaluation_is_added_and_replaced(pipeline):
    folder = pipeline()
    add_evaluation(folder, figures(selectivity=(0.5, 0.2, 0.7)), judge=JUDGE)
    add_evaluation(folder, figures(selectivity=(0.9, 0.8, 0.95), flipped=(1.0, None, None)), judge=JUDGE)
    text = (folder / FILE).read_text()
    assert "| selectivity | 0.90 | 0.80 | 0.95 | 16 |" in text and "0.50" not in text
    assert "| flip rate | 1.00 |  |  | 16 |" in text and "| CFRT, strict | n/a | | | |" in text
    assert "| hair | 0.98 | n/a | 28 |" in text and text.count("## Evaluation") == 1
    (result, *_) = ModelCard(text).data.eval_results
    assert (result.metric_type, result.metric_value) == ("selectivity", 0.9)
    assert "\n## Licences\n" in text


def test_a_pipeline_without_a_card_is_left_alone(tmp_path):
    add_evaluation(tmp_path, figures(selectivity=(0.5, 0.2, 0.7)), judge=JUDGE)
    assert list(tmp_path.iterdir()) == []
