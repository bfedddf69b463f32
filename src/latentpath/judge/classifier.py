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
    ("class", then the attributes) from `calibrate`; None for uncalibrated probabilities.
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
        """Fit the temperature of each head on the validation split: logits (n, C + A), labels as in a batch.

        A temperature changes the confidence of a head but not its decision (argmax over classes, 0.5 for
        attributes), so accuracy, F1 and the AUROC of attributes stay the same. Decisions at other thresholds
        change. It does not undo the shift toward rare labels that class weights cause.
        """
        c, found = self.class_outputs, {}
        if c:
            found["class"] = fit_temperature(logits[:, :c], class_labels)
        for i, attribute in enumerate(self.attributes):
            known = ~attribute_labels[:, i].isnan()
            found[attribute] = fit_temperature(logits[known, c + i], attribute_labels[known, i])
        self.set_temperatures(found)

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

        Returns float32 logits on the device of `images`, not divided by the temperatures.
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
        logits, c = self.logits(images, batch_size=batch_size), self.class_outputs
        logits = logits / self.temperature.to(logits.device)
        return logits[:, :c].softmax(dim=1), logits[:, c:].sigmoid()

    def predict_with_features(
        self, images: Tensor, *, batch_size: int = 256
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What `predict` gives, and of the same pass the features (n, d), on the CPU (`noting_features`)."""
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
                "image_size": self.image_size,
                "classes": self.classes,
                "attributes": self.attributes,
                "mean": self.mean.flatten().tolist(),
                "std": self.std.flatten().tolist(),
                "temperatures": self.temperatures,
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
    network = build_network(settings["arch"], num_outputs=num_outputs, pretrained=False, plugins=plugins)
    with reading(folder / WEIGHTS):
        network.load_state_dict(load_file(folder / WEIGHTS))
    with reading(folder / SETTINGS):
        return Classifier(network, **settings).eval()


def class_outputs(classes: Sequence[str]) -> int:
    """Return C, the number of class outputs: 0 for a single class, which needs no decision."""
    return len(classes) if len(classes) > 1 else 0
