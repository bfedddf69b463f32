"""The classifier that judges the class and the attributes of images, with saving and loading."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save
from torch import Tensor, nn

from latentpath.errors import UserError
from latentpath.judge.features import collecting_features
from latentpath.judge.networks import build_network
from latentpath.metrics.calibration import fit_temperature
from latentpath.runs.files import read_json, reading, write_json, write_whole

WEIGHTS, SETTINGS = "classifier.safetensors", "classifier.json"


class Classifier(nn.Module):
    """A network together with the image size, normalisation, output names and calibration it needs to judge.

    Outputs are (n, C + A): C class logits (softmax; C = number of classes, or 0 for a single class), then A
    attribute logits (sigmoid). A head is one decision: "class", or one of the attributes.

    arch, trainable: see `build_network`.
    mean, std: per channel, of pixels in [0, 1]; default: those of the network if timm knows them, else 0.5.
    temperatures: one per head, fitted by `calibrate`; None if the probabilities are not calibrated.
    log_weights: one per output, the log of its weight in the training loss; calibration subtracts it.
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
        """The number of class logits, C (see `class_outputs` below)."""
        return class_outputs(self.classes)

    @property
    def log_weights(self) -> dict[str, list[float]]:
        """The log weights that calibration subtracts, by head: C values for "class", one per attribute."""
        found: dict[str, list[float]] = {}
        for head, weight in zip(self._heads, self.log_weight.tolist(), strict=True):
            found.setdefault(head, []).append(weight)
        return found

    @property
    def _heads(self) -> list[str]:
        """The head of each output."""
        return ["class"] * self.class_outputs + list(self.attributes)

    def set_calibration(
        self, temperatures: Mapping[str, float] | None, log_weights: Sequence[float] | None = None
    ) -> None:
        """Set the temperature of each head (None: all 1) and the log weight of each output (None: all 0)."""
        self.temperatures = None if temperatures is None else dict(temperatures)
        named = self.temperatures or {}
        self.temperature.copy_(torch.tensor([named.get(head, 1.0) for head in self._heads]))
        self.log_weight.copy_(
            torch.zeros(len(self._heads)) if log_weights is None else torch.tensor(log_weights)
        )

    def calibrated(self, logits: Tensor) -> Tensor:
        """Return (logits - log_weight) / temperature, (n, C + A); `predict` takes probabilities from it."""
        return (logits - self.log_weight.to(logits)) / self.temperature.to(logits)

    def calibrate(
        self,
        logits: Tensor,
        class_labels: Tensor,
        attribute_labels: Tensor,
        *,
        log_weights: Sequence[float] | None = None,
    ) -> None:
        """Fit the temperature of each head on the validation split.

        logits: (n, C + A), from `logits`. class_labels: (n,) indices. attribute_labels: (n, A) of 1, 0 or NaN
        (not known).

        A temperature changes the confidence and no decision. `log_weights` change decisions: a network
        trained with weights w learns p w / sum(p w) instead of p, and subtracting log w from its logits
        undoes that (Menon et al. 2021, logit adjustment). Probabilities then follow the frequencies of the
        data, so rare labels are found less often.
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
        """Return logits (n, C + A) of images (n, 3, h, w) in [-1, 1], before calibration.

        Runs `forward` in evaluation mode, in batches, on the device of the network. Logits are float32, on
        the device of `images`.
        """
        was_training, device = self.training, self.mean.device
        self.eval()
        parts = [self(part.to(device).float()).float().to(images.device) for part in images.split(batch_size)]
        self.train(was_training)
        return torch.cat(parts)

    def predict(self, images: Tensor, *, batch_size: int = 256) -> tuple[Tensor, Tensor]:
        """Return class probabilities (n, C) and attribute probabilities (n, A) of images (n, 3, h, w).

        Images are in [-1, 1]. Probabilities are calibrated if `calibrate` or `set_calibration` was called.
        """
        logits, c = self.calibrated(self.logits(images, batch_size=batch_size)), self.class_outputs
        return logits[:, :c].softmax(dim=1), logits[:, c:].sigmoid()

    def predict_with_features(
        self, images: Tensor, *, batch_size: int = 256
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return what `predict` returns, and the features (n, d) of the same forward pass, on the CPU."""
        with collecting_features(self.network) as seen:
            class_probs, attribute_probs = self.predict(images, batch_size=batch_size)
        return class_probs, attribute_probs, torch.cat(seen)

    def save(self, folder: Path) -> None:
        """Write classifier.safetensors and classifier.json into `folder`."""
        weights = {key: value.detach().cpu().contiguous() for key, value in self.network.state_dict().items()}
        write_whole(folder / WEIGHTS, save(weights))  # save_file's files are readable by their owner alone
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

    plugins: modules that a classifier with a network of your own may import. Raises UserError if a file is
    missing or damaged, or if the network comes from another module.
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
