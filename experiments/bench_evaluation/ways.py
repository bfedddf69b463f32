"""Two ways to score the images of a seed, with the same networks, latents and batch size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from experiments.bench_evaluation.synthetic import ATTRIBUTES, FRAMES, METHODS, SWAP_STEPS
from latentpath.diffusion.autoencoder import decode
from latentpath.evaluation.scoring import Scorer
from latentpath.judge.features import judge_features
from latentpath.traversal.interpolate import interpolate

Scores = dict[str, Tensor]  # column -> one value per image (n,), or d values per image (n, d)


@dataclass
class Networks:
    vae: Any
    judge: Any
    lpips: Any
    device: str
    batch_size: int


def one_pass(networks: Networks, seeds: list[tuple[pd.DataFrame, Tensor]]) -> Scores:
    """latentpath: decode each image once and compute all scores from it."""
    scorer = Scorer(
        vae=networks.vae,
        classifier=networks.judge,
        lpips={"alex": networks.lpips},
        interpolations=METHODS,
        frames=FRAMES,
        device=networks.device,
        batch_size=networks.batch_size,
    )
    tables = [scorer.score_seed(rows, z, model="finetuned", keep_pictures=False) for rows, z in seeds]
    table = pd.concat(tables)
    names = [c for c in table if str(c).startswith(("class_prob_", "prob_", "lpips_", "ssim", "l1"))]
    found = {str(name): torch.tensor(table[name].to_numpy()) for name in names}
    features = [torch.from_numpy(f) for table in scorer.features for f in table["judge"]]
    return found | {"features": torch.stack(features)}


def pass_per_metric(networks: Networks, seeds: list[tuple[pd.DataFrame, Tensor]]) -> Scores:
    """Plain way: decode the images once per metric and compare (neutral, image) pairs."""
    device, judge = networks.device, networks.judge

    def ssim(a: Tensor, b: Tensor) -> Any:
        return structural_similarity_index_measure(a, b, data_range=1.0, reduction="none")

    compared: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "lpips_alex": lambda a, b: networks.lpips(a, b, normalize=True).flatten(),
        "ssim": lambda a, b: ssim(a, b).flatten(),
        "l1": lambda a, b: (a - b).abs().mean(dim=(1, 2, 3)),
    }
    # The neutral image and the strongest swap of each attribute are compared with real images.
    ends = [len(SWAP_STEPS) * place for place in range(1 + len(ATTRIBUTES))]
    alone: dict[str, Callable[[Tensor], Tensor]] = {
        "probabilities": lambda x: torch.cat(judge.predict(x, batch_size=networks.batch_size), dim=1),
        "features": lambda x: judge_features(judge, x)[ends],
    }
    found: Scores = {}
    with torch.inference_mode():
        for name, measure in alone.items():
            found[name] = torch.cat([measure(_images(networks, z)) for _, z in seeds])
        for name, measure in compared.items():
            values = []
            for _, z in seeds:
                pixels = (_images(networks, z) + 1) / 2
                for part in pixels.split(networks.batch_size):
                    pair = pixels[:1].repeat(len(part), 1, 1, 1).to(device), part.to(device)
                    values.append(measure(*pair).cpu())
            found[name] = torch.cat(values)
    columns = [f"class_prob_{c}" for c in judge.classes] + [f"prob_{a}" for a in judge.attributes]
    return found | dict(zip(columns, found.pop("probabilities").unbind(dim=1), strict=True))


def _images(networks: Networks, latents: Tensor) -> Tensor:
    """Decode the stored latents and the curves through them: (n, 3, h, w) in [-1, 1]."""
    ways = latents[1:].split(len(SWAP_STEPS))
    points = [torch.cat([latents[:1], way]) for way in ways]
    curves = [interpolate(method, p, FRAMES) for p in points for method in METHODS]
    return decode(networks.vae, torch.cat([latents, *curves]), batch_size=networks.batch_size)
