"""Scores images: decodes latents, classifies images, and compares them with the neutral image of the seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from torch import Tensor, nn

from latentpath.diffusion.autoencoder import decode
from latentpath.judge.features import features_in_batches, judge_features
from latentpath.judge.protocol import Judge
from latentpath.keys import FINETUNED, NULLABLE, ORIGINS, origin_of
from latentpath.metrics import direction_cosines, lpips_maps
from latentpath.metrics.measures import image_measures
from latentpath.traversal.engine import Leaf
from latentpath.traversal.interpolate import interpolate

if TYPE_CHECKING:
    from lpips import LPIPS

    from latentpath.diffusion.networks import Autoencoder


@dataclass(frozen=True)
class Picture:
    """An image for the report: key, pixels (3, h, w) in [0, 1] and, for swaps, an LPIPS map (h, w)."""

    key: dict[str, Any]  # Any: columns have many types
    image: Tensor
    lpips_map: Tensor | None = None


@dataclass
class Scorer:
    """Turns the latents of one seed into rows of `scores.parquet`.

    `lpips` maps a backbone's name to its network, or to None where its weights are missing: the column is
    then NaN. `networks` are those besides the judge whose features are compared with real images.
    """

    vae: Autoencoder
    classifier: Judge
    lpips: Mapping[str, LPIPS | None]
    interpolations: Sequence[str]
    frames: int
    arc_length: bool = False
    device: torch.device | str = "cpu"  # of the networks
    batch_size: int = 32
    networks: Mapping[str, nn.Module] = field(default_factory=dict)
    pictures: list[Picture] = field(default_factory=list)
    features: list[pd.DataFrame] = field(default_factory=list)  # of neutral images and strongest swaps

    def score_seed(
        self, rows: pd.DataFrame, latents: Tensor, *, model: str, keep_pictures: bool
    ) -> pd.DataFrame:
        """Score one seed; `rows`: its index rows, exactly one neutral; `latents` (rows, c, h, w)."""
        keys, z = self._with_interpolations(rows, latents, model)
        # (n, 3, h, w) in [-1, 1]; they stay on the device, where all networks look at them
        images = decode(self.vae, z, batch_size=self.batch_size, to=self.device)
        pixels = (images + 1) / 2
        origins = self._origins(keys)
        table = pd.DataFrame(keys)
        class_probs, attribute_probs, features = self.classifier.predict_with_features(images)
        if model == FINETUNED:
            self._keep_features(rows, features, images)
        for i, cls in enumerate(self.classifier.classes if class_probs.shape[1] else ()):
            table[f"class_prob_{cls}"] = class_probs[:, i].cpu().numpy()
        for i, attribute in enumerate(self.classifier.attributes):
            table[f"prob_{attribute}"] = attribute_probs[:, i].cpu().numpy()
        for name, values in self._compare(pixels, torch.tensor(origins)).items():
            table[name] = values.numpy()
        table = table.merge(self._cosines(rows, latents), how="left", on=["attribute", "method", "swap_step"])
        table = table.astype(NULLABLE)
        if keep_pictures:
            self._keep(keys, pixels, pixels[origins])
        return table

    @property
    def feature_networks(self) -> dict[str, Callable[[Tensor], Tensor]]:
        """Name -> images (n, 3, h, w) in [-1, 1] to features (n, d) on the CPU: the judge, and `networks`."""
        others = {name: partial(features_in_batches, network) for name, network in self.networks.items()}
        return {"judge": partial(judge_features, self.classifier)} | others

    def _with_interpolations(
        self, rows: pd.DataFrame, latents: Tensor, model: str
    ) -> tuple[list[dict], Tensor]:
        """Append to the stored latents the frames of each curve per attribute, from the neutral end on."""
        cls, seed = rows["class"].iloc[0], int(rows["seed"].iloc[0])
        blank = {"class": cls, "seed": seed, "model": model, "strength": 1.0}
        blank |= dict.fromkeys(NULLABLE)
        columns = ["attribute", "method", "swap_step", "until", "strength"]
        keys = [blank | row for row in rows[columns].to_dict("records")]
        stacks = [latents]
        for attribute, (_, swaps) in self._trajectories(rows, latents).items():
            points = torch.cat([latents[self._neutral(rows)], swaps])
            for method in self.interpolations if model == FINETUNED else ():
                stacks.append(interpolate(method, points, self.frames, arc_length=self.arc_length))
                keys += [
                    {**blank, "attribute": attribute, "method": method, "frame": f}
                    for f in range(self.frames)
                ]
        return keys, torch.cat(stacks)

    def _trajectories(self, rows: pd.DataFrame, latents: Tensor) -> dict[str, tuple[list[int], Tensor]]:
        """Map each attribute to its swap steps from weak to strong and their latents (K, c, h, w)."""
        found = {}
        places = rows.reset_index(drop=True)
        for attribute, group in places[places["method"] == "swap"].groupby("attribute", sort=False):
            order = group.sort_values("swap_step", ascending=False)
            found[str(attribute)] = order["swap_step"].tolist(), latents[order.index.tolist()]
        return found

    def _neutral(self, rows: pd.DataFrame) -> Tensor:
        return torch.tensor((rows["method"] == "neutral").tolist())

    def _origins(self, keys: list[dict]) -> list[int]:
        """Return the image that each image is compared with.

        That is the image with the attribute for a removal, and the neutral image for all others.
        """
        place = {key["attribute"]: i for i, key in enumerate(keys) if key["method"] in ORIGINS}
        return [place[origin_of(key["method"], key["attribute"])] for key in keys]

    def _cosines(self, rows: pd.DataFrame, latents: Tensor) -> pd.DataFrame:
        origin, tables = latents[self._neutral(rows)][0].numpy(), []
        for attribute, (steps, swaps) in self._trajectories(rows, latents).items():
            points = swaps.numpy()
            columns = {
                "cosine": direction_cosines(origin, points, steps, reference="strongest"),
                "cosine_weakest": direction_cosines(origin, points, steps, reference="weakest"),
            }
            tables.append(
                pd.DataFrame({"attribute": attribute, "method": "swap", "swap_step": steps, **columns})
            )
        return pd.concat(tables, ignore_index=True)

    def _keep_features(self, rows: pd.DataFrame, judged: Tensor, images: Tensor) -> None:
        """Store the features of the neutral image and the strongest swaps, with their index label as `place`.

        These are compared with real images; the other images lie between them.
        """
        swaps = rows["method"] == "swap"
        strongest = swaps & (rows["swap_step"] == rows.loc[swaps, "swap_step"].min())
        ends = ((rows["method"] == "neutral") | strongest).to_numpy()
        places = torch.from_numpy(ends.nonzero()[0])
        table = pd.DataFrame({"place": rows.index[ends], "judge": list(judged[places].numpy())})
        for name, network in self.networks.items():
            table[name] = list(features_in_batches(network, images[places], self.batch_size).numpy())
        self.features.append(table)

    def _compare(self, pixels: Tensor, origins: Tensor) -> dict[str, Tensor]:
        """Compare each image with its origin: column -> (n,), NaN if the weights of a measure are missing.

        A batch shares its origin, whose LPIPS features are then computed once for it, on the device.
        """
        measures = image_measures(self.lpips)
        columns = {name: torch.full((len(pixels),), float("nan")) for name in measures}
        for origin in origins.unique():
            reference = pixels[origin][None]
            for places in (origins == origin).nonzero()[:, 0].split(self.batch_size):
                images = pixels[places]
                for name, measure in measures.items():
                    if measure is not None:
                        columns[name][places] = measure(images, reference).cpu()
        return columns

    def _maps(self, network: LPIPS, pixels: Tensor, reference: Tensor) -> Tensor:
        return lpips_maps(network, pixels, reference).cpu()

    def _keep(self, keys: list[dict], pixels: Tensor, reference: Tensor) -> None:
        network = next((n for n in self.lpips.values() if n is not None), None)
        swaps = [i for i, key in enumerate(keys) if key["method"] == "swap"]
        maps = {}
        if network is not None and swaps:
            maps = dict(zip(swaps, self._maps(network, pixels[swaps], reference[swaps]), strict=True))
        self.pictures += [Picture(key, pixels[i].cpu(), maps.get(i)) for i, key in enumerate(keys)]


def score(
    leaves: Sequence[Leaf],
    latents: Tensor,
    *,
    vae: Autoencoder,
    classifier: Judge,
    lpips: Mapping[str, LPIPS | None] | None = None,
    interpolations: Sequence[str] = (),
    frames: int = 10,
) -> pd.DataFrame:
    """Score the images that a walk has sampled: one row of `scores.parquet` per image.

    `leaves` and `latents` (n, c, h, w) are what `walk` returns: of every class and seed one neutral image and
    its edits. `classifier` judges the decoded images. `lpips` maps a backbone's name to its network.
    `interpolations` names curves through the swaps of each attribute; `frames` points of each are scored too.
    """
    rows = pd.DataFrame([leaf.key for leaf in leaves])
    scorer = Scorer(vae, classifier, dict(lpips or {}), interpolations, frames)
    return pd.concat(
        [
            scorer.score_seed(of_seed, latents[of_seed.index.tolist()], model=FINETUNED, keep_pictures=False)
            for _, of_seed in rows.groupby(["class", "seed"], sort=False)
        ],
        ignore_index=True,
    )
