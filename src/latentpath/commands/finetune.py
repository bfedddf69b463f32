"""`latentpath finetune`: cache the latents, fit the U-Net, save a diffusers folder."""

from __future__ import annotations

import dataclasses
import logging
import math
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pandas as pd
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint
from torch import Tensor
from torch.utils.data import DataLoader

from latentpath.callbacks import SampleGrid, save_grid
from latentpath.data.batches import LatentBatches
from latentpath.data.captions import CaptionTemplate
from latentpath.data.images import load_images
from latentpath.data.latent_cache import LatentCache, build_cache, cache_key, open_cache
from latentpath.data.load import load_dataset
from latentpath.diffusion.components import BaseModel, save_pipeline
from latentpath.diffusion.decode import decode
from latentpath.diffusion.prompts import encode_prompts
from latentpath.diffusion.solvers import DDIM, initial_noise
from latentpath.errors import UserError
from latentpath.progress import bar, lightning_bar, on_terminal
from latentpath.stages import open_stage
from latentpath.tasks.finetune import UNetFinetuner
from latentpath.tasks.fit import fit
from latentpath.tracking import build_loggers
from latentpath.traversal.engine import walk
from latentpath.traversal.plan import plan_sweep
from latentpath.traversal.sweep import denoiser

log = logging.getLogger(__name__)


def run(cfg: Any, run_dir: Path) -> float | None:
    """Fine-tune `cfg.model` on the training split; returns the mean loss over the last tenth of the steps."""
    base = BaseModel(cfg.model.name, cfg.model.revision)
    base.check()
    base.latent_shape(cfg.dataset.image_size)  # refuses a size that the VAE cannot shrink
    with open_stage(run_dir, "finetune", cfg) as stage:
        if stage.complete:
            log.info("finetune is complete: %s", stage.path)
            return stage.figures["loss"]
        L.seed_everything(cfg.seed, workers=True, verbose=False)
        table = load_dataset(cfg.dataset)
        cache = cached_latents(cfg, base, table)
        schedule = base.schedule()
        if cfg.model.prediction_type is not None:
            schedule = dataclasses.replace(schedule, prediction_type=cfg.model.prediction_type.value)
        task = finetune(cfg, base, cache, schedule, table.captions, stage.path)
        loss = _final_loss(stage.path / "metrics.csv")
        if not math.isfinite(loss):
            raise UserError(
                "the loss is not finite. Try a smaller finetune.lr, or trainer.precision=32-true."
            )
        save_pipeline(
            stage.path / "pipeline", base=base, unet=task.unet, prediction_type=schedule.prediction_type
        )
        stage.figures = {
            "loss": loss,
            "images": len(cache.moments),
            "parameters": sum(p.numel() for p in task.unet.parameters()),
        }
        log.info("fine-tuned pipeline: %s", stage.path / "pipeline")
        return stage.figures["loss"]


def cached_latents(cfg: Any, base: BaseModel, table: Any) -> LatentCache:
    """The cache of the training split; shared by every run with the same images, captions and base."""
    rows = table.rows[table.rows["split"] == "train"]
    labels = rows[list(table.attributes)]
    # Their caption would say that nothing is there, which nobody knows: a lie for the neutral prompt.
    unsaid = ~(labels == 1).any(axis=1) & labels.isna().any(axis=1)
    if unsaid.any():
        log.info("%d images without a known attribute are left out of the fine-tune", int(unsaid.sum()))
    rows = rows[~unsaid].reset_index(drop=True)
    if rows.empty:
        raise UserError("no training image has a known attribute: there is nothing to caption.")
    images, kept = load_images(
        rows,
        size=cfg.dataset.image_size,
        resize=cfg.dataset.resize,
        on_error=cfg.dataset.on_error,
        progress=True,
    )
    rows = rows.iloc[kept]
    captions = table.captions_of(rows)
    identity = {
        "base": base.source,
        "revision": base.revision,
        "weights": base.fingerprint("vae", "text_encoder"),
    }
    folder = Path(cfg.output_dir) / ".latents" / cache_key(images, captions, identity)
    if folder.exists():
        return open_cache(folder)
    tokenizer, text_encoder = base.tokenizer(), base.text_encoder()
    with bar("encoding images", len(images)) as advance:
        return build_cache(
            folder,
            images=images,
            captions=captions,
            vae=base.vae(),
            on_images=advance,
            device=_device(cfg),
            encode=lambda unique: encode_prompts(unique, tokenizer=tokenizer, text_encoder=text_encoder),
        )


