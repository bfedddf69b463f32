"""Real images as evaluation sees them: after the VAE, in parts that any number of processes share out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from latentpath.data.images import ImageSpec, load_images
from latentpath.data.pixels import to_model_range
from latentpath.data.records import ImageTable
from latentpath.diffusion.autoencoder import decode, encode
from latentpath.judge.protocol import Judge
from latentpath.runs.claims import share_out
from latentpath.runs.files import read_parquet, write_parquet
from latentpath.runs.progress import bar

if TYPE_CHECKING:
    from latentpath.diffusion.networks import Autoencoder

PART = 256  # images
FEATURES = "features "  # begins the name of a column with the features of a network

Network = Callable[[Tensor], Tensor]  # images (n, 3, h, w) in [-1, 1] -> features (n, d) on the CPU


@dataclass(frozen=True)
class RealImages:
    """Real images after the VAE: rows of the data set, and their latents and features in that order.

    rows      cls, group, a column an attribute in {0, 1, nan}, and the judge's prob_<attribute>; of training
              images no column
    latents   scaled (n, c, h, w)
    features  network -> (n, d), of the decoded latents

    Real images pass the VAE because generated images have passed its decoder, which changes what a network
    sees. For decoded phantoms the nearest training image was the right one in 100 % of cases among decoded
    training images, and in 68 % among the original ones.
    """

    rows: pd.DataFrame
    latents: NDArray[np.float32]
    features: dict[str, NDArray[np.float32]]

    def __len__(self) -> int:
        return len(self.rows)

    def seen_by(self, network: str) -> NDArray[np.float32]:
        """Return the features (n, d) of one network; (0, 0) if there is no image."""
        return self.features.get(network, np.empty((0, 0), np.float32))

    def without(self, groups: Collection[str]) -> RealImages:
        """Leave out the images of these groups, such as those whose images were edited."""
        kept = ~self.rows["group"].isin(list(groups)).to_numpy()
        features = {name: values[kept] for name, values in self.features.items()}
        return RealImages(self.rows[kept].reset_index(drop=True), self.latents[kept], features)

    def like(self, cls: str, present: Sequence[str], attributes: Sequence[str]) -> NDArray[np.bool_]:
        """Mark (n,) images of `cls` that are known to show all of `present` and no other of `attributes`."""
        pattern = [float(attribute in present) for attribute in attributes]
        same = (self.rows[list(attributes)].to_numpy(np.float64) == pattern).all(axis=1)
        return same & (self.rows["cls"] == cls).to_numpy()


def measure_real_images(
    folder: Path,
    table: ImageTable,
    training: Tensor,
    *,
    spec: ImageSpec,
    vae: Autoencoder,
    networks: Mapping[str, Network],
    judge: Judge,
) -> None:
    """Write the features of real images to `folder`/parts, together with all processes that do the same.

    The held-out images are those of the test split of `table`; each is read once, encoded and decoded, and
    shown to all `networks`. `training` are the scaled latents (n, c, h, w) of the training images; they are
    shown to the network "judge" alone, which looks for copies. Finished parts are kept.
    """
    held_out, alone = table.split("test"), {"judge": networks["judge"]}
    kept = ["cls", "group", *table.attributes]

    def measure(kind: str, start: int) -> pd.DataFrame:
        if kind == "held_out":
            return _of_files(held_out.iloc[start : start + PART], kept, spec, vae, networks, judge)
        return _seen(decode(vae, training[start : start + PART], to=vae.device), alone)

    pieces = _pieces(len(held_out), len(training))
    with bar("judging real images", len(held_out) + len(training)) as advance:
        for piece in share_out(
            list(pieces),
            folder / "claims",
            done=lambda piece: _file(folder, piece).exists(),
            on_done=lambda piece: advance(pieces[piece][2]),
        ):
            kind, start, count = pieces[piece]
            write_parquet(_file(folder, piece), measure(kind, start))
            advance(count)


def read_real_images(folder: Path, table: ImageTable, training: Tensor) -> tuple[RealImages, RealImages]:
    """Read what `measure_real_images` wrote: held-out images that could be read, and training images."""
    held_out = table.split("test")
    parts: dict[str, list[pd.DataFrame]] = {"held_out": [], "training": []}
    for piece, (kind, *_) in _pieces(len(held_out), len(training)).items():
        parts[kind].append(read_parquet(_file(folder, piece)))
    found = pd.concat([held_out.iloc[:0][["cls", "group", *table.attributes]], *parts["held_out"]])
    latents = _stacked(found.pop("latent")) if "latent" in found else np.empty(0, np.float32)
    rows, features = _split(found)
    _, seen = _split(pd.concat([pd.DataFrame(), *parts["training"]]))
    return (
        RealImages(rows, latents.reshape(len(rows), *training.shape[1:]), features),
        RealImages(pd.DataFrame(index=range(len(training))), training.numpy(), seen),
    )


def _pieces(held_out: int, training: int) -> dict[str, tuple[str, int, int]]:
    """Name each part, and say whether it is of held-out or training images, its first image and its size."""
    return {
        f"{kind}_{start:08d}": (kind, start, min(PART, count - start))
        for kind, count in (("held_out", held_out), ("training", training))
        for start in range(0, count, PART)
    }


def _file(folder: Path, piece: str) -> Path:
    return folder / "parts" / f"real_{piece}.parquet"


def _of_files(
    rows: pd.DataFrame,
    kept: Sequence[str],
    spec: ImageSpec,
    vae: Autoencoder,
    networks: Mapping[str, Network],
    judge: Judge,
) -> pd.DataFrame:
    images, places = load_images(rows, spec)
    table = rows.iloc[places][list(kept)].reset_index(drop=True)
    if not len(images):
        return table
    latents = encode(vae, to_model_range(images))
    table["latent"] = list(latents.flatten(1).numpy())
    decoded = decode(vae, latents, to=vae.device)
    columns = [f"prob_{attribute}" for attribute in judge.attributes]
    judged = pd.DataFrame(judge.predict(decoded)[1].cpu().numpy(), columns=columns)
    return pd.concat([table, judged, _seen(decoded, networks)], axis=1)


def _seen(images: Tensor, networks: Mapping[str, Network]) -> pd.DataFrame:
    return pd.DataFrame({f"{FEATURES}{name}": list(seen(images).numpy()) for name, seen in networks.items()})


def _split(table: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, NDArray[np.float32]]]:
    """Split a table into the rows of the data set and the features of each network."""
    names = [str(column) for column in table.columns if str(column).startswith(FEATURES)]
    features = {name.removeprefix(FEATURES): _stacked(table[name]) for name in names}
    return table.drop(columns=names).reset_index(drop=True), features


def _stacked(column: pd.Series) -> NDArray[np.float32]:
    return np.array(column.tolist(), np.float32)
