"""The classifier of classes and attributes that judges images, with saving and loading."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save
from torch import Tensor, nn

from latentpath.errors import UserError
from latentpath.judge.features import noting_features
from latentpath.judge.networks import build_network
from latentpath.metrics.calibration import fit_temperature
from latentpath.runs.files import read_json, reading, write_json, write_whole

WEIGHTS, SETTINGS = "classifier.safetensors", "classifier.json"


class Classifier(nn.Module):
    """A network with all it needs to judge images: image size, normalisation, and names of its outputs.

    Outputs are (n, C + A): C class logits (softmax; C = number of classes, or 0 for a single class), then A
    attribute logits (sigmoid). mean, std: of pixels in [0, 1], as in timm. temperatures: one per head
    ("class", then the attributes) from `calibrate`; None for uncalibrated probabilities. log_weights: one per
    output, the log of its weight in training, which calibrated probabilities leave out. trainable: see
    `build_network`.
    """

    mean: Tensor
    std: Tensor
    temperature: Tensor
    log_weight: Tensor

    def __init__(
        self,
        network: nn.Module,
        *,
        arch: str,
        trainable: str = "full",
        image_size: int,
        classes: Sequence[str],
        attributes: Sequence[str],
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        temperatures: Mapping[str, float] | None = None,
        log_weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.arch, self.trainable, self.image_size = arch, trainable, image_size
        self.classes, self.attributes = tuple(classes), tuple(attributes)
        own: dict[str, Any] = getattr(network, "pretrained_cfg", None) or {}  # Any: of timm
        for name, given in (("mean", mean), ("std", std)):
            values = torch.tensor(given or own.get(name) or (0.5, 0.5, 0.5)).view(3, 1, 1)
            self.register_buffer(name, values, persistent=False)
        outputs = self.class_outputs + len(attributes)
        self.register_buffer("temperature", torch.ones(outputs), persistent=False)
        self.register_buffer("log_weight", torch.zeros(outputs), persistent=False)
        self.set_calibration(temperatures, log_weights)

    @property
    def class_outputs(self) -> int:
        return class_outputs(self.classes)

    @property
    def log_weights(self) -> dict[str, list[float]]:
        """The log weights that calibrated probabilities leave out: attribute, or "class" -> one each."""
        heads = ["class"] * self.class_outputs + list(self.attributes)
        values = self.log_weight.tolist()
        return {head: [w for h, w in zip(heads, values, strict=True) if h == head] for head in heads}

    def set_calibration(
        self, temperatures: Mapping[str, float] | None, log_weights: Sequence[float] | None = None
    ) -> None:
        """Set the temperature of each head by name (None: all 1), and the log weight of each output."""
        self.temperatures = None if temperatures is None else dict(temperatures)
        named = self.temperatures or {}
        heads = ["class"] * self.class_outputs + list(self.attributes)
        self.temperature.copy_(torch.tensor([named.get(head, 1.0) for head in heads]))
        self.log_weight.copy_(torch.zeros(len(heads)) if log_weights is None else torch.tensor(log_weights))

    def calibrated(self, logits: Tensor) -> Tensor:
        """Return (logits - log_weight) / temperature, (n, C + A): the logits of what `predict` returns."""
        return (logits - self.log_weight.to(logits)) / self.temperature.to(logits)

    def calibrate(
        self,
        logits: Tensor,
        class_labels: Tensor,
        attribute_labels: Tensor,
        *,
        log_weights: Sequence[float] | None = None,
    ) -> None:
        """Fit the temperature of each head on the validation split: logits (n, C + A), labels as in a batch.

        Training with weights w learns p w / sum(p w) instead of p; subtracting log w from the logits undoes
        that (Menon et al. 2021, logit adjustment), so decisions change: a rare label is found less often, and
        probabilities are those of the data's own frequencies. A temperature then changes confidence alone.
        Without `log_weights` the decisions stay those of training.
        """
        if log_weights is not None:
            logits = logits - logits.new_tensor(list(log_weights))
        c, found = self.class_outputs, {}
        if c:
            found["class"] = fit_temperature(logits[:, :c], class_labels)
        for i, attribute in enumerate(self.attributes):
            known = ~attribute_labels[:, i].isnan()
            found[attribute] = fit_temperature(logits[known, c + i], attribute_labels[known, i])
        self.set_calibration(found, log_weights)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (n, C + A) of images (n, 3, h, w) in [-1, 1], which are resized if needed."""
        if images.shape[-2:] != (self.image_size, self.image_size):
            size = [self.image_size, self.image_size]
            images = F.interpolate(images, size, mode="bilinear", antialias=True, align_corners=False)
        images = ((images + 1) / 2 - self.mean) / self.std
        return self.network(images.contiguous(memory_format=torch.channels_last))

    @torch.inference_mode()
    def logits(self, images: Tensor, *, batch_size: int = 256) -> Tensor:
        """Run `forward` in evaluation mode, in batches, on the network's device.

        Returns float32 logits on the device of `images`, as trained: not `calibrated`.
        """
        was_training, device = self.training, self.mean.device
        self.eval()
        parts = [self(part.to(device).float()).float().to(images.device) for part in images.split(batch_size)]
        self.train(was_training)
        return torch.cat(parts)

    def predict(self, images: Tensor, *, batch_size: int = 256) -> tuple[Tensor, Tensor]:
        """Return class probabilities (n, C) and attribute probabilities (n, A) of images (n, 3, h, w).

        Images are in [-1, 1]. The probabilities are calibrated if the classifier is (`classifier.calibrate`).
        """
        logits, c = self.calibrated(self.logits(images, batch_size=batch_size)), self.class_outputs
        return logits[:, :c].softmax(dim=1), logits[:, c:].sigmoid()

    def predict_with_features(
        self, images: Tensor, *, batch_size: int = 256
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return what `predict` returns, and the features (n, d) of the same pass, on the CPU."""
        with noting_features(self.network) as seen:
            class_probs, attribute_probs = self.predict(images, batch_size=batch_size)
        return class_probs, attribute_probs, torch.cat(seen)

    def save(self, folder: Path) -> None:
        """Write classifier.safetensors and classifier.json into `folder`."""
        weights = {key: value.detach().cpu().contiguous() for key, value in self.network.state_dict().items()}
        write_whole(folder / WEIGHTS, save(weights))  # save_file would make it unreadable to colleagues
        write_json(
            folder / SETTINGS,
            {
                "arch": self.arch,
                "trainable": self.trainable,
                "image_size": self.image_size,
                "classes": self.classes,
                "attributes": self.attributes,
                "mean": self.mean.flatten().tolist(),
                "std": self.std.flatten().tolist(),
                "temperatures": self.temperatures,
                "log_weights": self.log_weight.tolist(),
            },
        )


def load_classifier(folder: Path | str, *, plugins: Sequence[str] = ()) -> Classifier:
    """Load the classifier that `save` wrote into `folder`, in evaluation mode, on the CPU.

    Raises UserError if a file is missing, or if its network comes from a module that is not in `plugins`.
    """
    folder = Path(folder)
    for name in (SETTINGS, WEIGHTS):
        if not (folder / name).is_file():
            raise UserError(f"no {name} in {folder}; `latentpath classify` writes it")
    settings = read_json(folder / SETTINGS, keys=("arch", "image_size", "classes", "attributes"))
    num_outputs = class_outputs(settings["classes"]) + len(settings["attributes"])
    network = build_network(
        settings["arch"],
        num_outputs=num_outputs,
        pretrained=False,
        trainable=settings.get("trainable", "full"),  # version 0.1.0 did not write it
        plugins=plugins,
    )
    with reading(folder / WEIGHTS):
        network.load_state_dict(load_file(folder / WEIGHTS))
    with reading(folder / SETTINGS):
        return Classifier(network, **settings).eval()


def class_outputs(classes: Sequence[str]) -> int:
    """Return C, the number of class outputs: 0 for a single class, which needs no decision."""
    return len(classes) if len(classes) > 1 else 0
