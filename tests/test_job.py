"""All stages on a few phantoms with random weights: every artefact exists, and every stage resumes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from latentpath.commands import evaluate, run, traverse
from latentpath.errors import UserError
from latentpath.evaluation.scoring import Scorer
from latentpath.metrics.figure_table import FigureTable, Reading
from latentpath.traversal.traverse import Traversal


@pytest.fixture(scope="module")
def job(compose, tiny_sd, tmp_path_factory: pytest.TempPathFactory):
    """(overrides -> configuration, run folder) of a finished job."""
    folder = tmp_path_factory.mktemp("job")

    def configured(*overrides: str):
        return compose(
            "run",
            "experiment=demo",
            "name=tiny",
            f"output_dir={folder}",
            f"model.name={tiny_sd}",
            f"dataset.root={folder / 'isic'}",
            "dataset.phantom.count=60",
            "dataset.phantom.size=32",
            "dataset.image_size=32",
            "classifier.epochs=1",
            "finetune.max_steps=2",
            "finetune.batch_size=4",
            "timesteps.num_inference_steps=4",
            "timesteps.swap_steps=[0,2]",
            "sampler.seeds=3",
            "sampler.shard_seeds=2",
            "metric.frames=3",
            "metric.examples=1",
            "metric.lpips=[alex]",
            *overrides,
        )

    run.run(configured(), folder / "tiny")
    return configured, folder / "tiny"


def test_every_artefact_is_there(job):
    _, folder = job
    for file in (
        "finetune/pipeline/model_index.json",
        "finetune/samples/base.png",
        "finetune/samples/final.png",
        "finetune/metrics.csv",
        "classify/classifier.safetensors",
        "classify/metrics.json",
        "traverse/index.parquet",
        "traverse/plan.json",
        "traverse/base/index.parquet",
        "evaluate/scores.parquet",
        "evaluate/metrics.json",
        "evaluate/figures.parquet",
        "evaluate/figures.csv",
        "evaluate/tsne.parquet",
        "evaluate/tables/fidelity.csv",
        "evaluate/tables/copies.csv",
        "evaluate/copies.html",
        "evaluate/examples.parquet",
        "report/index.html",
        "report/overview.png",
    ):
        assert (folder / file).exists(), file
    for stage in ("finetune", "classify", "traverse", "evaluate", "report"):
        assert json.loads((folder / stage / "manifest.json").read_text())["status"] == "complete"


def test_scores_hold_a_row_an_image(job):
    scores = pd.read_parquet(job[1] / "evaluate" / "scores.parquet")
    counts = scores.groupby(["model", "method"]).size()
    seeds, classes, attributes = 3, 2, 4
    assert counts["finetuned", "neutral"] == classes * seeds
    assert counts["finetuned", "swap"] == classes * seeds * attributes * 2
    for method in ("bezier", "slerp", "lerp"):
        assert counts["finetuned", method] == classes * seeds * attributes * 3
    assert counts["base", "swap"] == classes * seeds * attributes
    key = ["class", "seed", "attribute", "method", "swap_step", "frame", "model"]
    assert not scores.duplicated(key).any()
    assert scores["prob_hair"].between(0, 1).all()


def test_a_curve_begins_at_the_neutral_image_and_ends_at_the_strongest_swap(job):
    """Frames are decoded anew from interpolated latents, so this binds scores of two ways to one image."""
    scores = pd.read_parquet(job[1] / "evaluate" / "scores.parquet").query("model == 'finetuned'")
    first = scores[(scores["method"] == "bezier") & (scores["frame"] == 0)]
    assert first["l1"].max() < 1e-5
    heads = [c for c in scores if c.startswith("prob_")]
    last = scores[(scores["method"] == "bezier") & (scores["frame"] == 2)].set_index(
        ["class", "seed", "attribute"]
    )[heads]
    swap = scores[(scores["method"] == "swap") & (scores["swap_step"] == 0)].set_index(
        ["class", "seed", "attribute"]
    )[heads]
    assert (last - swap.loc[last.index]).abs().max().max() < 1e-4


def test_both_ends_of_every_trajectory_are_held_against_the_training_images_in_both_spaces(job):
    _, folder = job
    index = pd.read_parquet(folder / "traverse" / "index.parquet")
    keys = ["class", "seed", "attribute", "swap_step"]
    plain = index["method"].isin(["neutral", "swap"])
    ends = set(index.loc[plain & index["swap_step"].isin([0, 4]), keys].itertuples(index=False, name=None))
    copies = pd.read_csv(folder / "evaluate" / "tables" / "copies.csv", keep_default_na=False)
    assert set(copies["space"]) == {"latent", "judge"}
    for _, rows in copies.groupby("space"):
        assert sorted(rows[keys].itertuples(index=False, name=None)) == sorted(ends)
    page = (folder / "evaluate" / "copies.html").read_text()
    shown = {part.split('"')[0] for part in page.split('src="')[1:]}
    assert shown and all(uri.startswith("data:image/webp;base64,") for uri in shown)
    report = (folder / "report" / "index.html").read_text()
    assert "copies.html" not in report and not any(uri in report for uri in shown)


def test_a_second_run_does_nothing_again(job, monkeypatch):
    configured, folder = job
    for module, name in ((evaluate, "_evaluate"), (Traversal, "sweep")):
        monkeypatch.setattr(module, name, lambda *a, **k: pytest.fail("complete work was done again"))
    run.run(configured(), folder)


def test_another_configuration_is_not_mixed_in(job):
    configured, folder = job
    with pytest.raises(UserError, match=r"sampler.guidance_scale: 3.0 there, 5.0 now"):
        traverse.run(configured("sampler.guidance_scale=5.0"), folder)
    with pytest.raises(UserError, match=r"finetune.max_steps: 2 there, 3 now"):
        traverse.run(configured("finetune.max_steps=3"), folder)


def test_a_killed_evaluation_scores_only_what_is_left(job, monkeypatch, tmp_path):
    configured, folder = job
    copy = tmp_path / "tiny"
    shutil.copytree(folder, copy)
    shutil.rmtree(copy / "evaluate")
    score, scored = Scorer.score_seed, []

    def dies_at_the_fourth(self, rows, latents, **kw):
        scored.append(1)
        if len(scored) == 4:
            raise RuntimeError("killed")
        return score(self, rows, latents, **kw)

    monkeypatch.setattr(Scorer, "score_seed", dies_at_the_fourth)
    with pytest.raises(RuntimeError, match="killed"):
        evaluate.run(configured(), copy)
    monkeypatch.setattr(Scorer, "score_seed", lambda *a, **k: scored.append(1) or score(*a, **k))
    scored.clear()
    evaluate.run(configured(), copy)
    assert (
        len(scored) == 12 - 3
    )  # two models, two classes, three seeds; shards of two seeds and one were done
    pd.testing.assert_frame_equal(
        pd.read_parquet(copy / "evaluate" / "scores.parquet"),
        pd.read_parquet(folder / "evaluate" / "scores.parquet"),
    )


def test_two_processes_evaluate_as_one_and_the_first_computes_the_figures(job, monkeypatch, tmp_path):
    configured, folder = job
    copy = tmp_path / "tiny"
    shutil.copytree(folder, copy)
    shutil.rmtree(copy / "evaluate")

    def process(index: int):
        return configured(f"sampler.process={index}", "sampler.processes=2")

    assert evaluate.run(process(1), copy) is None
    assert json.loads((copy / "evaluate" / "manifest.json").read_text())["status"] == "started"
    part = copy / "evaluate" / "parts" / "scores_finetuned_MEL-000000-000001.parquet"
    part.unlink()  # as if process 1 had been killed in this shard
    score, scored = Scorer.score_seed, []
    monkeypatch.setattr(Scorer, "score_seed", lambda *a, **k: scored.append(1) or score(*a, **k))
    evaluate.run(process(0), copy)
    assert len(scored) == 2  # the seeds of that shard
    for file in ("scores.parquet", "figures.parquet", "examples.parquet"):
        pd.testing.assert_frame_equal(
            pd.read_parquet(copy / "evaluate" / file), pd.read_parquet(folder / "evaluate" / file)
        )
    for file in ("tables/fidelity.csv", "tables/copies.csv", "metrics.json"):
        assert (copy / "evaluate" / file).read_text() == (folder / "evaluate" / file).read_text()
    assert not any((copy / "evaluate" / "claims").iterdir())
    assert json.loads((copy / "evaluate" / "manifest.json").read_text())["status"] == "complete"


def test_missing_lpips_weights_are_named_and_not_replaced(job, tmp_path):
    metrics = json.loads((job[1] / "evaluate" / "metrics.json").read_text())
    figures = FigureTable(pd.read_parquet(job[1] / "evaluate" / "figures.parquet"))
    assert figures.get("lpips_alex", "MEL", "hair") == Reading()
    assert any("LPIPS (alex) is n/a" in note for note in metrics["notes"])


def test_the_report_names_no_folder_of_this_machine(job):
    page = (job[1] / "report" / "index.html").read_text()
    assert str(Path(job[1]).parent) not in page
    assert "Likeness to held-out images that show the same" in page
