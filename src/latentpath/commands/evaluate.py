"""`latentpath evaluate`: score every image, then compute every figure."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from latentpath.commands import EVALUATE
from latentpath.config.schema import Config
from latentpath.data.images import ImageSpec
from latentpath.data.load import load_dataset
from latentpath.diffusion.cached_latents import cached_latents
from latentpath.diffusion.components import BaseModel
from latentpath.diffusion.execution import device_of
from latentpath.evaluation.copies import held_out_latents, training_latents, write_copies
from latentpath.evaluation.fidelity import write_fidelity
from latentpath.evaluation.latents import geometry, write_map
from latentpath.evaluation.scoring import Scorer
from latentpath.evaluation.shards import StoredSweep, read_features, score_shards, stored_sweeps
from latentpath.evaluation.summary import print_summary, summarise
from latentpath.evaluation.tables import write_tables
from latentpath.evaluation.tracked import log_evaluation
from latentpath.judge.classifier import load_classifier
from latentpath.judge.features import network_or_none
from latentpath.metrics import (
    Scored,
    lpips_or_none,
    strong_swap_steps,
)
from latentpath.metrics.figure_table import FigureTable
from latentpath.metrics.measures import own_measures
from latentpath.runs.files import read_json, read_parquet, write_json
from latentpath.runs.stages import open_stage, stage_dir
from latentpath.runs.tracking import build_loggers
from latentpath.runs.weights import WeightsFolder
from latentpath.traversal.store import read_flips

log = logging.getLogger(__name__)

PLAN_KEYS = ("classes", "attributes", "num_inference_steps", "swap_steps", "seeds")  # of plan.json


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
    plan = read_json(traverse / "plan.json", keys=PLAN_KEYS)
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
        metrics["notes"] += _against_data(cfg, folder, scorer, tuned)
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


def _against_data(cfg: Config, folder: Path, scorer: Scorer, sweep: StoredSweep) -> list[str]:
    """Compare with held-out images and search copies of training images; return notes."""
    if OmegaConf.is_missing(cfg.dataset, "root") or not Path(cfg.dataset.root).is_dir():
        return ["Fidelity and copies of training images are n/a: dataset.root is not on this machine"]
    table, spec = load_dataset(cfg.dataset, plugins=cfg.plugins), ImageSpec.of(cfg.dataset)
    base = BaseModel.of(cfg.model, WeightsFolder(cfg.weights_dir))
    caches = Path(cfg.output_dir) / ".latents"
    cache = cached_latents(base, table, spec, caches=caches, device=scorer.device)
    features = read_features(folder)
    notes = write_fidelity(folder, sweep, features, scorer, table, spec, names=cfg.metric.features)
    return notes + write_copies(
        folder,
        sweep,
        features,
        scorer,
        training=training_latents(cache, base.scaling_factor()),
        held_out=held_out_latents(scorer.vae, table, spec),
    )
