"""`latentpath traverse`: plan the sweep, print its cost, walk it, store the latents."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from latentpath.commands import TRAVERSE
from latentpath.config.schema import Config
from latentpath.data.images import ImageSpec
from latentpath.data.load import load_dataset
from latentpath.diffusion.components import BaseModel
from latentpath.diffusion.execution import device_of, dtype_of
from latentpath.diffusion.guidance import GuidedDenoiser
from latentpath.diffusion.noise import SeededNoise
from latentpath.diffusion.sampler import Sampler
from latentpath.diffusion.solvers import build_solver
from latentpath.errors import UserError
from latentpath.judge.classifier import load_classifier
from latentpath.runs.files import write_json
from latentpath.runs.progress import bar
from latentpath.runs.ranks import Rank, current_rank
from latentpath.runs.stages import open_stage, stage_dir
from latentpath.runs.weights import WeightsFolder
from latentpath.traversal.bisect import bisecting, flips_table, judge_of_latents
from latentpath.traversal.originals import choose_originals, encode_originals, from_originals, reconstruct
from latentpath.traversal.plan import SweepPlan
from latentpath.traversal.planning import describe_cost, plan_of, work_besides
from latentpath.traversal.sampling import build_denoiser
from latentpath.traversal.store import read_flips
from latentpath.traversal.sweep import Sample, from_noise, sweep
from latentpath.traversal.tuning import seconds_per_row

log = logging.getLogger(__name__)

BASE_SEEDS = 16  # of each class, sampled with the base for comparison


def run(cfg: Config, run_dir: Path) -> float | None:
    """Traverse with the fine-tuned model and, if configured, sample the base model at the strongest swap.

    Returns the U-Net calls of the whole plan.
    """
    tuned = BaseModel(str(stage_dir(run_dir, "finetune", cfg) / "pipeline"))
    plan = plan_of(cfg.dataset, cfg.attribute, cfg.timesteps, cfg.sampler, cfg.method, plugins=cfg.plugins)
    if cfg.dry_run:
        _print_cost(cfg, plan, tuned if Path(tuned.source).is_dir() else _base(cfg), measure=run_dir)
        return None
    rank = current_rank(cfg.sampler.process, cfg.sampler.processes)
    if cfg.overwrite and rank.world_size > 1:
        raise UserError("overwrite=true discards what other processes write: give it to one process alone.")
    weights = {"finetune/pipeline": tuned.fingerprint("unet", "text_encoder", "tokenizer", "scheduler")}
    with open_stage(run_dir, TRAVERSE, cfg, weights=weights, shared=rank.world_size > 1) as stage:
        if stage.complete:
            log.info("traverse is complete: %s", stage.path)
            return stage.figures["unet_calls"]
        if rank.is_zero:
            _print_cost(cfg, plan, tuned)
            write_json(stage.path / "plan.json", plan.describe() | {"inversion": cfg.inversion.method})
        if cfg.inversion.method is not None:
            denoise = _sweep_originals(cfg, plan, tuned, stage.path, rank)
        elif cfg.timesteps.bisect:
            denoise = _search(cfg, plan, tuned, stage.path, rank, stage_dir(run_dir, "classify", cfg))
        else:
            denoise = _sweep(cfg, plan, tuned, stage.path, rank, "sweeping")
        if cfg.metric.compare_base and cfg.inversion.method is None:
            few, folder = plan.plain([min(cfg.timesteps.swap_steps)], seeds=BASE_SEEDS), stage.path / "base"
            denoise.unet = None  # two U-Nets need not fit into memory
            _sweep(cfg, few, _base(cfg), folder, rank, "sampling the base", like=denoise)
        stage.figures = {
            "unet_calls": plan.unet_calls,
            "unet_calls_now": denoise.calls,
            "unet_rows": plan.unet_rows,
            "images": plan.images,
        }
        log.info("latents of %s images: %s", f"{plan.images:,}", stage.path)
    return plan.unet_calls


def say_cost(cfg: Config) -> None:
    """Print the cost of the plan as comments of a YAML file, without a measurement."""
    plan = plan_of(cfg.dataset, cfg.attribute, cfg.timesteps, cfg.sampler, cfg.method, plugins=cfg.plugins)
    _print_cost(cfg, plan, _base(cfg), prefix="# ")


def _print_cost(
    cfg: Config, plan: SweepPlan, model: BaseModel, *, measure: Path | None = None, prefix: str = ""
) -> None:
    """Print the cost; `measure` is the run's folder if a U-Net call is to be timed."""
    seconds = None
    if measure is not None:
        device, shape = device_of(cfg.trainer.accelerator), model.latent_shape(cfg.dataset.image_size)
        denoise = _denoiser(cfg, plan, model, device, measure)
        seconds = seconds_per_row(denoise, latent_shape=shape, device=device)
    lines = describe_cost(
        plan,
        model,
        image_size=cfg.dataset.image_size,
        sampler=cfg.sampler,
        timesteps=cfg.timesteps,
        inversion=cfg.inversion,
        seconds_per_row=seconds,
    )
    Console().print("\n".join(prefix + line for line in lines), soft_wrap=True, markup=False, highlight=False)


