"""What evaluation and the search for flip points ask of a judge; `classifier.Classifier` is one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor


class Judge(Protocol):
    """Says of images which class they show and which attributes.

    `classes` and `attributes` name the columns of the probabilities. Images are (n, 3, h, w) in [-1, 1], on
    any device; probabilities and features come back on the device of the images and on the CPU.
    """

    @property
    def classes(self) -> Sequence[str]: ...

    @property
    def attributes(self) -> Sequence[str]: ...

    def predict(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return class probabilities (n, C), C = 0 for a single class, and attribute probabilities (n, A)."""
        ...

    def predict_with_features(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the probabilities of `predict`, and the features (n, d) that they were made from."""
        ...
