"""`latentpath classify`: train the classifier that judges the generated images, and say how well it does."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from rich.console import Console
from rich.table import Table

from latentpath.data.load import load_dataset
from latentpath.data.records import ImageTable
from latentpath.errors import UserError
from latentpath.metrics.classification import classification_metrics
from latentpath.progress import lightning_bar, on_terminal
from latentpath.stages import open_stage, write_json
from latentpath.tasks.classify import (
    AttributeClassifier,
    Classifier,
    balance,
    build_network,
    class_outputs,
    to_model_range,
)
from latentpath.tasks.fit import fit, quiet_lightning
from latentpath.tasks.labelled_images import ImageData, LabelledImages, label_tensors
from latentpath.tracking import build_loggers

log = logging.getLogger(__name__)

Metrics = dict[str, dict[str, dict[str, Any]]]


def run(cfg: Any, run_dir: Path) -> float | None:
    """Train, keep the epoch of the lowest validation loss, judge; returns the mean accuracy on test."""
    with open_stage(run_dir, "classify", cfg) as stage:
        if stage.complete:
            log.info("classify is complete: %s", stage.path)
            return stage.figures["test_accuracy"]
        quiet_lightning()
        L.seed_everything(cfg.seed, workers=True, verbose=False)
        table = load_dataset(cfg.dataset)
        check_labels(table)
        outputs = class_outputs(table.classes) + len(table.attributes)
        arch = cfg.classifier.arch
        network = build_network(
            arch, num_outputs=outputs, pretrained=cfg.classifier.pretrained, dropout=cfg.classifier.dropout
        )
        classifier = Classifier(
            network,
            arch=arch,
            image_size=cfg.dataset.image_size,
            classes=table.classes,
            attributes=table.attributes,
        )
        data = ImageData(
            table,
            folder=stage.path / "pixels",
            size=cfg.dataset.image_size,
            resize=cfg.dataset.resize,
            on_error=cfg.dataset.on_error,
            batch_size=cfg.classifier.batch_size,
            seed=cfg.seed,
            num_workers=cfg.trainer.num_workers,
        )
        trainer = train(cfg, classifier, data, stage.path)
        if trainer.is_global_zero:
            metrics: Metrics = {name: judge(classifier, data.splits[name]) for name in ("test", "val")}
            classifier.save(stage.path)
            write_json(stage.path / "metrics.json", metrics)
            Console().print(metrics_table(metrics["test"], len(data.splits["test"])))
            accuracies = [row["accuracy"] for row in metrics["test"].values() if row["accuracy"] is not None]
            stage.figures = {
                "test_accuracy": sum(accuracies) / len(accuracies) if accuracies else None,
                "images": {name: len(split) for name, split in data.splits.items()},
                "parameters": sum(p.numel() for p in classifier.parameters()),
            }
        stage.figures = trainer.strategy.broadcast(stage.figures)  # other processes wait here
        if trainer.is_global_zero:
            for scaffold in ("checkpoints", "pixels"):  # the stage is done: nothing will go on from them
                shutil.rmtree(stage.path / scaffold)
        return stage.figures["test_accuracy"]


def train(cfg: Any, classifier: Classifier, data: ImageData, folder: Path) -> L.Trainer:
    """Fit `classifier`, from the last epoch if the run was killed; its weights end as the best epoch's."""
    settings, table = cfg.classifier, data.table
    rows = table.split("train")
    weights = (None, None)
    if settings.class_weights:
        labels = label_tensors(rows, table.classes, table.attributes)
        weights = balance(*labels, class_outputs=classifier.class_outputs)
    task = AttributeClassifier(
        classifier,
        classes=table.classes,
        attributes=table.attributes,
        lr=settings.lr,
        weight_decay=settings.weight_decay,
        seed=cfg.seed,
        class_weights=weights[0],
        pos_weights=weights[1],
        horizontal_flip=settings.horizontal_flip,
        vertical_flip=settings.vertical_flip,
        blur=settings.blur,
    )
    validate = len(table.split("val")) > 0
    # Not save_last: that writes only when the best changes, and a resumed run would repeat epochs.
    # The best stands first, so that the last holds which one that is.
    wanted = [("best", "val/loss"), ("last", None)] if validate else [("last", None)]
    checkpoints = [
        ModelCheckpoint(
            folder / "checkpoints",
            filename=name,
            monitor=monitor,
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        )
        for name, monitor in wanted
    ]
    trainer = L.Trainer(
        max_epochs=settings.epochs,
        accelerator=cfg.trainer.accelerator,
        devices=cfg.trainer.devices,
        num_nodes=cfg.trainer.num_nodes,
        strategy=cfg.trainer.strategy,
        precision=cfg.trainer.precision,
        logger=build_loggers(cfg.logger, folder, cfg.name),
        callbacks=[*checkpoints, lightning_bar()],
        enable_progress_bar=on_terminal(),
        log_every_n_steps=10,
        num_sanity_val_steps=0,
        limit_val_batches=1.0 if validate else 0,
        use_distributed_sampler=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    fit(trainer, task, datamodule=data, last=folder / "checkpoints" / "last.ckpt")
    checkpoint = torch.load(checkpoints[0].best_model_path, map_location="cpu", weights_only=True)
    task.load_state_dict(checkpoint["state_dict"])
    classifier.to(trainer.strategy.root_device)
    return trainer


def judge(
    classifier: Classifier, data: LabelledImages, *, batch_size: int = 256
) -> dict[str, dict[str, Any]]:
    """Metrics of one split, as in metrics.json; an empty split gives rows of None with their reason."""
    logits = [torch.zeros(0, classifier.class_outputs + len(classifier.attributes))]
    for start in range(0, len(data), batch_size):
        batch = data[list(range(start, min(start + batch_size, len(data))))]
        logits.append(classifier.logits(to_model_range(batch["images"])))
    return classification_metrics(
        torch.cat(logits),
        data.class_labels,
        data.attribute_labels,
        classes=classifier.classes,
        attributes=classifier.attributes,
    )


def check_labels(table: ImageTable) -> None:
    """UserError for a label of which the training images show only one side: it cannot be learned."""
    rows = table.split("train")
    if class_outputs(table.classes) + len(table.attributes) == 0:
        raise UserError("nothing to classify: dataset.classes has one class and dataset.attributes is empty")
    if len(rows) < 2:
        raise UserError(
            f"{len(rows)} training images; the classifier needs at least 2. Raise dataset.limit or add groups"
        )
    remedy = f"among {len(rows):,} training images, so it cannot be learned. Leave it out of"
    if len(table.classes) > 1:
        for name in table.classes:
            if not (rows["cls"] == name).any():
                raise UserError(f"class {name!r}: no image {remedy} dataset.classes, or raise dataset.limit")
    for name in table.attributes:
        for value, word in ((1, "positive"), (0, "negative")):
            if not (rows[name] == value).any():
                raise UserError(
                    f"attribute {name!r}: no {word} {remedy} dataset.attributes, or raise dataset.limit"
                )


def metrics_table(metrics: dict[str, dict[str, Any]], images: int) -> Table:
    """The classifier's table of the paper, for the terminal."""
    grid = Table(title=f"classifier on {images:,} held-out test images", title_justify="left")
    grid.add_column("label")
    for column in ("accuracy", "F1", "AUROC", "positives", "images"):
        grid.add_column(column, justify="right")
    for label, row in metrics.items():
        scores = ("n/a" if row[key] is None else f"{row[key]:.3f}" for key in ("accuracy", "f1", "auroc"))
        positives = "" if row["positives"] is None else f"{row['positives']:,}"
        grid.add_row(label, *scores, positives, f"{row['count']:,}")
    return grid
