"""Fits the classifier: checks before training, selects the best epoch, and resumes interrupted training."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import Logger

from latentpath.config.training import ClassifierConfig, TrainerConfig
from latentpath.data.records import ImageTable
from latentpath.errors import UserError
from latentpath.judge.classifier import Classifier, class_outputs
from latentpath.runs.ranks import Rank, barrier
from latentpath.runs.temporary import remove
from latentpath.training.checkpoints import is_whole, newest_checkpoint, read_checkpoint
from latentpath.training.classify import AttributeClassifier, LabelWeights
from latentpath.training.fit import Patience, fit
from latentpath.training.labelled_images import ImageData
from latentpath.training.launch import build_trainer

log = logging.getLogger(__name__)


def fit_classifier(
    classifier: Classifier,
    data: ImageData,
    settings: ClassifierConfig,
    *,
    weights: LabelWeights,
    seed: int,
    folder: Path,
    checkpoints: Path,
    trainer_config: TrainerConfig,
    loggers: Sequence[Logger],
    rank: Rank,
) -> int:
    """Fit `classifier`, resuming after an interruption, and load the weights of the best epoch.

    The best epoch has the lowest loss or the highest mean AUROC on the validation split; the test split is
    not used. Returns the number of the best epoch, counted from 1.
    """
    table = data.table
    if rank.is_zero:
        if not is_whole(checkpoints / "best.ckpt") and len(table.split("val")):
            remove(checkpoints)  # the last epoch alone does not say which one was the best
        check_checkpoints(checkpoints, folder / "metrics.csv")
    barrier(rank)
    task = AttributeClassifier(
        classifier,
        settings,
        classes=table.classes,
        attributes=table.attributes,
        weights=weights,
        seed=seed,
    )
    validate = len(table.split("val")) > 0
    better = "min" if settings.monitor == "loss" else "max"
    monitor = f"val/{settings.monitor}"
    # Not save_last: it writes only when the best epoch changes, and a resumed run would repeat epochs. The
    # callback of the best epoch comes first, so that the last checkpoint records which epoch is best.
    wanted = {"best": monitor, "last": None} if validate else {"last": None}
    callbacks: list[L.Callback] = [
        ModelCheckpoint(
            checkpoints,
            filename=name,
            monitor=watched,
            mode=better,
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        )
        for name, watched in wanted.items()
    ]
    if validate and settings.patience:
        callbacks.append(Patience(monitor, patience=settings.patience, mode=better))
    trainer = build_trainer(
        trainer_config,
        rank,
        folder,
        loggers,
        callbacks,
        max_epochs=settings.epochs,
        log_every_n_steps=10,
        num_sanity_val_steps=0,
        limit_val_batches=1.0 if validate else 0,
    )
    fit(trainer, task, datamodule=data, last=checkpoints / "last.ckpt")
    best = read_checkpoint(checkpoints / f"{next(iter(wanted))}.ckpt")
    task.load_state_dict(best["state_dict"])
    classifier.to(trainer.strategy.root_device)
    return best["epoch"] + 1


def check_checkpoints(folder: Path, numbers: Path) -> None:
    """If there is no checkpoint to resume, drop the numbers of an earlier attempt; warn if the data changed.

    A checkpoint from other images, labels or splits is not resumed, because it may have seen images that are
    now held out.
    """
    if newest_checkpoint(folder) is None:
        if any(other != folder and newest_checkpoint(other) for other in folder.parent.glob("*")):
            log.warning(
                "the images, labels or splits have changed since this training was interrupted, so it starts "
                "again. The old checkpoints stay in %s until the stage is complete",
                folder.parent,
            )
        numbers.unlink(missing_ok=True)


def check_labels(table: ImageTable) -> None:
    """Raise UserError for a label that has only one value among the training images and cannot be learned."""
    rows = table.split("train")
    if class_outputs(table.classes) + len(table.attributes) == 0:
        raise UserError("nothing to classify: `classes` has one class and `attributes` is empty")
    if len(rows) < 2:
        raise UserError(
            f"{len(rows)} training images; the classifier needs at least 2. Raise `limit` or add groups"
        )
    remedy = f"among {len(rows):,} training images, so it cannot be learned. Leave it out of"
    if len(table.classes) > 1:
        for name in table.classes:
            if not (rows["cls"] == name).any():
                raise UserError(f"class {name!r}: no image {remedy} `classes`, or raise `limit`")
    for name in table.attributes:
        for value, word in ((1, "positive"), (0, "negative")):
            if not (rows[name] == value).any():
                raise UserError(f"attribute {name!r}: no {word} {remedy} `attributes`, or raise `limit`")


def check_validation(table: ImageTable, *, monitor: str, patience: int) -> None:
    """Raise UserError if the validation images cannot decide the best epoch or when to stop."""
    rows, remedy = table.split("val"), "Raise `val_fraction` or `limit`"
    if rows.empty and (patience or monitor == "auroc"):
        raise UserError(
            f"`patience={patience}` and `monitor={monitor}` need validation images, and "
            f"there are none. {remedy}"
        )
    labels = [rows["cls"]] if len(table.classes) > 1 else []
    labels += [rows[name].dropna() for name in table.attributes]
    if monitor == "auroc" and not any(values.nunique() > 1 for values in labels):
        raise UserError(
            f"`monitor=auroc`: no label has both of its answers among {len(rows):,} validation "
            f"images, so none has an AUROC. {remedy}"
        )
