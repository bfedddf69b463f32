"""`latentpath traverse`: plan the sweep, print its cost, walk it, store the latents."""

from __future__ import annotations

import logging
from pathlib import Path

from latentpath.commands import TRAVERSE
from latentpath.config.schema import Config
from latentpath.data.images import ImageSpec
from latentpath.data.load import load_dataset
from latentpath.diffusion.adapters import ADAPTER
from latentpath.diffusion.components import BaseModel
from latentpath.diffusion.execution import dtype_of
from latentpath.errors import UserError
from latentpath.judge.classifier import load_classifier
from latentpath.runs.files import write_json
from latentpath.runs.ranks import SINGLE, Rank, current_rank
from latentpath.runs.stages import open_stage, stage_dir
from latentpath.runs.weights import WeightsFolder
from latentpath.traversal.plan import SweepPlan
from latentpath.traversal.planning import describe, plan_of
from latentpath.traversal.traverse import Traversal

log = logging.getLogger(__name__)

BASE_SEEDS = 16  # of each class, sampled with the base for comparison


def run(cfg: Config, run_dir: Path) -> float | None:
    """Traverse with the fine-tuned model and, if configured, sample the base model at the strongest swap.

    Returns the U-Net calls of the whole plan.
    """
    tuned = BaseModel(str(stage_dir(run_dir, "finetune", cfg) / "pipeline"))
    plan = _plan(cfg)
    if cfg.dry_run:
        model = tuned if Path(tuned.source).is_dir() else _base(cfg)
        traversal = _traversal(cfg, plan, run_dir)
        trained = all((folder / ADAPTER).is_file() for folder in traversal.sliders.values())
        traversal.print_cost(plan, model, measure=model.has_weights and trained)
        return None
    rank = current_rank(cfg.sampler.process, cfg.sampler.processes)
    if cfg.overwrite and rank.world_size > 1:
        raise UserError("overwrite=true discards what other processes write: give it to one process alone.")
    weights = {"finetune/pipeline": tuned.fingerprint("unet", "text_encoder", "tokenizer", "scheduler")}
    with open_stage(run_dir, TRAVERSE, cfg, weights=weights, shared=rank.world_size > 1) as stage:
        if stage.complete:
            log.info("traverse is complete: %s", stage.path)
            return stage.figures["unet_calls"]
        traversal = _traversal(cfg, plan, run_dir, rank)
        if rank.is_zero:
            traversal.print_cost(plan, tuned)
            write_json(stage.path / "plan.json", describe(plan) | {"inversion": cfg.inversion.method})
        if cfg.inversion.method is not None:
            table = load_dataset(cfg.dataset, plugins=cfg.plugins)
            denoise = traversal.sweep_originals(plan, tuned, stage.path, table, ImageSpec.of(cfg.dataset))
        elif cfg.timesteps.bisect:
            judge = load_classifier(stage_dir(run_dir, "classify", cfg), plugins=cfg.plugins)
            denoise = traversal.search(plan, tuned, stage.path, judge)
        else:
            denoise = traversal.sweep(plan, tuned, stage.path, "sweeping")
        if cfg.metric.compare_base and cfg.inversion.method is None:
            few = plan.plain([min(cfg.timesteps.swap_steps)], seeds=BASE_SEEDS)
            del denoise.unet  # two U-Nets need not fit into memory
            traversal.sweep(few, _base(cfg), stage.path / "base", "sampling the base", like=denoise)
        stage.figures = {
            "unet_calls": plan.unet_calls,
            "unet_calls_now": denoise.calls,
            "unet_rows": plan.unet_rows,
            "images": plan.images,
        }
        log.info("latents of %s images: %s", f"{plan.images:,}", stage.path)
    return plan.unet_calls


def say_cost(cfg: Config) -> None:
    """Print the cost of the sweep without timing the U-Net; every line begins with `#`, as in YAML."""
    plan = _plan(cfg)
    _traversal(cfg, plan, Path(cfg.output_dir) / cfg.name).print_cost(plan, _base(cfg), prefix="# ")


def _plan(cfg: Config) -> SweepPlan:
    return plan_of(cfg.dataset, cfg.attribute, cfg.timesteps, cfg.sampler, cfg.method, plugins=cfg.plugins)


def _traversal(cfg: Config, plan: SweepPlan, run_dir: Path, rank: Rank = SINGLE) -> Traversal:
    return Traversal(
        cfg.sampler,
        cfg.timesteps,
        cfg.inversion,
        image_size=cfg.dataset.image_size,
        accelerator=cfg.trainer.accelerator,
        dtype=dtype_of(cfg.trainer.precision),
        sliders={name: stage_dir(run_dir, f"sliders/{name}", cfg) for name in plan.adapters},
        rank=rank,
    )


def _base(cfg: Config) -> BaseModel:
    return BaseModel.of(cfg.model, WeightsFolder(cfg.weights_dir))
