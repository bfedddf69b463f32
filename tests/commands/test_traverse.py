"""`latentpath traverse` with every kind of edit and start, on a tiny model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch

from latentpath.commands import COMMANDS, classify, evaluate, finetune, phantom, report, traverse
from latentpath.commands import run as everything
from latentpath.errors import UserError
from latentpath.runs.preflight import check_ahead
from latentpath.traversal import tuning
from latentpath.traversal.store import read_flips, read_index, read_latents
from latentpath.traversal.traverse import Traversal


@pytest.fixture(scope="module")
def made(compose, tiny_sd, tmp_path_factory: pytest.TempPathFactory):
    """(overrides -> configuration, run folder) with a judge and a fine-tuned model."""
    folder = tmp_path_factory.mktemp("traverse")

    def configured(*overrides: str):
        return compose(
            "run",
            "experiment=demo",
            f"output_dir={folder}",
            f"model.name={tiny_sd}",
            f"dataset.root={folder / 'isic'}",
            "dataset.phantom.count=120",
            "dataset.phantom.size=32",
            "dataset.image_size=32",
            "dataset.attributes=[hair,ink]",
            "classifier.epochs=1",
            "finetune.max_steps=1",
            "finetune.batch_size=4",
            "timesteps.num_inference_steps=6",
            "timesteps.swap_steps=[0,2,4]",
            "sampler.seeds=3",
            "sampler.shard_seeds=2",
            "metric.frames=3",
            "metric.examples=1",
            "metric.lpips=[]",
            "metric.compare_base=false",
            *overrides,
        )

    for command in (phantom, classify, finetune):
        command.run(configured(), folder / "made")
    return configured, folder / "made"


@pytest.fixture
def run(made, tmp_path):
    """`run(*overrides)` traverses in a copy of its own: (configuration, run folder)."""
    configured, folder = made

    def traversed(*overrides: str, name: str = "mine") -> Path:
        if not (tmp_path / name).exists():
            shutil.copytree(folder, tmp_path / name)
        traverse.run(configured(*overrides), tmp_path / name)
        return tmp_path / name

    traversed.configured = configured
    return traversed


def latents_of(folder: Path) -> tuple[pd.DataFrame, torch.Tensor]:
    index = read_index(folder / "traverse").sort_values(["class", "seed", "method", "attribute", "swap_step"])
    return index, read_latents(folder / "traverse", index)


@pytest.mark.parametrize("sampler", ["dpmpp_2m", "euler", "euler_ancestral"])
def test_every_solver_traverses(run, sampler):
    index, latents = latents_of(run(f"sampler={sampler}"))
    assert len(index) == 2 * 3 * (1 + 2 * 3)
    assert torch.isfinite(latents).all()


def test_every_kind_of_edit_is_stored_scored_and_reported(run):
    overrides = (
        "attribute.combinations=[[hair,ink]]",
        "attribute.removal=true",
        "attribute.strengths=[0.5]",
        "timesteps.windows=[[1,3]]",
        "attribute.orders=[[hair,ink]]",
    )
    folder = run(*overrides)
    index, _ = latents_of(folder)
    of_seed = index[(index["class"] == "MEL") & (index["seed"] == 0)]["method"].value_counts().to_dict()
    assert of_seed == {
        "neutral": 1, "swap": 6, "combination": 3, "strength": 6, "window": 2, "order": 2,
        "present": 2, "removal": 6,
    }  # fmt: skip
    configured = run.configured(*overrides)
    evaluate.run(configured, folder)
    edits = pd.read_csv(folder / "evaluate" / "tables" / "edits.csv")
    assert set(edits["method"]) == {"swap", "combination", "strength", "window", "order", "removal"}
    assert set(edits["attribute"]) == {"hair", "ink", "hair+ink", "ink+hair"}
    (mel, nv) = pd.read_csv(folder / "evaluate" / "tables" / "commutativity.csv")["apart"]
    assert 0 < mel <= 1 and 0 < nv <= 1
    scores = pd.read_parquet(folder / "evaluate" / "scores.parquet")
    assert len(scores[scores["frame"].isna()]) == len(index)
    report.run(configured, folder)
    page = (folder / "report" / "index.html").read_text()
    assert "Other edits than plain swaps" in page and "Commutativity: two edits" in page


def test_a_search_finds_what_the_full_sweep_shows(run):
    """The judge is as good as random here; what counts is that both see the same images."""
    swaps = "timesteps.swap_steps=[0,1,2,3,4,5]"
    folder = run(swaps, "timesteps.bisect=true", "timesteps.checks=6", "timesteps.threshold=0.5")
    flips = read_flips(folder / "traverse")
    assert len(flips) == 2 * 3 * 2
    full = run(swaps, name="full")
    evaluate.run(run.configured(swaps), full)
    scores = pd.read_parquet(full / "evaluate" / "scores.parquet").query("method == 'swap'")
    for flip in flips.to_dict("records"):
        own = scores[
            (scores["class"] == flip["class"]) & (scores["seed"] == flip["seed"])
            & (scores["attribute"] == flip["attribute"])
        ].set_index("swap_step")[f"prob_{flip['attribute']}"]  # fmt: skip
        for step, probability in zip(flip["probed_steps"], flip["probabilities"], strict=True):
            assert probability == pytest.approx(own[step], abs=1e-3)
    evaluate.run(run.configured(swaps, "timesteps.bisect=true", "timesteps.checks=6"), folder)
    points = pd.read_csv(folder / "evaluate" / "tables" / "flip_points.csv").set_index(["class", "attribute"])
    assert points.loc[("MEL", "hair"), ["flips", "never", "already_present"]].sum() == 3


def test_real_images_are_inverted_again_and_again(run):
    overrides = ("inversion=ddim", "sampler.seeds=2", "inversion.split=train", "inversion.rounds=3")
    folder = run(*overrides)
    index = read_index(folder / "traverse" / "composition")
    assert index["strength"].value_counts().to_dict() == dict.fromkeys((0.0, 1.0, 2.0, 3.0), 2 * 2)
    latents = read_latents(folder / "traverse" / "composition", index)
    once = latents[torch.tensor((index["strength"] == 1).tolist())]
    stored = read_index(folder / "traverse").query("method == 'neutral'")
    torch.testing.assert_close(once, read_latents(folder / "traverse", stored), atol=1e-4, rtol=0)
    evaluate.run(run.configured(*overrides), folder)
    table = pd.read_csv(folder / "evaluate" / "tables" / "composition.csv")
    assert table["round"].tolist() == [1, 2, 3] * 2
    assert (table["latent_error"] > 0).all() and table["n"].tolist() == [2] * 6


def test_a_dry_run_tells_the_work_of_inverting_again_and_again(run, capsys, monkeypatch):
    overrides = ("inversion=ddim", "sampler.seeds=2", "inversion.split=train", "inversion.rounds=3")
    run(*overrides, "dry_run=true")
    told = capsys.readouterr().out
    sweep, rows = Traversal.sweep, []

    def counted(*args, **options):
        rows.append((denoise := sweep(*args, **options)).rows)
        return denoise

    monkeypatch.setattr(Traversal, "sweep", counted)
    folder = run(*overrides)
    assert len(rows) == 2 and f"U-Net rows    {sum(rows):,}" in told
    images = len(read_index(folder / "traverse")) + len(read_index(folder / "traverse" / "composition"))
    assert f"images        {images:,}" in told


def test_real_images_come_back_from_their_inversion(run):
    folder = run("inversion=ddpm", "sampler.guidance_scale=7.5", "sampler.seeds=2", "inversion.split=train")
    originals = pd.read_parquet(folder / "traverse" / "originals.parquet")
    assert len(originals) == 2 * 2
    assert (
        originals["latent_error"].max() < 1e-3
    )  # of latents of a hundredth of the noise: tiny_sd has no colours
    assert (originals["psnr"] - originals["psnr_vae"]).abs().max() < 0.1
    assert (folder / "traverse" / "originals.png").exists()
    drifting = run("inversion=ddim", "sampler.seeds=2", "inversion.split=train", name="ddim")
    errors = pd.read_parquet(drifting / "traverse" / "originals.parquet")["latent_error"]
    assert errors.max() > 1e-2


def test_too_few_real_images_are_counted(run):
    with pytest.raises(UserError, match=r"\d+ patients or lesions of MEL in the val split .* of hair, ink"):
        run("inversion=ddpm", "inversion.split=val", "sampler.seeds=100")


def test_a_process_does_the_work_of_another_that_never_came(run):
    index, alone = latents_of(run(name="alone"))
    folder = run("sampler.process=1", "sampler.processes=2")
    assert json.loads((folder / "traverse" / "manifest.json").read_text())["status"] == "complete"
    other, shared = latents_of(run("sampler.process=0", "sampler.processes=2"))
    assert other.reset_index(drop=True).equals(index.reset_index(drop=True))
    assert torch.equal(shared, alone)


def test_what_is_found_by_trying_changes_no_result(run):
    _, plain = latents_of(run(name="plain"))
    _, tuned = latents_of(
        run("sampler.batch_size=auto", "sampler.attention=auto", "sampler.channels_last=true")
    )
    torch.testing.assert_close(plain, tuned, atol=1e-4, rtol=0)


def test_other_weights_refuse_to_mix(run):
    folder = run("sampler.seeds=2")
    weights = folder / "finetune" / "pipeline" / "unet" / "diffusion_pytorch_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(UserError, match=r"the weights of finetune/pipeline: [0-9a-f]+ there, [0-9a-f]+ now"):
        run("sampler.seeds=2")


def test_a_dry_run_tells_the_cost_and_writes_nothing(run, capsys, made):
    folder = run("dry_run=true")
    out = capsys.readouterr().out
    assert not (folder / "traverse").exists()
    assert f"U-Net calls   {2 * 3 * (6 + 2 * (6 + 4 + 2)):,} " in out
    assert "time          about" in out
    assert "FLOP          " in out
    assert "n/a" not in out


def test_a_dry_run_tells_the_cost_of_sliders_that_are_not_trained(run, capsys):
    run("dry_run=true", "method=[swap,slider]", "method.slider.dials=[0.5,1]")
    out = capsys.readouterr().out
    assert f"U-Net rows    {2 * 3 * 2 * (6 + 3 * 2 * (6 + 4 + 2)):,}" in out
    assert "time          n/a: no step was timed" in out


def test_a_dry_run_counts_the_direction_of_h_space_once_a_class(run, capsys):
    run("dry_run=true", "method=[swap,hspace]", "method.hspace.seeds=5")
    rows = 3 * (2 * (6 + 2 * 12) + 3 * 2 * 12) + 5 * 6 * (3 + 2)
    assert f"U-Net rows    {2 * rows:,}" in capsys.readouterr().out


def test_the_cost_of_a_model_is_told_without_its_weights(compose, tiny_sdxl, isic_32, tmp_path, capsys):
    folder = shutil.copytree(tiny_sdxl, tmp_path / "base", ignore=shutil.ignore_patterns("*.safetensors"))
    own = [f"model.name={folder}", f"dataset.root={isic_32}", "dataset.image_size=32", "dry_run=true"]
    cfg = compose(
        "traverse", "experiment=demo", "dataset.phantom.count=0", "timesteps.swap_steps=[0,2]", *own
    )
    check_ahead(cfg, COMMANDS["traverse"], tmp_path / "run")
    traverse.run(cfg, tmp_path / "run")
    told = capsys.readouterr().out
    assert "time          n/a: no step was timed" in told and "FLOP          " in told
    cfg.dry_run = False
    with pytest.raises(UserError, match=r"unet: diffusion_pytorch_model.safetensors is missing"):
        check_ahead(cfg, COMMANDS["traverse"], tmp_path / "run")


def test_overwriting_is_for_one_process_alone(run):
    with pytest.raises(UserError, match="one process alone"):
        run("overwrite=true", "sampler.process=0", "sampler.processes=2")


def test_another_runs_model_and_judge_are_taken_with_from_run(made, tmp_path):
    configured, folder = made
    overrides = (f"from_run={folder.name}", "timesteps.swap_steps=[1,3]")
    mine = folder.parent / "other_steps"
    everything.run(configured(*overrides), mine)
    assert sorted(path.name for path in mine.iterdir()) == ["evaluate", "report", "traverse"]
    page = (mine / "report" / "index.html").read_text()
    assert "Classifier on the held-out images" in page
    with pytest.raises(UserError, match=r"finetune.max_steps: 1 there, 2 now"):
        traverse.run(configured(*overrides, "finetune.max_steps=2"), folder.parent / "another")


def test_the_base_is_sampled_as_the_fine_tuned_model_was_tuned(run, monkeypatch):
    """On a GPU to try batch sizes and attention takes a while, and another shape is compiled for minutes."""
    tried, largest = [], tuning.largest_batch
    monkeypatch.setattr(tuning, "largest_batch", lambda *a, **k: tried.append(largest(*a, **k)) or tried[-1])
    folder = run("sampler.batch_size=auto", "metric.compare_base=true")
    assert len(tried) == 1
    assert len(read_index(folder / "traverse" / "base")) == 2 * 3 * (1 + 2)
