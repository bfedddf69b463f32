"""The LightningModule that trains the classifier of classes and attributes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import lightning as L
import numpy as np
import torch
import torch.nn.functional as F
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from timm.optim import param_groups_weight_decay
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR

from latentpath.config.training import ClassifierConfig
from latentpath.data.pixels import to_model_range
from latentpath.data.records import ImageTable
from latentpath.judge.classifier import class_outputs
from latentpath.metrics.classification import mean_auroc
from latentpath.training.augment import augment
from latentpath.training.labelled_images import label_tensors

HEAVIEST = 10.0  # a rare label weighs at most this much


class AttributeClassifier(L.LightningModule):
    """Fits a network that maps images in [-1, 1] to logits (n, C + A), such as a `Classifier`.

    Batches: images (n, 3, h, w) uint8, class_labels (n,) int64, attribute_labels (n, A): 0, 1, nan (unknown).
    Logs val/loss and val/auroc, the mean over the labels that have one.
    """

    class_weights: Tensor
    pos_weights: Tensor

    def __init__(
        self,
        network: nn.Module,
        settings: ClassifierConfig,
        *,
        classes: Sequence[str],
        attributes: Sequence[str],
        weights: LabelWeights,
        seed: int,
    ) -> None:
        super().__init__()
        self.network, self.settings, self.seed = network, settings, seed
        self.classes, self.attributes = tuple(classes), tuple(attributes)
        self.class_outputs = class_outputs(classes)
        self.judged: list[tuple[Tensor, Tensor, Tensor]] = []  # of this validation: logits and labels
        self.register_buffer("class_weights", weights.classes, persistent=False)
        self.register_buffer("pos_weights", weights.positives, persistent=False)

    def on_train_epoch_start(self) -> None:
        # Randomness is a function of (seed, epoch, rank): a resumed run draws what it would have drawn.
        entropy = np.random.SeedSequence((self.seed, self.current_epoch, self.global_rank))
        torch.manual_seed(int(entropy.generate_state(1, np.uint64)[0]))

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        images = augment(to_model_range(batch["images"]), self.settings)
        loss = self._loss(self.network(images), batch)
        self.log("train/loss", loss.detach(), prog_bar=True)
        return loss

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        logits = self.network(to_model_range(batch["images"]))
        self.log("val/loss", self._loss(logits, batch), prog_bar=True, sync_dist=True, batch_size=len(logits))
        labels = batch["class_labels"].cpu(), batch["attribute_labels"].cpu()
        self.judged.append((logits.float().cpu(), *labels))

    def on_validation_epoch_end(self) -> None:
        logits, *labels = map(torch.cat, zip(*self.judged, strict=True))
        self.judged.clear()
        auroc = mean_auroc(logits, *labels, classes=self.classes, attributes=self.attributes)
        self.log("val/auroc", float("nan") if auroc is None else auroc, sync_dist=True)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        lr, steps = self.settings.lr, int(self.trainer.estimated_stepping_batches)
        groups = param_groups_weight_decay(self.network, self.settings.weight_decay)
        optimizer = torch.optim.AdamW(groups, lr=lr)
        scheduler = one_cycle(optimizer, lr, steps=steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _loss(self, logits: Tensor, batch: dict[str, Tensor]) -> Tensor:
        return classification_loss(
            logits.float(),
            batch["class_labels"],
            batch["attribute_labels"],
            class_outputs=self.class_outputs,
            class_weights=self.class_weights,
            pos_weights=self.pos_weights,
        )


def classification_loss(
    logits: Tensor,
    class_labels: Tensor,
    attribute_labels: Tensor,
    *,
    class_outputs: int,
    class_weights: Tensor | None = None,
    pos_weights: Tensor | None = None,
) -> Tensor:
    """Cross-entropy of the first `class_outputs` logits plus mean binary cross-entropy of known attributes.

    logits (n, C + A); class_labels (n,), not read if C is 0; attribute_labels (n, A) in {0, 1, nan}.
    """
    class_logits, attribute_logits = logits[:, :class_outputs], logits[:, class_outputs:]
    loss = logits.new_zeros(())
    if class_outputs:
        loss = loss + F.cross_entropy(class_logits, class_labels, weight=class_weights)
    if attribute_logits.shape[1]:
        known = ~attribute_labels.isnan()
        each = F.binary_cross_entropy_with_logits(
            attribute_logits, attribute_labels.nan_to_num(0.0), pos_weight=pos_weights, reduction="none"
        )
        loss = loss + (each * known).sum() / known.sum().clamp(min=1)
    return loss


@dataclass(frozen=True)
class LabelWeights:
    """The weights of labels in the loss: of each class (C,), and of the positives of each attribute (A,)."""

    classes: Tensor
    positives: Tensor

    @property
    def logs(self) -> list[float]:
        """The log of the weight of each output (C + A): training with it shifts the logits by this."""
        return torch.cat([self.classes, self.positives]).log().tolist()


def label_weights(table: ImageTable) -> LabelWeights:
    """Return the weights that balance the labels of the training split (see `balance`)."""
    labels = label_tensors(table.split("train"), table.classes, table.attributes)
    return balance(*labels, class_outputs=class_outputs(table.classes))


def equal_weights(table: ImageTable) -> LabelWeights:
    """Return a weight of 1 for every label."""
    return LabelWeights(torch.ones(class_outputs(table.classes)), torch.ones(len(table.attributes)))


def balance(class_labels: Tensor, attribute_labels: Tensor, *, class_outputs: int) -> LabelWeights:
    """Return the weights n / (C n_c) of classes and negatives / positives of attributes, in [0.1, 10]."""
    counts = torch.bincount(class_labels, minlength=class_outputs)[:class_outputs].float()
    class_weights = counts.sum() / (class_outputs * counts.clamp(min=1)) if class_outputs else counts
    positives, known = (attribute_labels == 1).sum(dim=0), (~attribute_labels.isnan()).sum(dim=0)
    pos_weights = (known - positives) / positives.clamp(min=1)
    return LabelWeights(*(w.clamp(1 / HEAVIEST, HEAVIEST) for w in (class_weights, pos_weights)))


def one_cycle(optimizer: torch.optim.Optimizer, lr: float, *, steps: int) -> LRScheduler:
    """Return a learning rate that rises to `lr` in the first fifth of the steps, then falls to about 0.

    Source: Smith and Topin 2018, as torch has it.
    """
    rising = 0.25 if steps == 5 else 0.2  # a fifth of five steps is the first one, and torch divides by 0
    return OneCycleLR(optimizer, lr, total_steps=steps, pct_start=rising)
