"""`latentpath traverse`: plan the sweep, say what it costs, walk it, store the latents."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from latentpath.data.captions import caption_template
from latentpath.diffusion.components import BaseModel
from latentpath.diffusion.solvers import DDIM
from latentpath.progress import bar
from latentpath.stages import open_stage, write_json
from latentpath.traversal.plan import SweepPlan, plan_sweep
from latentpath.traversal.sweep import denoiser, sweep

log = logging.getLogger(__name__)


def run(cfg: Any, run_dir: Path) -> float | None:
    """Traverse with the fine-tuned model, and sample the base at swap step 0 beside it where asked to."""
    with open_stage(run_dir, "traverse", cfg, upstream=["finetune"]) as stage:
        if stage.complete:
            log.info("traverse is complete: %s", stage.path)
            return None
        plan = plan_of(cfg, range(cfg.sampler.first_seed, cfg.sampler.first_seed + cfg.sampler.seeds))
        _announce(plan)
        tuned = BaseModel(str(run_dir / "finetune" / "pipeline"))
        calls = _sweep(cfg, plan, tuned, stage.path, "sweeping")
        write_json(stage.path / "plan.json", _describe(plan))
        if cfg.metric.compare_base:
            few = plan_of(cfg, plan.seeds[: min(16, len(plan.seeds))], swap_steps=plan.swap_steps[:1])
            base = BaseModel(cfg.model.name, cfg.model.revision)
            _sweep(cfg, few, base, stage.path / "base", "sampling the base")
        stage.figures = {"unet_calls": plan.unet_calls, "unet_calls_now": calls, "images": plan.images}
    return None


def plan_of(cfg: Any, seeds: Any, swap_steps: Any = None) -> SweepPlan:
    """The plan that a configuration asks for."""
    return plan_sweep(
        caption_template(cfg.dataset.captions, cfg.dataset.classes, cfg.dataset.attributes),
        classes=cfg.dataset.classes,
        attributes=cfg.attribute.names,
        swap_steps=cfg.timesteps.swap_steps if swap_steps is None else swap_steps,
        num_inference_steps=cfg.timesteps.num_inference_steps,
        seeds=seeds,
        one_step_late=cfg.timesteps.one_step_late,
    )


def _sweep(cfg: Any, plan: SweepPlan, model: BaseModel, folder: Path, description: str) -> int:
    gpu = cfg.trainer.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    precisions = {"bf16": torch.bfloat16, "16": torch.float16}
    unet: Any = model.unet(precisions.get(str(cfg.trainer.precision).split("-")[0], torch.float32))
    denoise = denoiser(
        plan,
        unet=unet.to("cuda" if gpu else "cpu").eval().requires_grad_(False),
        tokenizer=model.tokenizer(),
        text_encoder=model.text_encoder(),
        negative_prompt=cfg.sampler.negative_prompt,
        guidance_scale=cfg.sampler.guidance_scale,
        batch_size=cfg.sampler.batch_size,
    )
    solver = DDIM(model.schedule(), plan.num_inference_steps, eta=cfg.sampler.eta)
    with bar(description, plan.unet_calls) as advance:
        return sweep(
            plan,
            denoise=denoise,
            solver=solver,
            folder=folder,
            shard_seeds=cfg.sampler.shard_seeds,
            shape=model.latent_shape(cfg.dataset.image_size),
            on_rows=advance,
        )


def _announce(plan: SweepPlan) -> None:
    Console().print(
        f"sweep: {len(plan.classes)} classes x {len(plan.attributes)} attributes x {len(plan.swap_steps)} "
        f"swap steps x {len(plan.seeds)} seeds = {plan.images} images, {plan.calls_per_seed} U-Net calls a "
        f"seed and class (one by one: {plan.plain_calls_per_seed})",
        soft_wrap=True,
    )


def _describe(plan: SweepPlan) -> dict[str, Any]:
    return {
        "classes": list(plan.classes),
        "attributes": list(plan.attributes),
        "swap_steps": list(plan.swap_steps),
        "num_inference_steps": plan.num_inference_steps,
        "seeds": list(plan.seeds),
        "one_step_late": plan.one_step_late,
        "unet_calls": plan.unet_calls,
        "images": plan.images,
        "calls_per_seed": plan.calls_per_seed,
        "plain_calls_per_seed": plan.plain_calls_per_seed,
        "neutral_prompts": dict(plan.neutral_prompts),
        "target_prompts": {f"{c}/{a}": prompt for (c, a), prompt in plan.target_prompts.items()},
    }
