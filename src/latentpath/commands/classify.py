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

from latentpath.commands import CLASSIFY
from latentpath.config.schema import Config
from latentpath.data.images import ImageSpec
from latentpath.data.latent_cache import file_digests
from latentpath.data.load import load_dataset
from latentpath.data.pixels import to_model_range
from latentpath.data.records import ImageTable
from latentpath.data.splits import assert_disjoint, copies_across_splits
from latentpath.errors import UserError
from latentpath.judge.classifier import Classifier, class_outputs
from latentpath.judge.networks import build_network
from latentpath.metrics.classification import classification_metrics
from latentpath.runs.files import write_json
from latentpath.runs.progress import lightning_bar, on_terminal
from latentpath.runs.ranks import Rank, barrier, current_rank, shared
from latentpath.runs.stages import open_stage
from latentpath.runs.tracking import build_loggers
from latentpath.runs.weights import WeightsFolder
from latentpath.training.augment import Augmentation
from latentpath.training.classify import AttributeClassifier, Patience, balance
from latentpath.training.fit import fit, newest_checkpoint, quiet_lightning
from latentpath.training.labelled_images import ImageData, LabelledImages, content_keys, label_tensors
from latentpath.training.launch import Started

log = logging.getLogger(__name__)


def run(cfg: Config, run_dir: Path) -> float | None:
    """Train, keep the best epoch on validation, calibrate there, judge; returns the mean accuracy on
    validation: a sweep that chose by the test split would flatter what it chose.

    Several processes share every batch; the first one writes.
    """
    rank = current_rank()
    with open_stage(run_dir, CLASSIFY, cfg, rank=rank) as stage:
        if stage.complete:
            log.info("classify is complete: %s", stage.path)
            return stage.figures["val_accuracy"]
        quiet_lightning()
        L.seed_everything(cfg.seed, workers=True, verbose=False)
        table = load_dataset(cfg.dataset)
        check_labels(table)
        check_validation(table, monitor=cfg.classifier.monitor, patience=cfg.classifier.patience)
        assert_disjoint(table)
        copies, keys = shared(contents(cfg, table) if rank.is_zero else None, rank)
        if copies and rank.is_zero:
            log.warning(
                "%s images are byte for byte in another split as well, under another group: held-out figures "
                "are too good by what was learned by heart. Give copies one group",
                f"{copies:,}",
            )
        classifier = build_classifier(cfg, table)
        data = ImageData(
            table,
            folder=stage.path / "pixels",
            key=keys[0],
            spec=ImageSpec.of(cfg.dataset),
            batch_size=cfg.classifier.batch_size,
            seed=cfg.seed,
            num_workers=cfg.trainer.num_workers,
        )
        best_epoch = train(cfg, classifier, data, stage.path, stage.path / "checkpoints" / keys[1], rank)
        if rank.is_zero:
            accuracies = judge(cfg, classifier, data, stage.path)
            stage.figures = {
                **{f"{split}_accuracy": accuracy for split, accuracy in accuracies.items()},
                "images": {name: len(split) for name, split in data.splits.items()},
                "parameters": sum(p.numel() for p in classifier.parameters()),
                "copies_across_splits": copies,
                "best_epoch": best_epoch,
            }
        stage.figures = shared(stage.figures, rank)  # the others wait here
        if rank.is_zero:
            for scaffold in ("checkpoints", "pixels"):  # the stage is done: nothing will go on from them
                shutil.rmtree(stage.path / scaffold)
        return stage.figures["val_accuracy"]


def contents(cfg: Config, table: ImageTable) -> tuple[int, tuple[str, str]]:
    """How many images have a copy in another split, and the `content_keys`; reads every file once."""
    rows, dataset = table.rows, cfg.dataset
    # The fine-tune's memo: what it has read, or will read, is read once for both.
    digests = file_digests(rows["path"].tolist(), Path(cfg.output_dir) / ".latents" / "digests.json")
    keys = content_keys(table, digests, ImageSpec.of(dataset))
    return copies_across_splits(digests, rows["split"].tolist()), keys


