"""The classifier of classes and attributes: its training task, and the saved form that judges images."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import EarlyStopping
from safetensors.torch import load_file, save
from timm.optim import param_groups_weight_decay
from torch import Tensor, nn

from latentpath.errors import UserError
from latentpath.metrics.calibration import fit_temperature
from latentpath.metrics.classification import mean_auroc
from latentpath.stages import write_json
from latentpath.tasks.networks import build_network

WEIGHTS, SETTINGS = "classifier.safetensors", "classifier.json"
HEAVIEST = 10.0  # a rare label weighs at most this much


class Classifier(nn.Module):
    """A network with what it needs to judge images: their size, normalisation, and the names of its outputs.

    Outputs are (n, C + A): C class logits (softmax; C = number of classes, or 0 for a single one), then A
    attribute logits (sigmoid). mean, std: of pixels in [0, 1], as timm states them. temperatures: of each
    head ("class", then the attributes), as `calibrate` finds them; None: the network's own probabilities.
    """

    mean: Tensor
    std: Tensor
    temperature: Tensor

    def __init__(
        self,
        network: nn.Module,
        *,
        arch: str,
        image_size: int,
        classes: Sequence[str],
        attributes: Sequence[str],
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        temperatures: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.arch, self.image_size = arch, image_size
        self.classes, self.attributes = tuple(classes), tuple(attributes)
        own: dict[str, Any] = getattr(network, "pretrained_cfg", None) or {}
        for name, given in (("mean", mean), ("std", std)):
            values = torch.tensor(given or own.get(name) or (0.5, 0.5, 0.5)).view(3, 1, 1)
            self.register_buffer(name, values, persistent=False)
        self.register_buffer(
            "temperature", torch.ones(self.class_outputs + len(attributes)), persistent=False
        )
        self.set_temperatures(temperatures)

    @property
    def class_outputs(self) -> int:
        return class_outputs(self.classes)

    def set_temperatures(self, temperatures: Mapping[str, float] | None) -> None:
        """One per head by name, or None: all 1."""
        self.temperatures = None if temperatures is None else dict(temperatures)
        named = self.temperatures or {}
        heads = ["class"] * self.class_outputs + list(self.attributes)
        self.temperature.copy_(torch.tensor([named.get(head, 1.0) for head in heads]))

    def calibrate(self, logits: Tensor, class_labels: Tensor, attribute_labels: Tensor) -> None:
        """Fit the temperature of each head to the validation split: logits (n, C + A), labels as in a batch.

        A temperature changes how sure a head is, not what it decides: the argmax over classes and the 0.5 of
        attributes stay, and so do accuracy, F1 and an attribute's AUROC. Any other threshold is crossed
        elsewhere. It does not undo the shift towards the rare that class weights bring.
        """
        c, found = self.class_outputs, {}
        if c:
            found["class"] = fit_temperature(logits[:, :c], class_labels)
        for i, attribute in enumerate(self.attributes):
            known = ~attribute_labels[:, i].isnan()
            found[attribute] = fit_temperature(logits[known, c + i], attribute_labels[known, i])
        self.set_temperatures(found)

    def forward(self, images: Tensor) -> Tensor:
        """images (n, 3, h, w) in [-1, 1], resized if need be -> logits (n, C + A)."""
        if images.shape[-2:] != (self.image_size, self.image_size):
            size = [self.image_size, self.image_size]
            images = F.interpolate(images, size, mode="bilinear", antialias=True, align_corners=False)
        images = ((images + 1) / 2 - self.mean) / self.std
        return self.network(images.contiguous(memory_format=torch.channels_last))

    @torch.inference_mode()
    def logits(self, images: Tensor, *, batch_size: int = 256) -> Tensor:
        """`forward` in evaluation mode, in batches, on the network's device; float32 where `images` are. Not
        divided by the temperatures."""
        was_training, device = self.training, self.mean.device
        self.eval()
        parts = [self(part.to(device).float()).float().to(images.device) for part in images.split(batch_size)]
        self.train(was_training)
        return torch.cat(parts)

    def predict(self, images: Tensor, *, batch_size: int = 256) -> tuple[Tensor, Tensor]:
        """images (n, 3, h, w) in [-1, 1] -> class probabilities (n, C), attribute probabilities (n, A),
        calibrated where the classifier was (`classifier.calibrate`)."""
        logits, c = self.logits(images, batch_size=batch_size), self.class_outputs
        logits = logits / self.temperature.to(logits.device)
        return logits[:, :c].softmax(dim=1), logits[:, c:].sigmoid()

    def save(self, folder: Path) -> None:
        """Write classifier.safetensors and classifier.json into `folder`."""
        weights = {key: value.detach().cpu().contiguous() for key, value in self.network.state_dict().items()}
        (folder / WEIGHTS).write_bytes(save(weights))  # save_file would make it unreadable to colleagues
        write_json(
            folder / SETTINGS,
            {
                "arch": self.arch,
                "image_size": self.image_size,
                "classes": self.classes,
                "attributes": self.attributes,
                "mean": self.mean.flatten().tolist(),
                "std": self.std.flatten().tolist(),
                "temperatures": self.temperatures,
            },
        )


def load_classifier(folder: Path) -> Classifier:
    """The classifier that `save` wrote into `folder`, in evaluation mode, on the CPU."""
    for name in (SETTINGS, WEIGHTS):
        if not (folder / name).is_file():
            raise UserError(f"no {name} in {folder}; `latentpath classify` writes it")
    settings = json.loads((folder / SETTINGS).read_text())
    num_outputs = class_outputs(settings["classes"]) + len(settings["attributes"])
    network = build_network(settings["arch"], num_outputs=num_outputs, pretrained=False)
    network.load_state_dict(load_file(folder / WEIGHTS))
    return Classifier(network, **settings).eval()


def class_outputs(classes: Sequence[str]) -> int:
    """C: a single class needs no decision."""
    return len(classes) if len(classes) > 1 else 0


class AttributeClassifier(L.LightningModule):
    """Fits a network that maps images in [-1, 1] to logits (n, C + A), such as a `Classifier`.

    Batches: images (n, 3, h, w) uint8, class_labels (n,) int64, attribute_labels (n, A): 0, 1, nan (unknown).
    class_weights (C,) and pos_weights (A,): as `balance` gives them; None: all equal. `augment` maps training
    images to training images. Logs val/loss and val/auroc, the mean over the labels that have one.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        classes: Sequence[str],
        attributes: Sequence[str],
        lr: float,
        weight_decay: float,
        seed: int = 0,
        class_weights: Tensor | None = None,
        pos_weights: Tensor | None = None,
        augment: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.network, self.classes, self.attributes = network, tuple(classes), tuple(attributes)
        self.class_outputs = class_outputs(classes)
        self.lr, self.weight_decay, self.seed, self.augment = lr, weight_decay, seed, augment
        self.judged: list[tuple[Tensor, Tensor, Tensor]] = []  # of this validation: logits and labels
        self.register_buffer("class_weights", class_weights, persistent=False)
        self.register_buffer("pos_weights", pos_weights, persistent=False)

    def on_train_epoch_start(self) -> None:
        # Randomness is a function of (seed, epoch, rank): a resumed run draws what it would have drawn.
        state = np.random.SeedSequence((self.seed, self.current_epoch, self.global_rank)).generate_state(
            1, np.uint64
        )
        torch.manual_seed(int(state[0]))

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        images = to_model_range(batch["images"])
        if self.augment is not None:
            images = self.augment(images)
        loss = self._loss(self.network(images), batch)
        self.log("train/loss", loss.detach(), prog_bar=True)
        return loss

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        logits = self.network(to_model_range(batch["images"]))
        self.log("val/loss", self._loss(logits, batch), prog_bar=True, sync_dist=True, batch_size=len(logits))
        self.judged.append(
            (logits.float().cpu(), batch["class_labels"].cpu(), batch["attribute_labels"].cpu())
        )

    def on_validation_epoch_end(self) -> None:
        logits, *labels = map(torch.cat, zip(*self.judged, strict=True))
        self.judged.clear()
        auroc = mean_auroc(logits, *labels, classes=self.classes, attributes=self.attributes)
        self.log("val/auroc", float("nan") if auroc is None else auroc, sync_dist=True)

    def configure_optimizers(self) -> Any:
        groups = param_groups_weight_decay(self.network, self.weight_decay)
        optimizer = torch.optim.AdamW(groups, lr=self.lr)
        total = int(self.trainer.estimated_stepping_batches)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.lr, total_steps=total, pct_start=0.2)
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


