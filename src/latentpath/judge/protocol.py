"""What evaluation and the search for flip points need of a judge; `classifier.Classifier` fulfils it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor


class Judge(Protocol):
    """Gives the probabilities of classes and attributes of images.

    Images are (n, 3, h, w) in [-1, 1], on any device. Probabilities come back on the device of the images,
    features on the CPU.
    """

    @property
    def classes(self) -> Sequence[str]:
        """The names of all classes, also of a single one."""
        ...

    @property
    def attributes(self) -> Sequence[str]:
        """The names of the attributes, in the order of their probabilities."""
        ...

    def predict(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return class probabilities (n, C), with C = 0 for a single class, and attribute ones (n, A)."""
        ...

    def predict_with_features(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the probabilities of `predict`, and the features (n, d) that they are computed from."""
        ...
