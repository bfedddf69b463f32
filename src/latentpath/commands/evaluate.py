"""`latentpath evaluate`: score every image, then compute every figure."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from omegaconf import OmegaConf

from latentpath.commands import EVALUATE
from latentpath.config.schema import Config
from latentpath.data.images import ImageSpec
from latentpath.data.load import load_dataset
from latentpath.diffusion.cached_latents import cached_latents, captioned
from latentpath.diffusion.components import BaseModel
from latentpath.diffusion.execution import device_of, dtype_of
from latentpath.evaluation.against_data import Data
from latentpath.evaluation.copies import training_latents
from latentpath.evaluation.evaluate import write_figures
from latentpath.evaluation.scoring import Scorer
from latentpath.evaluation.shards import (
    score_shards,
    stored_sweeps,
)
from latentpath.evaluation.summary import print_summary
from latentpath.evaluation.tracked import log_evaluation
from latentpath.judge.classifier import Classifier, load_classifier
from latentpath.judge.features import load_feature_network
from latentpath.metrics import (
    lpips_or_none,
)
from latentpath.metrics.figure_table import FigureTable
from latentpath.metrics.measures import own_measures
from latentpath.report.model_card import add_evaluation
from latentpath.runs.files import Json, read_json, read_parquet
from latentpath.runs.ranks import Rank, current_rank
from latentpath.runs.stages import Stage, open_stage, stage_dir
from latentpath.runs.tracking import build_loggers
from latentpath.runs.weights import WeightsFolder

log = logging.getLogger(__name__)

PLAN_KEYS = ("classes", "attributes", "num_inference_steps", "swap_steps", "seeds")  # of plan.json


def run(cfg: Config, run_dir: Path) -> float | None:
    """Judge all images and compute every figure; return the low end of the mean of `all_strict` of swaps.

    `all_strict` is the strict CFRT with a flip of the attribute (see `metrics.cfrt`), here the mean over
    classes and attributes. A sweep maximizes its low end: unlike the released CFRT it is 0 if nothing
    happens, and few seeds do not raise it.

    Several processes share out the images; the first one then computes the figures, and the others return
    None.
    """
    rank = current_rank(cfg.sampler.process, cfg.sampler.processes)
    folder = WeightsFolder(cfg.weights_dir)
    lpips: Json = {net: lpips_or_none(net, folder) for net in cfg.metric.lpips}
    # If missing weights have been added since, the stage must be made again instead of keeping n/a.
    weights = {f"lpips {net}": "missing" if network is None else "there" for net, network in lpips.items()}
    for name in _other_networks(cfg):
        weights[f"features {name}"] = "there" if folder.feature_network(name).is_file() else "missing"
    shared = rank.world_size > 1
    with (
        own_measures(cfg.metric.measures, cfg.plugins),
        open_stage(run_dir, EVALUATE, cfg, weights=weights, shared=shared) as stage,
    ):
        if stage.complete:
            log.info("evaluate is complete: %s", stage.path)
        elif not _evaluate(cfg, run_dir, stage, lpips, rank):
            return None
        if rank.is_zero:
            figures = FigureTable(read_parquet(stage.path / "figures.parquet"))
            print_summary(figures, read_json(stage.path / "metrics.json"))
        # None for a stage of an earlier version
        return stage.figures.get("all_strict_low")


def _evaluate(cfg: Config, run_dir: Path, stage: Stage, lpips: Json, rank: Rank) -> bool:
    """Score the images with the other processes; return whether this one has computed the figures."""
    plan = read_json(stage_dir(run_dir, "traverse", cfg) / "plan.json", keys=PLAN_KEYS)
    device = device_of(cfg.trainer.accelerator, rank.local_index)
    judge = load_classifier(stage_dir(run_dir, "classify", cfg), plugins=cfg.plugins).to(device)
    scorer, data = _scorer(cfg, run_dir, judge, lpips, device), _data(cfg, device)
    sweeps = stored_sweeps(stage_dir(run_dir, "traverse", cfg))
    score_shards(scorer, sweeps, stage.path, pictured=plan["seeds"][: cfg.metric.examples])
    if data is not None:
        data.measure(stage.path, scorer)
    if not rank.is_zero:
        stage.left = "the figures are left to process 0"
        log.info("process %d of %d is done; %s", rank.index, rank.world_size, stage.left)
        return False
    trackers = build_loggers(cfg.logger, stage.path, cfg.name, config=cfg)[1:]  # no CSV of one row
    stage.figures = write_figures(
        stage.path, cfg.metric, plan=plan, judge=judge, scorer=scorer, sweeps=sweeps, data=data, seed=cfg.seed
    )
    log_evaluation(trackers, stage.path)
    tested = read_json(stage_dir(run_dir, "classify", cfg) / "metrics.json").get("test", {})
    figures = FigureTable(read_parquet(stage.path / "figures.parquet"))
    add_evaluation(run_dir / "finetune" / "pipeline", figures, judge=tested)
    return True


def _scorer(cfg: Config, run_dir: Path, judge: Classifier, lpips: Json, device: torch.device) -> Scorer:
    weights = WeightsFolder(cfg.weights_dir)
    others = {name: load_feature_network(name, weights) for name in _other_networks(cfg)}
    pipeline = BaseModel(str(stage_dir(run_dir, "finetune", cfg) / "pipeline"))
    vae = pipeline.vae(dtype_of(cfg.metric.vae_precision))
    return Scorer(
        vae=vae.to(device),
        classifier=judge,
        lpips={net: network and network.to(device) for net, network in lpips.items()},
        networks={name: network.to(device) for name, network in others.items() if network},
        device=device,
        interpolations=list(cfg.metric.interpolations),
        frames=cfg.metric.frames,
        arc_length=cfg.metric.arc_length,
    )


def _other_networks(cfg: Config) -> list[str]:
    """Return the networks of `metric.features` other than the judge, if the data set is read."""
    return [name for name in cfg.metric.features if name != "judge" and cfg.metric.against_data]


def _data(cfg: Config, device: torch.device) -> Data | None:
    """Load the data set that generated images are compared with, if it is wanted and on this machine."""
    there = not OmegaConf.is_missing(cfg.dataset, "root") and Path(cfg.dataset.root).is_dir()
    if not cfg.metric.against_data or not there:
        return None
    table, spec = load_dataset(cfg.dataset, plugins=cfg.plugins), ImageSpec.of(cfg.dataset)
    base = BaseModel.of(cfg.model, WeightsFolder(cfg.weights_dir))
    caches = Path(cfg.output_dir) / ".latents"
    cache = cached_latents(base, table, captioned(table), spec, caches=caches, device=device)
    return Data(table, spec, training_latents(cache, base.scaling_factor()))