def build_classifier(cfg: Config, table: ImageTable) -> Classifier:
    settings = cfg.classifier
    outputs = class_outputs(table.classes) + len(table.attributes)
    network = build_network(
        settings.arch,
        num_outputs=outputs,
        pretrained=settings.pretrained,
        dropout=settings.dropout,
        weights=WeightsFolder(cfg.weights_dir),
    )
    return Classifier(
        network,
        arch=settings.arch,
        image_size=cfg.dataset.image_size,
        classes=table.classes,
        attributes=table.attributes,
    )


def train(
    cfg: Config, classifier: Classifier, data: ImageData, folder: Path, checkpoints: Path, rank: Rank
) -> int:
    """Fit `classifier`, from the last epoch if the run was killed; its weights end as the best epoch's.

    The best is that of the lowest loss or the highest mean AUROC on the validation split; test is not looked
    at. Returns which epoch that is, counted from 1.
    """
    settings, table = cfg.classifier, data.table
    if rank.is_zero:
        check_checkpoints(checkpoints, folder / "metrics.csv")
    barrier(rank)
    weights = (None, None)
    if settings.class_weights:
        labels = label_tensors(table.split("train"), table.classes, table.attributes)
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
        augment=Augmentation(
            horizontal_flip=settings.horizontal_flip,
            vertical_flip=settings.vertical_flip,
            rotation=settings.rotation,
            color_jitter=settings.color_jitter,
            blur=settings.blur,
        ),
    )
    validate = len(table.split("val")) > 0
    better = "min" if settings.monitor == "loss" else "max"
    watched: dict[str, Any] = {"monitor": f"val/{settings.monitor}", "mode": better}
    # Not save_last: that writes only when the best changes, and a resumed run would repeat epochs.
    # The best stands first, so that the last holds which one that is.
    wanted = {"best": watched, "last": {}} if validate else {"last": {}}
    callbacks: list[Any] = [
        ModelCheckpoint(
            checkpoints, filename=name, save_on_train_epoch_end=True, enable_version_counter=False, **which
        )
        for name, which in wanted.items()
    ]
    if validate and settings.patience:
        callbacks.append(Patience(patience=settings.patience, **watched))
    trainer = L.Trainer(
        max_epochs=settings.epochs,
        accelerator=cfg.trainer.accelerator,
        devices=cfg.trainer.devices,
        num_nodes=cfg.trainer.num_nodes,
        strategy=cfg.trainer.strategy,
        plugins=[Started(current_rank())],
        precision=cfg.trainer.precision,  # pyright: ignore[reportArgumentType] (config.checks has looked)
        logger=build_loggers(cfg.logger, folder, cfg.name, config=cfg, rank=rank),
        callbacks=[*callbacks, *([lightning_bar()] if rank.is_zero else [])],
        enable_progress_bar=on_terminal() and rank.is_zero,
        log_every_n_steps=10,
        num_sanity_val_steps=0,
        limit_val_batches=1.0 if validate else 0,
        use_distributed_sampler=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    fit(trainer, task, datamodule=data, last=checkpoints / "last.ckpt")
    best = torch.load(checkpoints / f"{next(iter(wanted))}.ckpt", map_location="cpu", weights_only=True)
    task.load_state_dict(best["state_dict"])
    classifier.to(trainer.strategy.root_device)
    return best["epoch"] + 1


def check_checkpoints(folder: Path, numbers: Path) -> None:
    """Where there is nothing to go on from, drop an earlier attempt's numbers; say so if the data are why.

    A checkpoint of other images, labels or splits is not gone on from: its epochs have seen what is now
    held out, or what no longer is.
    """
    if newest_checkpoint(folder) is None:
        if any(other != folder and newest_checkpoint(other) for other in folder.parent.glob("*")):
            log.warning(
                "the images, labels or splits changed since this training was interrupted: it begins anew. "
                "Its checkpoints stay in %s until the stage is done, should the data change back",
                folder.parent,
            )
        numbers.unlink(missing_ok=True)


def judge(cfg: Config, classifier: Classifier, data: ImageData, folder: Path) -> dict[str, float | None]:
    """Calibrate on validation, save the classifier and metrics.json; returns each split's mean accuracy.

    Calibration on validation is that of the very images it was fitted to; the test split's is what counts.
    """
    logits = {name: split_logits(classifier, data.splits[name]) for name in ("test", "val")}
    if not all(values.isfinite().all() for values in logits.values()):
        raise UserError(
            "the classifier's outputs are not finite. Try a smaller classifier.lr, or "
            "trainer.precision=32-true"
        )
    if cfg.classifier.calibrate:
        val = data.splits["val"]
        classifier.calibrate(logits["val"], val.class_labels, val.attribute_labels)
    metrics = {
        name: classification_metrics(
            values,
            data.splits[name].class_labels,
            data.splits[name].attribute_labels,
            classes=classifier.classes,
            attributes=classifier.attributes,
            temperatures=classifier.temperatures,
        )
        for name, values in logits.items()
    }
    classifier.save(folder)
    write_json(folder / "metrics.json", metrics)
    Console().print(metrics_table(metrics["test"], len(data.splits["test"])))
    return {name: _mean_accuracy(rows) for name, rows in metrics.items()}


def _mean_accuracy(rows: dict[str, Any]) -> float | None:
    accuracies = [row["accuracy"] for row in rows.values() if row["accuracy"] is not None]
    return sum(accuracies) / len(accuracies) if accuracies else None


def split_logits(classifier: Classifier, data: LabelledImages, *, batch_size: int = 256) -> torch.Tensor:
    """(n, C + A) logits of a split, not divided by temperatures."""
    logits = [torch.zeros(0, classifier.class_outputs + len(classifier.attributes))]
    for start in range(0, len(data), batch_size):
        batch = data[list(range(start, min(start + batch_size, len(data))))]
        logits.append(classifier.logits(to_model_range(batch["images"])))
    return torch.cat(logits)


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


def check_validation(table: ImageTable, *, monitor: str, patience: int) -> None:
    """UserError where the best epoch, or the last, is to be told by validation images that cannot tell it."""
    rows, remedy = table.split("val"), "Raise dataset.val_fraction or dataset.limit"
    if rows.empty and (patience or monitor == "auroc"):
        raise UserError(
            f"classifier.patience={patience} and classifier.monitor={monitor} need validation images, and "
            f"there are none. {remedy}"
        )
    labels = [rows["cls"]] if len(table.classes) > 1 else []
    labels += [rows[name].dropna() for name in table.attributes]
    if monitor == "auroc" and not any(values.nunique() > 1 for values in labels):
        raise UserError(
            f"classifier.monitor=auroc: no label has both of its answers among {len(rows):,} validation "
            f"images, so none has an AUROC. {remedy}"
        )


def metrics_table(metrics: dict[str, dict[str, Any]], images: int) -> Table:
    """The classifier's table of the paper, for the terminal, with its calibration error."""
    calibrated = any(row["uncalibrated"] for row in metrics.values())
    grid = Table(title=f"classifier on {images:,} held-out test images", title_justify="left")
    grid.add_column("label", no_wrap=True)
    columns = ["accuracy", "F1", "AUROC", *(["ECE before", "ECE after"] if calibrated else ["ECE"])]
    for column in (*columns, "positives", "images"):
        grid.add_column(column, justify="right")
    for label, row in metrics.items():
        before = [row["uncalibrated"]["ece"]] if calibrated else []
        figures = (row["accuracy"], row["f1"], row["auroc"], *before, row["ece"])
        scores = ("n/a" if figure is None else f"{figure:.3f}" for figure in figures)
        positives = "" if row["positives"] is None else f"{row['positives']:,}"
        grid.add_row(label, *scores, positives, f"{row['count']:,}")
    return grid
