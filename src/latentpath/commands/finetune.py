"""`latentpath finetune`: cache the latents, fit the U-Net, save a diffusers folder."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pandas as pd
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor
from torch.utils.data import DataLoader

from latentpath.commands import FINETUNE
from latentpath.config.schema import Config
from latentpath.data.batches import LatentBatches, affordable_workers
from latentpath.data.captions import CaptionTemplate
from latentpath.data.images import ImageSpec, ReadImages, read_images
from latentpath.data.latent_cache import LatentCache, build_cache, cache_key, file_digests, open_cache
from latentpath.data.load import load_dataset
from latentpath.data.pixels import save_grid, to_uint8
from latentpath.data.records import Problem, report_problems
from latentpath.diffusion.autoencoder import decode
from latentpath.diffusion.components import BaseModel, save_pipeline
from latentpath.diffusion.conditioning import Conditioning
from latentpath.diffusion.execution import device_of
from latentpath.diffusion.noise import SeededNoise
from latentpath.diffusion.sampler import Sampler
from latentpath.diffusion.schedule import NoiseSchedule
from latentpath.diffusion.solvers import build_solver
from latentpath.errors import UserError
from latentpath.runs.progress import bar, lightning_bar, on_terminal
from latentpath.runs.ranks import Rank, barrier, current_rank, shared
from latentpath.runs.stages import open_stage
from latentpath.runs.tracking import build_loggers, log_images
from latentpath.runs.weights import WeightsFolder
from latentpath.training.averaging import WeightEMA
from latentpath.training.finetune import UNetFinetuner
from latentpath.training.fit import fit
from latentpath.training.launch import Started
from latentpath.training.sample_grid import SampleGrid
from latentpath.training.trainable import make_trainable, merge_lora, restore_frozen, save_lora
from latentpath.traversal.engine import walk
from latentpath.traversal.plan import plan_sweep
from latentpath.traversal.sweep import denoiser

log = logging.getLogger(__name__)


def run(cfg: Config, run_dir: Path) -> float | None:
    """Fine-tune `cfg.model` on the training split; returns the mean loss over the last tenth of the steps.

    Several processes share every batch; the first one writes.
    """
    rank = current_rank()
    base = BaseModel.of(cfg.model, WeightsFolder(cfg.weights_dir))
    base.check()
    base.latent_shape(cfg.dataset.image_size)  # refuses a size that the VAE cannot shrink
    weights = {"model.name": base.fingerprint("unet", "vae", "text_encoder", "tokenizer", "scheduler")}
    with open_stage(run_dir, FINETUNE, cfg, weights=weights, rank=rank) as stage:
        if stage.complete:
            log.info("finetune is complete: %s", stage.path)
            return stage.figures["loss"]
        L.seed_everything(cfg.seed, workers=True, verbose=False)
        table = load_dataset(cfg.dataset)
        cache = cached_latents(cfg, base, table, rank)
        schedule = base.schedule()
        if cfg.model.prediction_type is not None:
            schedule = dataclasses.replace(schedule, prediction_type=cfg.model.prediction_type.value)
        task = finetune(cfg, base, cache, schedule, table.captions, stage.path, rank)
        loss = _final_loss(stage.path / "metrics.csv")
        if not math.isfinite(loss):
            raise UserError(
                "the loss is not finite. Try a smaller finetune.lr, or trainer.precision=32-true."
            )
        if rank.is_zero:
            images = save(cfg, base, task.unet, schedule, table.captions, stage.path)
            columns, loggers = ["neutral", *cfg.attribute.names], task.trainer.loggers
            pixels, step = to_uint8(images).cpu().numpy(), cfg.finetune.max_steps
            pixels, step = to_uint8(images).cpu().numpy(), cfg.finetune.max_steps
            log_images(loggers, "samples", pixels, columns=columns, step=step)
        stage.figures = {
            "loss": loss,
            "images": len(cache.moments),
            "parameters": sum(p.numel() for p in task.unet.parameters() if p.requires_grad),
        }
        barrier(rank)  # nobody is done before the pipeline is there
        return stage.figures["loss"]


def save(
    cfg: Config, base: BaseModel, unet: Any, schedule: NoiseSchedule, captions: CaptionTemplate, folder: Path
) -> Tensor:
    """The diffusers folder, with LoRA the adapter besides, and a last grid of samples, which is returned."""
    unet = unet.cpu().eval()
    if cfg.finetune.trainable.value == "lora":
        log.info("adapter: %s", save_lora(unet, folder / "lora"))
        merge_lora(unet)
    save_pipeline(folder / "pipeline", base=base, unet=unet, prediction_type=schedule.prediction_type)
    log.info("fine-tuned pipeline: %s", folder / "pipeline")
    unet.to(device_of(cfg.trainer.accelerator))
    images = sample_grid(cfg, base, unet, base.vae(), schedule, captions)
    save_grid(images, folder / "samples" / "final.png")
    return images


def cached_latents(cfg: Config, base: BaseModel, table: Any, rank: Rank) -> LatentCache:
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
    captions, paths = table.captions_of(rows), rows["path"].tolist()
    spec, caches = ImageSpec.of(cfg.dataset), Path(cfg.output_dir) / ".latents"
    identity = {"weights": base.fingerprint("vae", "text_encoder", "tokenizer"), **spec.identity}
    digests = file_digests(paths, caches / "digests.json") if rank.is_zero else []
    folder = caches / shared(cache_key(digests, captions, identity), rank)
    if shared(folder.exists(), rank):
        return _reported(open_cache(folder), spec)

    def read(places: Sequence[int]) -> ReadImages:
        found = read_images(rows.iloc[list(places)], spec)
        if spec.on_error == "fail":
            report_problems(found.unreadable, "fail")
        return found

    encoder = base.prompt_encoder()
    with bar("encoding images", -(-len(rows) // rank.world_size), show=rank.is_zero) as advance:
        cache = build_cache(
            folder,
            captions=captions,
            read=read,
            vae=base.vae(),
            on_images=advance,
            device=device_of(cfg.trainer.accelerator, rank.local_index),
            encode=lambda unique: encoder(unique).hidden,
            rank=rank,
        )
    return _reported(cache, spec)


def _reported(cache: LatentCache, spec: ImageSpec) -> LatentCache:
    """The cache; its unreadable images are a warning, or a UserError where `spec.on_error` is 'fail'."""
    problems = [Problem("unreadable image", "the training split", None, text) for text in cache.unreadable]
    report_problems(problems, spec.on_error)
    return cache


def finetune(
    cfg: Config,
    base: BaseModel,
    cache: LatentCache,
    schedule: Any,
    captions: CaptionTemplate,
    folder: Path,
    rank: Rank,
) -> Any:
    """Fit for `finetune.max_steps`, from the last checkpoint if there is one."""
    tune = cfg.finetune
    unet: Any = base.unet().train()
    make_trainable(unet, tune.trainable.value, rank=tune.lora_rank, alpha=tune.lora_alpha)
    if tune.gradient_checkpointing:
        unet.enable_gradient_checkpointing()
    if tune.channels_last:
        unet.to(memory_format=torch.channels_last)
    if tune.compile:
        unet.compile(fullgraph=True, dynamic=False)  # in place: names of weights stay as they are
    task = UNetFinetuner(
        unet,
        captions=Conditioning(cache.prompt_embeds),
        schedule=schedule,
        scaling_factor=base.scaling_factor(),
        seed=cfg.seed,
        max_steps=tune.max_steps,
        lr=tune.lr,
        warmup_steps=tune.warmup_steps,
        lr_decay=tune.lr_decay,
        betas=(tune.adam_beta1, tune.adam_beta2),
        weight_decay=tune.weight_decay,
        min_snr_gamma=tune.min_snr_gamma,
        noise_offset=tune.noise_offset,
    )
    grid = SampleGrid(
        folder / "samples",
        columns=["neutral", *cfg.attribute.names],
        every=tune.sample_every,
        sample=lambda unet: sample_grid(cfg, base, unet, base.vae(), schedule, captions),
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
        callbacks.append(WeightEMA(tune.ema_decay, every=tune.ema_every))
    trainer = L.Trainer(
        max_epochs=1,
        max_steps=tune.max_steps,
        accumulate_grad_batches=tune.accumulate,
        gradient_clip_val=tune.clip_norm,
        accelerator=cfg.trainer.accelerator,
        devices=cfg.trainer.devices,
        num_nodes=cfg.trainer.num_nodes,
        strategy=strategy_of(cfg),
        plugins=[Started(rank)],
        precision=cfg.trainer.precision,  # pyright: ignore[reportArgumentType] (config.checks has looked)
        log_every_n_steps=min(tune.log_every, tune.max_steps),
        logger=build_loggers(cfg.logger, folder, cfg.name, config=cfg, rank=rank),
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
    workers = affordable_workers(cfg.trainer.num_workers, batch_bytes=batches.batch_bytes)
    loader = DataLoader(batches, batch_size=None, num_workers=workers)
    fit(trainer, task, last=checkpoints / "last.ckpt", train_dataloaders=loader)
    if tune.ema_decay > 0 and tune.trainable.value != "full":
        restore_frozen(unet, base.unet())  # the average of equal numbers is not quite equal
    return task


@torch.no_grad()
def sample_grid(
    cfg: Config,
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
        encoder=base.prompt_encoder(),
        negative_prompt=cfg.sampler.negative_prompt,
        guidance_scale=cfg.sampler.guidance_scale,
        batch_size=32,
    )
    sampler = Sampler(
        denoise,
        build_solver("ddim", schedule, plan.num_inference_steps),
        SeededNoise(base.latent_shape(cfg.dataset.image_size)),
        unet.device,
    )
    grids = []
    for cls in plan.classes:
        _, latents = walk(plan, sampler, cls=cls, seeds=plan.seeds)
        grids.append(decode(vae, latents).unflatten(0, (-1, seeds)).transpose(0, 1))
    return torch.cat(grids)


def strategy_of(cfg: Config) -> Any:
    """DDP, where there are several processes: buckets hold the gradients themselves, and the graph does not
    change unless gradients are accumulated."""
    if cfg.trainer.devices * cfg.trainer.num_nodes == 1 or cfg.trainer.strategy not in ("auto", "ddp"):
        return cfg.trainer.strategy
    return DDPStrategy(gradient_as_bucket_view=True, static_graph=cfg.finetune.accumulate == 1)


def _final_loss(file: Path) -> float:
    losses = pd.read_csv(file)["train/loss"].dropna().to_numpy()
    return float(np.mean(losses[-max(1, len(losses) // 10) :]))