def _search(
    cfg: Config, plan: SweepPlan, model: BaseModel, folder: Path, rank: Rank, judge: Path
) -> GuidedDenoiser:
    """Search the flip points of the sweep, then print them."""
    device = device_of(cfg.trainer.accelerator, rank.local_index)
    vae: Any = model.vae()
    steps = cfg.timesteps
    search = {
        "swap_steps": list(steps.swap_steps),
        "judge": judge_of_latents(load_classifier(judge, plugins=cfg.plugins).to(device), vae.to(device)),
        "threshold": steps.threshold,
        "checks": steps.checks,
    }
    denoise = _sweep(
        cfg, plan, model, folder, rank, "searching", lambda sampler, _: bisecting(plan, sampler, **search)
    )
    if rank.is_zero:
        Console(markup=False).print(flips_table(read_flips(folder), plan.num_inference_steps))
    return denoise


def _sweep_originals(
    cfg: Config, plan: SweepPlan, model: BaseModel, folder: Path, rank: Rank
) -> GuidedDenoiser:
    """Sweep from inverted real images, then report their reconstruction error without an edit."""
    device = device_of(cfg.trainer.accelerator, rank.local_index)
    vae: Any = model.vae()
    vae.to(device)
    chosen = choose_originals(
        load_dataset(cfg.dataset, plugins=cfg.plugins), split=cfg.inversion.split, seeds=plan.seeds
    )
    originals = encode_originals(chosen, ImageSpec.of(cfg.dataset), vae=vae)
    denoise = _sweep(
        cfg,
        plan,
        model,
        folder,
        rank,
        "inverting and sweeping",
        lambda sampler, denoise: from_originals(plan, sampler, denoise, originals, cfg.inversion),
    )
    log.info(reconstruct(folder, originals, vae=vae))
    return denoise


def _sweep(
    cfg: Config,
    plan: SweepPlan,
    model: BaseModel,
    folder: Path,
    rank: Rank,
    description: str,
    way: Callable[[Sampler, GuidedDenoiser], Sample] | None = None,
    like: GuidedDenoiser | None = None,
) -> GuidedDenoiser:
    """Sample `plan` with the other processes, in the given `way` or from noise; return what denoised."""
    device = device_of(cfg.trainer.accelerator, rank.local_index)
    denoise = _denoiser(cfg, plan, model, device, folder.parent, tuned=like)
    # DDPM inversion needs the noise that DDPM adds.
    eta = 1.0 if cfg.inversion.method == "ddpm" else cfg.sampler.eta
    solver = build_solver(cfg.sampler.solver, model.schedule(), plan.num_inference_steps, eta=eta)
    noise = SeededNoise(model.latent_shape(cfg.dataset.image_size))
    sampler = Sampler(denoise, solver, noise, device, plan.remembers)
    besides = work_besides(plan, cfg.timesteps, cfg.inversion).rows if way else 0
    with bar(description, plan.unet_rows + besides, show=rank.is_zero) as advance:
        denoise.on_call = advance
        sweep(
            plan,
            sample=way(sampler, denoise) if way else from_noise(plan, sampler),
            folder=folder,
            shard_seeds=cfg.sampler.shard_seeds,
            on_done=lambda seeds: advance(seeds * plan.rows_per_seed),
        )
    return denoise


def _denoiser(
    cfg: Config,
    plan: SweepPlan,
    model: BaseModel,
    device: torch.device,
    run_dir: Path,
    tuned: GuidedDenoiser | None = None,
) -> GuidedDenoiser:
    return build_denoiser(
        plan,
        model,
        cfg.sampler,
        image_size=cfg.dataset.image_size,
        device=device,
        dtype=dtype_of(cfg.trainer.precision),
        tuned=tuned,
        sliders={name: stage_dir(run_dir, f"sliders/{name}", cfg) for name in plan.adapters},
    )


def _base(cfg: Config) -> BaseModel:
    return BaseModel.of(cfg.model, WeightsFolder(cfg.weights_dir))
