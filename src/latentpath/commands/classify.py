"""`latentpath classify`: train the classifier that judges the images, and measure it on held-out groups."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

import lightning as L

from latentpath.commands import CLASSIFY
from latentpath.config.choices import Trained
from latentpath.config.schema import Config
from latentpath.data.images import ImageSpec
from latentpath.data.latent_cache import file_digests
from latentpath.data.load import load_dataset
from latentpath.data.records import ImageTable
from latentpath.data.splits import assert_disjoint, copies_across_splits
from latentpath.diffusion.autoencoder import decode, encode
from latentpath.diffusion.components import BaseModel
from latentpath.diffusion.execution import device_of
from latentpath.judge.classifier import Classifier, class_outputs
from latentpath.judge.networks import build_network
from latentpath.runs.files import Json
from latentpath.runs.ranks import current_rank, shared
from latentpath.runs.stages import open_stage
from latentpath.runs.temporary import remove
from latentpath.runs.tracking import build_loggers
from latentpath.runs.weights import WeightsFolder
from latentpath.training.classify import equal_weights, label_weights
from latentpath.training.cross_validation import cross_validate
from latentpath.training.fit import quiet_lightning
from latentpath.training.fit_classifier import check_labels, check_validation, fit_classifier
from latentpath.training.fit_head import fit_on_first_rank
from latentpath.training.held_out import RoundTrip
from latentpath.training.judged_splits import judge_splits
from latentpath.training.labelled_images import ImageData, content_keys

log = logging.getLogger(__name__)


def run(cfg: Config, run_dir: Path) -> float | None:
    """Train, select the best epoch, calibrate and evaluate; return the mean accuracy on validation.

    A sweep must not choose by the test split, because the result of the chosen job would then be too good.

    Several processes share every batch; the first one writes.
    """
    rank = current_rank()
    base = BaseModel.of(cfg.model, WeightsFolder(cfg.weights_dir))
    made_from = {"vae": base.fingerprint("vae")} if cfg.classifier.through_vae else None
    with open_stage(run_dir, CLASSIFY, cfg, weights=made_from, rank=rank) as stage:
        if stage.complete:
            log.info("classify is complete: %s", stage.path)
            return stage.figures["val_accuracy"]
        quiet_lightning()
        L.seed_everything(cfg.seed, workers=True, verbose=False)
        table = load_dataset(cfg.dataset, plugins=cfg.plugins).for_judge()
        check_labels(table)
        check_validation(table, monitor=cfg.classifier.monitor, patience=cfg.classifier.patience)
        assert_disjoint(table)
        copies, keys = shared(contents(cfg, table) if rank.is_zero else (0, ("", "")), rank)
        if copies and rank.is_zero:
            log.warning(
                "%s images have an exact copy in another split, under another group, so held-out figures are "
                "too good: the judge has seen these images in training. Give copies the same group",
                f"{copies:,}",
            )
        classifier = build_classifier(cfg, table)
        weights = label_weights(table) if cfg.classifier.class_weights else equal_weights(table)
        data = ImageData(
            table,
            folder=stage.path / "pixels",
            key=keys[0],
            spec=ImageSpec.of(cfg.dataset),
            batch_size=cfg.classifier.batch_size,
            seed=cfg.seed,
            num_workers=cfg.trainer.num_workers,
        )
        trip = round_trip(cfg, base) if cfg.classifier.round_trips or cfg.classifier.through_vae else None
        if cfg.classifier.trainable is Trained.head:
            change = trip.function if trip and cfg.classifier.through_vae else None
            fitted: Json = {
                "penalty": fit_on_first_rank(
                    classifier, data, cfg.trainer, weights=weights, rank=rank, change=change
                )
            }
        else:
            best_epoch = fit_classifier(
                classifier,
                data,
                cfg.classifier,
                weights=weights,
                seed=cfg.seed,
                folder=stage.path,
                checkpoints=stage.path / "checkpoints" / keys[1],
                trainer_config=cfg.trainer,
                loggers=build_loggers(cfg.logger, stage.path, cfg.name, config=cfg, rank=rank),
                rank=rank,
            )
            fitted = {"best_epoch": best_epoch}
        if rank.is_zero:
            accuracies = judge_splits(
                classifier,
                data,
                stage.path,
                calibrate=cfg.classifier.calibrate,
                weights=weights,
                round_trip=trip,
                calibrate_after_it=cfg.classifier.through_vae,
                cross_validation=partial(
                    cross_validate,
                    classifier,
                    data,
                    weights=weights,
                    penalty=fitted["penalty"],
                    folds=cfg.classifier.folds,
                )
                if cfg.classifier.folds
                else None,
            )
            stage.figures = {
                **{f"{split}_accuracy": accuracy for split, accuracy in accuracies.items()},
                "images": {name: len(split) for name, split in data.splits.items()},
                "parameters": sum(p.numel() for p in classifier.parameters()),
                "copies_across_splits": copies,
                **fitted,
            }
        stage.figures = shared(stage.figures, rank)  # the others wait here
        if rank.is_zero:
            for scaffold in ("checkpoints", "pixels"):  # the stage is complete: nothing will resume from them
                remove(stage.path / scaffold)
        return stage.figures["val_accuracy"]


def round_trip(cfg: Config, base: BaseModel) -> RoundTrip:
    """Load the base model's VAE for `classifier.round_trips` held-out images."""
    vae = base.vae()
    vae.to(device_of(cfg.trainer.accelerator))
    return RoundTrip(
        cfg.model.vae or cfg.model.name,
        lambda images: decode(vae, encode(vae, images)),
        cfg.classifier.round_trips,
    )


def contents(cfg: Config, table: ImageTable) -> tuple[int, tuple[str, str]]:
    """Return how many images have a copy in another split, and their `content_keys`; reads every file."""
    rows, dataset = table.rows, cfg.dataset
    # The memo of the fine-tune, so that both read each file only once.
    digests = file_digests(rows["path"].tolist(), Path(cfg.output_dir) / ".latents" / "digests.json")
    keys = content_keys(table, digests, ImageSpec.of(dataset))
    return copies_across_splits(digests, rows["split"].tolist()), keys


def build_classifier(cfg: Config, table: ImageTable) -> Classifier:
    """Build the untrained classifier that `cfg.classifier` describes, for the labels of `table`."""
    settings = cfg.classifier
    outputs = class_outputs(table.classes) + len(table.attributes)
    network = build_network(
        settings.arch,
        num_outputs=outputs,
        pretrained=settings.pretrained,
        trainable=settings.trainable,
        dropout=settings.dropout,
        weights=WeightsFolder(cfg.weights_dir),
        plugins=cfg.plugins,
    )
    return Classifier(
        network,
        arch=settings.arch,
        trainable=settings.trainable,
        image_size=settings.image_size or cfg.dataset.image_size,
        classes=table.classes,
        attributes=table.attributes,
    )
