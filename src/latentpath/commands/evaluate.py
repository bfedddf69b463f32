"""`latentpath evaluate`: score every image, then compute every figure."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from omegaconf import OmegaConf

from latentpath.commands import EVALUATE
from latentpath.config.schema import Config
from latentpath.data.images import ImageSpec
from latentpath.data.load import load_dataset
from latentpath.data.records import ImageTable
from latentpath.diffusion.cached_latents import cached_latents
from latentpath.diffusion.components import BaseModel
from latentpath.diffusion.execution import device_of
from latentpath.evaluation.against_data import (
    FDR,
    copies_by_class,
    copy_table,
    decoded_features,
    fidelity_table,
    held_out_features,
    held_out_latents,
    training_latents,
)
from latentpath.evaluation.copies_page import NAMES, write_copies_page
from latentpath.evaluation.latents import geometry, write_map
from latentpath.evaluation.scoring import Scorer
from latentpath.evaluation.shards import read_features, score_shards, stored_sweeps
from latentpath.evaluation.summary import print_summary, summarise
from latentpath.evaluation.tables import write_tables
from latentpath.evaluation.tracked import log_evaluation
from latentpath.judge.classifier import load_classifier
from latentpath.judge.features import features_of, in_batches, network_or_none
from latentpath.metrics import (
    Scored,
    lpips_or_none,
    strong_swap_steps,
)
from latentpath.metrics.figure_table import FigureTable
from latentpath.metrics.measures import own_measures
from latentpath.runs.files import read_json, read_parquet, write_csv, write_json
from latentpath.runs.progress import bar
from latentpath.runs.stages import open_stage, stage_dir
from latentpath.runs.tracking import build_loggers
from latentpath.runs.weights import WeightsFolder
from latentpath.traversal.store import read_flips, read_latents

log = logging.getLogger(__name__)


def run(cfg: Config, run_dir: Path) -> float | None:
    """Score and evaluate; return the mean CFRT over classes and attributes (swaps, released definition)."""
    folder = WeightsFolder(cfg.weights_dir)
    lpips: dict[str, Any] = {net: lpips_or_none(net, folder) for net in cfg.metric.lpips}
    # If missing weights have been added since, the stage must be made again instead of keeping n/a.
    weights = {f"lpips {net}": "missing" if network is None else "there" for net, network in lpips.items()}
    for name in _other_networks(cfg):
        weights[f"features {name}"] = "there" if folder.feature_network(name).is_file() else "missing"
    with (
        own_measures(cfg.metric.measures, cfg.plugins),
        open_stage(run_dir, EVALUATE, cfg, weights=weights) as stage,
    ):
        if stage.complete:
            log.info("evaluate is complete: %s", stage.path)
        else:
            trackers = build_loggers(cfg.logger, stage.path, cfg.name, config=cfg)[1:]  # no CSV of one row
            stage.figures = _evaluate(cfg, run_dir, stage.path, lpips)
            log_evaluation(trackers, stage.path)
        figures = FigureTable(read_parquet(stage.path / "figures.parquet"))
        print_summary(figures, read_json(stage.path / "metrics.json"))
        return stage.figures["cfrt_released"]


def _evaluate(cfg: Config, run_dir: Path, folder: Path, lpips: dict[str, Any]) -> dict[str, Any]:
    traverse = stage_dir(run_dir, "traverse", cfg)
    weights = WeightsFolder(cfg.weights_dir)
    plan = read_json(traverse / "plan.json")
    classifier = load_classifier(stage_dir(run_dir, "classify", cfg), plugins=cfg.plugins)
    device = device_of(cfg.trainer.accelerator)
    vae: Any = BaseModel(str(stage_dir(run_dir, "finetune", cfg) / "pipeline")).vae()
    scorer = Scorer(
        vae=vae.to(device),
        classifier=classifier.to(device),
        lpips={net: network and network.to(device) for net, network in lpips.items()},
        networks={
            name: network.to(device)
            for name in _other_networks(cfg)
            if (network := network_or_none(name, weights))
        },
        device=device,
        interpolations=list(cfg.metric.interpolations),
        frames=cfg.metric.frames,
        arc_length=cfg.metric.arc_length,
    )
    sweeps = stored_sweeps(traverse)
    tuned = sweeps[0]
    scores = score_shards(scorer, sweeps, folder, pictured=plan["seeds"][: cfg.metric.examples])
    if cfg.metric.tsne:
        write_map(tuned, folder / "tsne.parquet", random_state=cfg.seed)
    scored = Scored(
        scores,
        heads=classifier.attributes,
        classes=plan["classes"],
        threshold=cfg.metric.threshold,
        resamples=cfg.metric.resamples,
    )
    strong = cfg.metric.strong_swap_steps or strong_swap_steps(plan["swap_steps"])
    figures = write_tables(
        folder,
        scored,
        attributes=plan["attributes"],
        strong=strong,
        geometry=geometry(tuned, scores),
        flips=read_flips(tuned.folder),
        temperatures=classifier.temperatures,
    )
    metrics = summarise(
        figures,
        scored,
        attributes=plan["attributes"],
        num_inference_steps=plan["num_inference_steps"],
        swap_steps=plan["swap_steps"],
        strong=strong,
    )
    if cfg.metric.against_data:
        metrics["notes"] += _against_data(cfg, folder, scorer, tuned.index, tuned.folder)
    missing = [net for net, model in lpips.items() if model is None]
    metrics["notes"] += [
        f"LPIPS ({net}) is n/a: its backbone's weights are not on this machine" for net in missing
    ]
    write_json(folder / "metrics.json", metrics)
    mean = metrics["cfrt_mean"]["swap"]
    return {key: mean[key] for key in ("cfrt_released", "cfrt_strict")} | {"images": len(scores)}


def _other_networks(cfg: Config) -> list[str]:
    """Return the networks of `metric.features` other than the judge, if the data set is read."""
    return [name for name in cfg.metric.features if name != "judge" and cfg.metric.against_data]


def _against_data(cfg: Config, folder: Path, scorer: Scorer, index: pd.DataFrame, source: Path) -> list[str]:
    """Compare with held-out images and search copies of training images; return notes."""
    if OmegaConf.is_missing(cfg.dataset, "root") or not Path(cfg.dataset.root).is_dir():
        return ["Fidelity and copies of training images are n/a: dataset.root is not on this machine"]
    dataset = load_dataset(cfg.dataset, plugins=cfg.plugins)
    features = read_features(folder)
    return [
        *_fidelity(cfg, folder, scorer, dataset, index, features, source),
        *_copies(cfg, folder, scorer, dataset, index, features, read_latents(source, index)),
    ]


def _fidelity(
    cfg: Config,
    folder: Path,
    scorer: Scorer,
    dataset: ImageTable,
    index: pd.DataFrame,
    features: pd.DataFrame,
    source: Path,
) -> list[str]:
    """Write tables/fidelity.csv."""
    networks: dict[str, Any] = {"judge": partial(features_of, scorer.classifier)}
    networks |= {name: partial(in_batches, network) for name, network in scorer.networks.items()}
    there = {name: networks[name] for name in cfg.metric.features if name in networks}
    originals = source / "originals.parquet"  # of real images that were inverted
    own = read_parquet(originals).get("group", []) if originals.is_file() else []
    spec, vae = ImageSpec.of(cfg.dataset), scorer.vae
    held_out = held_out_features(there, dataset, spec, vae=vae, without=own)
    shown = {"classes": dataset.classes, "attributes": dataset.attributes}
    compared = features["compared"]
    generated = index[compared.to_numpy()].reset_index(drop=True)
    tables = {
        name: fidelity_table(
            generated, np.stack(features.loc[compared, name].tolist()), held_out, name, **shown
        )
        for name in there
    }
    if tables:
        table = pd.concat(tables, names=["features"]).reset_index(level="features")
        write_csv(folder / "tables" / "fidelity.csv", table)
    missing = [name for name in cfg.metric.features if name not in networks]
    return [f"FID ({name}) is n/a: its weights are not on this machine" for name in missing]


def _copies(
    cfg: Config,
    folder: Path,
    scorer: Scorer,
    dataset: ImageTable,
    index: pd.DataFrame,
    features: pd.DataFrame,
    latents: torch.Tensor,
) -> list[str]:
    """Write tables/copies.csv and copies.html."""
    base = BaseModel.of(cfg.model, WeightsFolder(cfg.weights_dir))
    cache = cached_latents(
        base,
        dataset,
        ImageSpec.of(cfg.dataset),
        caches=Path(cfg.output_dir) / ".latents",
        device=scorer.device,
    )
    vae, judge = scorer.vae, partial(features_of, scorer.classifier)
    training = training_latents(cache, vae.config.scaling_factor)
    held_out = held_out_latents(vae, dataset, ImageSpec.of(cfg.dataset))
    with bar("judging real images", len(training) + len(held_out)) as advance:
        judged = [decoded_features(vae, judge, z, advance) for z in (training, held_out)]
    spaces = {
        "latent": (latents.numpy(), training.numpy(), held_out.numpy()),
        "judge": (np.stack(features["judge"].tolist()), *judged),
    }
    found = copy_table(index, spaces)
    for name, table in (("copies", found), ("copies_by_class", copies_by_class(found))):
        write_csv(folder / "tables" / f"{name}.csv", table)
    lpips = next(((net, network) for net, network in scorer.lpips.items() if network is not None), None)
    write_copies_page(folder / "copies.html", found, latents, training, vae, lpips)
    log.info("closest training images, not for others' eyes: %s", folder / "copies.html")
    return [
        f"{rows['flagged'].sum()} of {len(rows[['class', 'seed']].drop_duplicates())} seeds look like copies "
        f"of a training image by {NAMES[str(space)]}, at a false discovery rate of {FDR}"
        for space, rows in found.groupby("space", sort=False)
        if rows["flagged"].any()
    ]