def finetune(
    cfg: Any, base: BaseModel, cache: LatentCache, schedule: Any, captions: CaptionTemplate, folder: Path
) -> Any:
    """Fit for `finetune.max_steps`, from the last checkpoint if there is one."""
    tune, vae = cfg.finetune, base.vae()
    task = UNetFinetuner(
        base.unet().train(),
        schedule=schedule,
        scaling_factor=vae.config["scaling_factor"],
        seed=cfg.seed,
        max_steps=tune.max_steps,
        lr=tune.lr,
        warmup_steps=tune.warmup_steps,
        lr_decay=tune.lr_decay,
        betas=(tune.adam_beta1, tune.adam_beta2),
        weight_decay=tune.weight_decay,
    )
    grid = SampleGrid(
        folder / "samples",
        every=tune.sample_every,
        sample=lambda unet: sample_grid(cfg, base, unet, vae, schedule, captions),
    )
    checkpoints = folder / "checkpoints"
    callbacks: list[Any] = [
        ModelCheckpoint(
            checkpoints, filename="{step}", every_n_train_steps=tune.checkpoint_every, save_last=True
        ),
        lightning_bar(),
        grid,
    ]
    if tune.ema_decay > 0:
        callbacks.append(EMAWeightAveraging(decay=tune.ema_decay))
    trainer = L.Trainer(
        max_epochs=1,
        max_steps=tune.max_steps,
        accumulate_grad_batches=tune.accumulate,
        gradient_clip_val=tune.clip_norm,
        accelerator=cfg.trainer.accelerator,
        devices=cfg.trainer.devices,
        num_nodes=cfg.trainer.num_nodes,
        strategy=cfg.trainer.strategy,
        precision=cfg.trainer.precision,
        log_every_n_steps=min(tune.log_every, tune.max_steps),
        logger=build_loggers(cfg.logger, folder, cfg.name),
        callbacks=callbacks,
        default_root_dir=folder,
        enable_model_summary=False,
        enable_progress_bar=on_terminal(),
    )
    batches = LatentBatches(
        cache,
        batch_size=tune.batch_size,
        total=tune.max_steps * tune.accumulate,
        seed=cfg.seed,
        caption_dropout=tune.caption_dropout,
        first=lambda: trainer.global_step * tune.accumulate,
        rank=trainer.global_rank,
        world_size=trainer.world_size,
    )
    fit(trainer, task, last=checkpoints / "last.ckpt", train_dataloaders=DataLoader(batches, batch_size=None))
    unet = task.unet.cpu().eval()
    save_grid(sample_grid(cfg, base, unet, vae, schedule, captions), folder / "samples" / "final.png")
    return task


@torch.no_grad()
def sample_grid(
    cfg: Any,
    base: BaseModel,
    unet: Any,
    vae: Any,
    schedule: Any,
    captions: CaptionTemplate,
    *,
    seeds: int = 4,
) -> Tensor:
    """(rows, 1 + A, 3, h, w): a row a class and seed; neutral, then every attribute from the start."""
    plan = plan_sweep(
        captions,
        classes=cfg.dataset.classes,
        attributes=cfg.attribute.names,
        swap_steps=[0],
        num_inference_steps=min(20, cfg.timesteps.num_inference_steps),
        seeds=range(seeds),
    )
    denoise = denoiser(
        plan,
        unet=unet,
        tokenizer=base.tokenizer(),
        text_encoder=base.text_encoder(),
        negative_prompt=cfg.sampler.negative_prompt,
        guidance_scale=cfg.sampler.guidance_scale,
        batch_size=cfg.sampler.batch_size,
    )
    noise = initial_noise(plan.seeds, base.latent_shape(cfg.dataset.image_size)).to(unet.device)
    solver = DDIM(schedule, plan.num_inference_steps)
    grids = []
    for cls in plan.classes:
        _, latents = walk(plan, cls=cls, noise=noise, seeds=plan.seeds, denoise=denoise, solver=solver)
        grids.append(decode(vae, latents).unflatten(0, (1 + len(plan.attributes), seeds)).transpose(0, 1))
    return torch.cat(grids)


def _final_loss(file: Path) -> float:
    losses = pd.read_csv(file)["train/loss"].dropna().to_numpy()
    return float(np.mean(losses[-max(1, len(losses) // 10) :]))


def _device(cfg: Any) -> str:
    return (
        "cuda" if cfg.trainer.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available() else "cpu"
    )
