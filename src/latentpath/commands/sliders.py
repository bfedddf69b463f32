"""`latentpath sliders`: train a low-rank adapter for each attribute on top of the fine-tuned U-Net."""

from __future__ import annotations

import logging
from pathlib import Path

import lightning as L
import pandas as pd

from latentpath.commands import slider_of
from latentpath.config.schema import Config
from latentpath.data.images import ImageSpec
from latentpath.data.load import load_dataset
from latentpath.data.records import ImageTable
from latentpath.diffusion.cached_latents import cached_latents, captioned
from latentpath.diffusion.components import BaseModel
from latentpath.diffusion.execution import device_of
from latentpath.runs.files import read_csv
from latentpath.runs.stages import open_stage, stage_dir
from latentpath.runs.tracking import build_loggers
from latentpath.runs.weights import WeightsFolder
from latentpath.training.sliders import fit_slider
from latentpath.training.trainable import save_lora

log = logging.getLogger(__name__)


def run(cfg: Config, run_dir: Path, *attributes: str) -> float | None:
    """Train one slider per attribute, each a stage of its own; complete ones are skipped.

    The attributes are `attributes`, else `cfg.sliders.attributes`, else all of the sweep.

    Returns the mean share of the attributes' directions that the sliders leave unexplained.
    """
    names = attributes or cfg.sliders.attributes or cfg.attribute.names
    shares = [_train(cfg, run_dir, name) for name in names]
    return sum(shares) / len(shares)


def _train(cfg: Config, run_dir: Path, attribute: str) -> float:
    """Train one slider, and return the share that it leaves unexplained at the end."""
    tuned = BaseModel(str(stage_dir(run_dir, "finetune", cfg) / "pipeline"))
    with open_stage(run_dir, slider_of(attribute), cfg) as stage:
        if stage.complete:
            log.info("the slider of %s is complete: %s", attribute, stage.path)
            return stage.figures["unexplained"]
        table, spec = load_dataset(cfg.dataset, plugins=cfg.plugins), ImageSpec.of(cfg.dataset)
        rows, caches = captioned(table), Path(cfg.output_dir) / ".latents"
        base, device = BaseModel.of(cfg.model, WeightsFolder(cfg.weights_dir)), cfg.trainer.accelerator
        cache = cached_latents(base, table, rows, spec, caches=caches, device=device_of(device))
        pairs = caption_pairs(table, rows.iloc[cache.image_of], attribute, preserve=cfg.sliders.preserve)
        number = {pair: k for k, pair in enumerate(dict.fromkeys(pairs))}
        encoder = tuned.prompt_encoder(cfg.dataset.image_size)
        encoder.check_distinct([caption for pair in number for caption in pair])
        without, with_it = (encoder(list(captions)) for captions in zip(*number, strict=True))
        L.seed_everything(cfg.seed, workers=True, verbose=False)
        unet = tuned.unet()
        fit_slider(
            unet,
            cache,
            [number[pair] for pair in pairs],
            tuned.schedule(),
            cfg.sliders,
            without=without,
            with_it=with_it,
            scaling_factor=tuned.scaling_factor(),
            seed=cfg.seed,
            folder=stage.path,
            trainer_config=cfg.trainer,
            loggers=build_loggers(cfg.logger, stage.path, cfg.name, config=cfg),
        )
        save_lora(unet.cpu(), stage.path)
        logged = read_csv(stage.path / "metrics.csv")["train/unexplained"].dropna().to_numpy()
        unexplained = float(logged[-max(1, len(logged) // 10) :].mean())
        stage.figures = {"unexplained": unexplained, "pairs": len(number), "images": len(pairs)}
        log.info("the slider of %s leaves %.0f %% unexplained: %s", attribute, 100 * unexplained, stage.path)
        return unexplained


def caption_pairs(
    table: ImageTable, rows: pd.DataFrame, attribute: str, *, preserve: bool
) -> list[tuple[str, str]]:
    """Return a pair of captions for each image: its class without `attribute`, and the same with it.

    With `preserve` both name the other attributes that the image shows, so that the direction is learned
    beside each of them.
    """
    pairs = []
    for row in rows.to_dict("records"):
        others = [name for name in table.attributes if preserve and name != attribute and row[name] == 1]
        pairs.append(
            (
                table.captions.caption(row["cls"], others),
                table.captions.caption(row["cls"], [*others, attribute]),
            )
        )
    return pairs