class Patience(EarlyStopping):
    """Stops after so many epochs without a better one; also a run that was killed after it had done so."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        if self.wait_count >= self.patience:  # a checkpoint keeps the count, not the stop
            trainer.should_stop = True


def to_model_range(images: Tensor) -> Tensor:
    """uint8 in 0..255 to float32 in [-1, 1], on the device where they are."""
    return images.float().div(127.5).sub(1.0)


def classification_loss(
    logits: Tensor,
    class_labels: Tensor,
    attribute_labels: Tensor,
    *,
    class_outputs: int,
    class_weights: Any = None,
    pos_weights: Any = None,
) -> Tensor:
    """Cross-entropy of the first `class_outputs` logits, plus the mean binary one of the known attributes.

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


def balance(class_labels: Tensor, attribute_labels: Tensor, *, class_outputs: int) -> tuple[Tensor, Tensor]:
    """Weights of classes (C,), n / (C n_c), and of positives (A,), negatives / positives, in [1/10, 10]."""
    counts = torch.bincount(class_labels, minlength=class_outputs)[:class_outputs].float()
    class_weights = counts.sum() / (class_outputs * counts.clamp(min=1)) if class_outputs else counts
    positives, known = (attribute_labels == 1).sum(dim=0), (~attribute_labels.isnan()).sum(dim=0)
    pos_weights = (known - positives) / positives.clamp(min=1)
    return class_weights.clamp(1 / HEAVIEST, HEAVIEST), pos_weights.clamp(1 / HEAVIEST, HEAVIEST)
