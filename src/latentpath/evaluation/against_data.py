"""The data set beside the generated images: how like its images they look, and whether they copy any."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from torch import Tensor

from latentpath.data.images import ImageSpec
from latentpath.data.records import ImageTable
from latentpath.evaluation.copies import write_copies
from latentpath.evaluation.fidelity import write_fidelity
from latentpath.evaluation.real_images import measure_real_images, read_real_images
from latentpath.evaluation.scoring import Scorer
from latentpath.evaluation.shards import StoredSweep, read_features


@dataclass(frozen=True)
class Data:
    """A data set: its table, how its images are read, and scaled latents (n, c, h, w) of training images."""

    table: ImageTable
    spec: ImageSpec
    training: Tensor

    def measure(self, folder: Path, scorer: Scorer) -> None:
        """Write what the networks see in real images, together with all processes that do the same."""
        measure_real_images(
            folder,
            self.table,
            self.training,
            spec=self.spec,
            vae=scorer.vae,
            networks=scorer.feature_networks,
            judge=scorer.classifier,
        )

    def judged(self, folder: Path) -> pd.DataFrame:
        """Return the held-out images that `measure` has seen: cls, group, labels, prob_<attribute>."""
        return read_real_images(folder, self.table, self.training)[0].rows

    def compare(self, folder: Path, scorer: Scorer, sweep: StoredSweep, names: Sequence[str]) -> list[str]:
        """Write the tables of fidelity by the networks `names` and of copies; return notes for the reader."""
        held_out, training = read_real_images(folder, self.table, self.training)
        features = read_features(folder)
        kinds = {"classes": self.table.classes, "attributes": self.table.attributes}
        notes = write_fidelity(folder, sweep, features, held_out, names=names, **kinds)
        return notes + write_copies(folder, sweep, features, scorer, training=training, held_out=held_out)
