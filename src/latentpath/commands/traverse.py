"""`latentpath traverse`: plan the sweep, say what it costs, walk it, store the latents."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import pandas as pd
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from latentpath.commands import TRAVERSE
from latentpath.config.schema import Config
from latentpath.data.captions import caption_template
from latentpath.data.images import ImageSpec
from latentpath.data.load import load_dataset
from latentpath.diffusion.components import BaseModel
from latentpath.diffusion.execution import device_of, dtype_of, prepare, unet_flops
from latentpath.diffusion.guidance import GuidedDenoiser
from latentpath.diffusion.inversion import InvertedNoise, ddim_inversion, ddpm_inversion
from latentpath.diffusion.noise import SeededNoise
from latentpath.diffusion.sampler import Sampler
from latentpath.diffusion.solvers import Solver, build_solver
from latentpath.errors import UserError
from latentpath.judge.classifier import load_classifier
from latentpath.runs.files import write_json
from latentpath.runs.progress import bar
from latentpath.runs.ranks import Rank, current_rank
from latentpath.runs.stages import open_stage, stage_dir
from latentpath.runs.weights import WeightsFolder
from latentpath.traversal.bisect import bisect_wave, judge_of
from latentpath.traversal.cost import Cost, cost_of
from latentpath.traversal.engine import walk
from latentpath.traversal.originals import choose_originals, encode_originals, write_reconstruction
from latentpath.traversal.plan import SweepPlan, plan_sweep
from latentpath.traversal.sampling import denoiser
from latentpath.traversal.store import read_flips, read_index, read_latents
from latentpath.traversal.sweep import Sample, Sampled, Wave, sweep, unfinished
from latentpath.traversal.tuning import seconds_per_call, tune

log = logging.getLogger(__name__)

BASE_SEEDS = 16  # of each class, sampled with the base for comparison


def run(cfg: Config, run_dir: Path) -> float | None:
    """Traverse with the fine-tuned model, and sample the base at the strongest swap beside it where asked to.

    Returns the U-Net calls of the whole plan.
    """
    tuned = BaseModel(str(stage_dir(run_dir, "finetune", cfg) / "pipeline"))
    if cfg.dry_run:
        available = tuned if Path(tuned.source).is_dir() else base_of(cfg)
        announce(cfg, available, measure=True)
        return None
    rank = current_rank(cfg.sampler.process, cfg.sampler.processes)
    if cfg.overwrite and rank.world_size > 1:
        raise UserError("overwrite=true discards what other processes write: give it to one process alone.")
    weights = {"finetune/pipeline": tuned.fingerprint("unet", "text_encoder", "tokenizer", "scheduler")}
    with open_stage(run_dir, TRAVERSE, cfg, weights=weights) as stage:
        if stage.complete:
            log.info("traverse is complete: %s", stage.path)
            return stage.figures["unet_calls"]
        plan = plan_of(cfg)
        if rank.is_zero:
            announce(cfg, tuned, measure=False)
            write_json(stage.path / "plan.json", plan.describe() | {"inversion": cfg.inversion.method})
        calls = _traverse(cfg, run_dir, plan, tuned, stage.path, rank)
        left = unfinished(plan, stage.path)
        if cfg.metric.compare_base and cfg.inversion.method is None:
            strongest = [min(cfg.timesteps.swap_steps)]
            few = plan_of(cfg, seeds=plan.seeds[:BASE_SEEDS], swap_steps=strongest)
            base = base_of(cfg)
            _sweep(cfg, few, base, stage.path / "base", rank, "sampling the base", _from_noise(cfg, base))
            left += unfinished(few, stage.path / "base")
        stage.figures = {"unet_calls": plan.unet_calls, "unet_calls_now": calls, "images": plan.images}
        if left:
            stage.left = f"{left} seeds are left to other processes"
            log.info("process %d of %d is done; %s", rank.index, rank.world_size, stage.left)
        else:
            log.info("latents of %s images: %s", f"{plan.images:,}", stage.path)
    return plan.unet_calls


def base_of(cfg: Config) -> BaseModel:
    return BaseModel.of(cfg.model, WeightsFolder(cfg.weights_dir))


def plan_of(
    cfg: Config, *, seeds: Sequence[int] | None = None, swap_steps: Sequence[int] | None = None
) -> SweepPlan:
    """The plan that a configuration asks for; with `swap_steps` the plain swaps at these alone."""
    sampler, steps, attribute = cfg.sampler, cfg.timesteps, cfg.attribute
    extras: dict[str, Any] = {}
    if swap_steps is None:
        swap_steps = [min(steps.swap_steps)] if steps.bisect else list(steps.swap_steps)
        extras = {
            "combinations": attribute.combinations,
            "removal": attribute.removal,
            "strengths": attribute.strengths,
            "scale": attribute.strength_by.value == "scale",
            "windows": [(s, r) for s, r in steps.windows],
        }
    return plan_sweep(
        caption_template(cfg.dataset.captions, cfg.dataset.classes, cfg.dataset.attributes),
        classes=cfg.dataset.classes,
        attributes=attribute.names,
        swap_steps=swap_steps,
        num_inference_steps=steps.num_inference_steps,
        seeds=range(sampler.first_seed, sampler.first_seed + sampler.seeds) if seeds is None else seeds,
        one_step_late=steps.one_step_late,
        **extras,
    )


def say_cost(cfg: Config) -> None:
    """The cost of the plan as comments of a YAML file, without a measurement."""
    announce(cfg, base_of(cfg), measure=False, prefix="# ")


def announce(cfg: Config, model: BaseModel, *, measure: bool, prefix: str = "") -> Cost:
    """Print the plan and what it costs; `measure` times the U-Net for it, which takes seconds."""
    plan = plan_of(cfg)
    shape = model.latent_shape(cfg.dataset.image_size)
    guided = 1 if cfg.sampler.guidance_scale == 1 else 2
    cost = cost_of(
        plan,
        latent_shape=shape,
        calls_besides=_calls_besides(cfg, plan),
        flop_per_call=guided * unet_flops(model.unet_config(), shape, model.context_shape()),
        seconds_per_call=_timed(cfg, plan, model) if measure else None,
    )
    lines = [
        f"sweep: {len(plan.classes)} classes x {len(plan.branches)} images x {len(plan.seeds)} seeds, "
        f"{cfg.timesteps.num_inference_steps} steps of {cfg.sampler.solver}; "
        f"{plan.calls_per_seed} U-Net calls a seed and class, one by one {plan.plain_calls_per_seed}",
        *cost.lines(),
    ]
    if cfg.timesteps.bisect:
        every = plan_of(cfg, swap_steps=list(cfg.timesteps.swap_steps))
        lines.append(
            "bisect        the calls of the search are an estimate, for flips anywhere; to walk every swap "
            f"step would take {every.unet_calls:,}"
        )
    Console().print("\n".join(prefix + line for line in lines), soft_wrap=True, markup=False, highlight=False)
    return cost


def _timed(cfg: Config, plan: SweepPlan, model: BaseModel) -> float:
    device = device_of(cfg.trainer.accelerator)
    shape = model.latent_shape(cfg.dataset.image_size)
    return seconds_per_call(_denoiser(cfg, plan, model, device), latent_shape=shape, device=device)


def _traverse(cfg: Config, run_dir: Path, plan: SweepPlan, model: BaseModel, folder: Path, rank: Rank) -> int:
    """Sweep with the fine-tuned model: from noise, from real images, or in search of flips; returns the U-Net
    calls made now."""
    if cfg.inversion.method is not None:
        return _traverse_originals(cfg, plan, model, folder, rank)
    if cfg.timesteps.bisect:
        way = _bisecting(cfg, model, stage_dir(run_dir, "classify", cfg))
        calls = _sweep(cfg, plan, model, folder, rank, "searching", way)
        if not unfinished(plan, folder):
            _print_flips(read_flips(folder), plan.num_inference_steps)
        return calls
    return _sweep(cfg, plan, model, folder, rank, "sweeping", _from_noise(cfg, model))


# How a wave is sampled, and from what: takes the plan, a denoiser and the device, and gives a `Sample`.
Way = Callable[[SweepPlan, GuidedDenoiser, torch.device], Sample]


def _from_noise(cfg: Config, model: BaseModel) -> Way:
    solver, noise = _solver(cfg, model), SeededNoise(model.latent_shape(cfg.dataset.image_size))

    def way(plan: SweepPlan, denoise: GuidedDenoiser, device: torch.device) -> Sample:
        sampler = Sampler(denoise, solver, noise, device)
        return lambda wave: Sampled(*walk(plan, sampler, cls=wave.cls, seeds=wave.seeds))

    return way


def _bisecting(cfg: Config, model: BaseModel, classify: Path) -> Way:
    solver, noise = _solver(cfg, model), SeededNoise(model.latent_shape(cfg.dataset.image_size))
    vae: Any = model.vae()
    search: Any = {
        "swap_steps": list(cfg.timesteps.swap_steps),
        "judge": judge_of(load_classifier(classify), vae),
        "threshold": cfg.timesteps.threshold,
        "checks": cfg.timesteps.checks,
    }

    def way(plan: SweepPlan, denoise: GuidedDenoiser, device: torch.device) -> Sample:
        vae.to(device)
        sampler = Sampler(denoise, solver, noise, device)
        return lambda wave: Sampled(*bisect_wave(plan, sampler, cls=wave.cls, seeds=wave.seeds, **search))

    return way


def _traverse_originals(cfg: Config, plan: SweepPlan, model: BaseModel, folder: Path, rank: Rank) -> int:
    """Sweep from inverted photographs, then say how well they come back without an edit."""
    originals = choose_originals(load_dataset(cfg.dataset), split=cfg.inversion.split, seeds=plan.seeds)
    vae, solver = model.vae(), _solver(cfg, model)
    images, latents = encode_originals(originals, ImageSpec.of(cfg.dataset), vae=vae)
    numbers = list(zip(originals["class"], originals["seed"], strict=True))

    def way(plan: SweepPlan, denoise: GuidedDenoiser, device: torch.device) -> Sample:
        def sample(wave: Wave) -> Sampled:
            mine = latents[[numbers.index((wave.cls, seed)) for seed in wave.seeds]].to(device)
            noise = _invert(cfg, plan, wave, mine, denoise, solver)
            sampler = Sampler(denoise, solver, noise, device)
            return Sampled(*walk(plan, sampler, cls=wave.cls, seeds=wave.seeds))

        return sample

    calls = _sweep(cfg, plan, model, folder, rank, "inverting and sweeping", way)
    if not unfinished(plan, folder):
        index = read_index(folder).query("method == 'neutral'").set_index(["class", "seed"])
        found = read_latents(folder, index.loc[numbers].reset_index())
        log.info(
            write_reconstruction(folder, originals, images=images, latents=latents, found=found, vae=vae)
        )
    return calls


def _invert(
    cfg: Config, plan: SweepPlan, wave: Wave, latents: Tensor, denoise: GuidedDenoiser, solver: Solver
) -> InvertedNoise:
    """The noise of `latents` (n, c, h, w) under the neutral prompt, as cfg.inversion says."""
    prompts = [plan.prompts.index(plan.source(wave.cls, plan.branches[0]))] * len(latents)
    if cfg.inversion.method == "ddpm":  # which has to see the model as the walk will
        predict = lambda z, timestep: denoise(z, timestep, prompts)  # noqa: E731
        return ddpm_inversion(latents, seeds=wave.seeds, denoise=predict, solver=solver)
    guided = replace(denoise, guidance_scale=cfg.inversion.guidance_scale, calls=0)
    noise = ddim_inversion(
        latents,
        seeds=wave.seeds,
        denoise=lambda z, timestep: guided(z, timestep, prompts),
        solver=solver,
        iterations=cfg.inversion.iterations,
    )
    denoise.calls += guided.calls
    return noise


def _sweep(
    cfg: Config,
    plan: SweepPlan,
    model: BaseModel,
    folder: Path,
    rank: Rank,
    description: str,
    way: Way,
) -> int:
    device = device_of(cfg.trainer.accelerator, rank.local_index)
    denoise = _denoiser(cfg, plan, model, device)
    total = (plan.unet_calls + _calls_besides(cfg, plan)) // rank.world_size
    with bar(description, total, show=rank.is_zero) as advance:
        denoise.on_call = advance
        sweep(
            plan,
            sample=way(plan, denoise, device),
            folder=folder,
            shard_seeds=cfg.sampler.shard_seeds,
            process=rank.index,
            processes=rank.world_size,
            on_skipped=lambda seeds: advance(seeds * plan.calls_per_seed),
        )
    return denoise.calls


def _denoiser(cfg: Config, plan: SweepPlan, model: BaseModel, device: torch.device) -> GuidedDenoiser:
    """The model's U-Net, guided, on `device`, as fast as `cfg.sampler` asks for."""
    sampler, dtype = cfg.sampler, dtype_of(cfg.trainer.precision)
    unet = prepare(model.unet(dtype), device=device, dtype=dtype, channels_last=sampler.channels_last)
    denoise = denoiser(
        plan,
        unet=unet,
        encoder=model.prompt_encoder(),
        negative_prompt=sampler.negative_prompt,
        guidance_scale=sampler.guidance_scale,
        static=sampler.compile or device.type == "cuda",
    )
    seeds = min(sampler.shard_seeds, len(plan.seeds))
    tune(
        denoise,
        latent_shape=model.latent_shape(cfg.dataset.image_size),
        batch_size=sampler.batch_size,
        attention=sampler.attention,
        step_rows=[seeds * nodes for nodes in plan.nodes],
        device=device,
    )
    denoise.unet = prepare(unet, device=device, dtype=dtype, compile=sampler.compile)
    return denoise


