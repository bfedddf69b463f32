"""`latentpath finetune`: cache the latents, fit the U-Net, save a diffusers folder."""

from __future__ import annotations

import logging
import math
from functools import partial
from pathlib import Path

import lightning as L

from latentpath.commands import FINETUNE
from latentpath.config.schema import Config
from latentpath.data.images import ImageSpec
from latentpath.data.load import load_dataset
from latentpath.data.pixels import save_grid, to_uint8
from latentpath.diffusion.cached_latents import cached_latents, captioned
from latentpath.diffusion.components import BaseModel, scheduler_changes
from latentpath.diffusion.execution import device_of
from latentpath.report.model_card import write_card
from latentpath.runs.ranks import barrier, current_rank
from latentpath.runs.stages import open_stage
from latentpath.runs.tracking import build_loggers, log_images
from latentpath.runs.weights import WeightsFolder
from latentpath.training.finetune import check_loss, warn_of_useless
from latentpath.training.fit_unet import final_loss, fit_unet, save_unet
from latentpath.training.sample_grid import SampleGrid, grid_sampler
from latentpath.training.validation import HeldOut, check_validation, choose_images, steps_between

log = logging.getLogger(__name__)


def run(cfg: Config, run_dir: Path) -> float | None:
    """Fine-tune `cfg.model` on the training split; returns the mean loss over the last tenth of the steps.

    Several processes share every batch; the first one writes.
    """
    rank = current_rank()
    base = BaseModel.of(cfg.model, WeightsFolder(cfg.weights_dir))
    base.check()
    base.latent_shape(cfg.dataset.image_size)  # refuses a size that the VAE cannot shrink
    changes = scheduler_changes(cfg.model)
    schedule = base.schedule(**changes)
    weights = {"model.name": base.fingerprint("unet", "vae", "text_encoder", "tokenizer", "scheduler")}
    with open_stage(run_dir, FINETUNE, cfg, weights=weights, rank=rank) as stage:
        if stage.complete:
            log.info("finetune is complete: %s", stage.path)
            return stage.figures["loss"]
        table = load_dataset(cfg.dataset, plugins=cfg.plugins)
        device = device_of(cfg.trainer.accelerator, rank.local_index)
        caches = Path(cfg.output_dir) / ".latents"
        spec = ImageSpec.of(cfg.dataset)
        encoded = partial(cached_latents, base, table, spec=spec, caches=caches, device=device, rank=rank)
        chosen = choose_images(captioned(table, "val"), cfg.finetune.val_images)
        check_validation(cfg.finetune, len(chosen))
        cache = encoded(captioned(table))
        columns, samples = ["neutral", *cfg.attribute.names], stage.path / "samples"
        sample = grid_sampler(
            base,
            schedule,
            table.captions,
            classes=cfg.dataset.classes,
            attributes=cfg.attribute.names,
            image_size=cfg.dataset.image_size,
            num_inference_steps=cfg.timesteps.num_inference_steps,
            guidance_scale=cfg.sampler.guidance_scale,
            guidance_rescale=cfg.sampler.guidance_rescale,
            negative_prompt=cfg.sampler.negative_prompt,
        )
        if rank.is_zero and not (before := samples / "base.png").is_file():
            save_grid(sample(base.unet().to(device).eval()), before)
            log.info("picture: %s, samples of the base model for: %s", before, ", ".join(columns))
        held_out = None
        if steps_between(cfg.finetune, len(chosen)):
            held_out = HeldOut(
                images := encoded(chosen),
                chosen["image_id"].iloc[images.image_of].tolist(),
                timesteps=len(schedule.alphas_cumprod),
                batch_size=math.ceil(cfg.finetune.batch_size / rank.world_size),
                rank=rank,
            )
        L.seed_everything(cfg.seed, workers=True, verbose=False)
        fitted = fit_unet(
            base,
            cache,
            schedule,
            cfg.finetune,
            image_size=cfg.dataset.image_size,
            seed=cfg.seed,
            folder=stage.path,
            trainer_config=cfg.trainer,
            loggers=build_loggers(cfg.logger, stage.path, cfg.name, config=cfg, rank=rank),
            grid=SampleGrid(samples, columns=columns, every=cfg.finetune.sample_every, sample=sample),
            rank=rank,
            held_out=held_out,
        )
        task = fitted.task
        loss = final_loss(stage.path / "metrics.csv")
        check_loss(loss, cfg.finetune.max_steps)
        warn_of_useless(loss, cfg.finetune.noise_offset)
        if rank.is_zero:
            save_unet(
                task.unet,
                stage.path,
                base=base,
                trainable=cfg.finetune.trainable,
                scheduler_changes=changes,
            )
            write_card(stage.path / "pipeline", cfg, table, base=Path(base.location))
            log.info("fine-tuned pipeline: %s, %s", stage.path / "pipeline", fitted.summary(cfg.finetune))
            images = sample(task.unet.to(device))
            after = save_grid(images, samples / "final.png")
            log.info("picture: %s, samples of the fine-tuned model for the same", after)
            pixels = to_uint8(images).cpu().numpy()
            log_images(task.trainer.loggers, "samples", pixels, columns=columns, step=fitted.steps)
        stage.figures = {
            "loss": loss,
            "images": len(cache.moments),
            "parameters": sum(p.numel() for p in task.unet.parameters() if p.requires_grad),
            "exported": "best" if cfg.finetune.monitor else "last",
            "step": fitted.exported,
            "steps": fitted.steps,
            "validation": task.validated,
        }
        barrier(rank)  # no process continues before the pipeline is written
        return stage.figures["loss"]