def _solver(cfg: Config, model: BaseModel) -> Solver:
    """DDPM inversion needs the noise that DDPM adds: eta 1."""
    eta = 1.0 if cfg.inversion.method == "ddpm" else cfg.sampler.eta
    return build_solver(cfg.sampler.solver, model.schedule(), cfg.timesteps.num_inference_steps, eta=eta)


def _calls_besides(cfg: Config, plan: SweepPlan) -> int:
    """U-Net calls that are not of the tree: of the inversion, or of a search (about as many, as if every step
    were as likely a flip point)."""
    n, steps = plan.num_inference_steps, cfg.timesteps.swap_steps
    if cfg.inversion.method is not None:
        return plan.samples * n * (cfg.inversion.iterations if cfg.inversion.method == "ddim" else 1)
    if cfg.timesteps.bisect and len(steps) > 1:
        probes = math.ceil(math.log2(len(steps))) + cfg.timesteps.checks
        return round(plan.samples * len(cfg.attribute.names) * probes * mean(n - s for s in steps))
    return 0


def _print_flips(flips: pd.DataFrame, steps: int) -> None:
    statuses = ("flips", "never", "already present")
    table = Table("class", "attribute", *statuses, "median flip step", "not monotone")
    for (cls, attribute), rows in flips.groupby(["class", "attribute"], sort=False):
        median = rows["flip_step"].astype("float64").median()
        table.add_row(
            str(cls),
            str(attribute),
            *(str((rows["status"] == status).sum()) for status in statuses),
            "n/a" if math.isnan(median) else f"{median:.0f} of {steps}",
            str((rows["contradictions"].map(len) > 0).sum()),
        )
    Console().print(table)
