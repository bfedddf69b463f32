"""Measure how time and memory of an evaluation's figures grow with the number of images.

    python -m experiments.bench_evaluation.scale                      # 75,000, 300,000 and 1,200,000 images
    python -m experiments.bench_evaluation.scale --images 5000 20000  # half a minute

A sweep is written as `traverse` and `evaluate` would leave it, shards of latents and parts of scores, with
drawn values; so are the features of 22,000 real images, 20,000 of them of training. Then a process of its own
calls what `evaluate` calls once all images are scored and all real images are seen. Writes a table with the
seconds, the peak memory, and the exponents: 1 means that twice the images take twice as long.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import torch

from experiments.bench_evaluation.synthetic import (
    ATTRIBUTES,
    CLASSES,
    STEPS,
    SWAP_STEPS,
    draw_latents,
    draw_scores,
    rows_of_a_seed,
)
from latentpath.config.schema import MetricConfig
from latentpath.data.records import ImageTable
from latentpath.diffusion.components import BaseModel
from latentpath.diffusion.execution import peak_memory
from latentpath.evaluation.against_data import Data
from latentpath.evaluation.evaluate import write_figures
from latentpath.evaluation.real_images import FEATURES, PART
from latentpath.evaluation.shards import scores_of, stored_sweeps
from latentpath.keys import FINETUNED
from latentpath.runs.files import write_parquet
from latentpath.traversal.store import ROW, build_index, write_shard

SHARD = 16  # seeds
SHAPE = (4, 8, 8)  # of a latent
FEATURE = 1280  # numbers an image: the judge's features
TRAINING, HELD_OUT = 20_000, 2_000  # real images


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, nargs="+", default=[75_000, 300_000, 1_200_000])
    parser.add_argument("--out", type=Path, default=Path("outputs/bench_evaluation_scale.csv"))
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(args.measure)))
        return
    found = [in_a_process(images) for images in args.images]
    table = pd.DataFrame(found)
    for name in ("seconds", "peak GB"):
        table[f"exponent of {name}"] = exponents(table["images"].tolist(), table[name].tolist())
    args.out.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(args.out, index=False)
    print(table.round(2).to_string(index=False))


def in_a_process(images: int) -> dict[str, Any]:
    """Write a sweep of about `images` images, and let a new process measure its figures."""
    with tempfile.TemporaryDirectory() as folder:
        count = write_sweep(Path(folder), images)
        write_real_images(Path(folder) / "evaluate")
        command = [sys.executable, "-m", "experiments.bench_evaluation.scale", "--measure", folder]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    return {"images": count} | json.loads(done.stdout.splitlines()[-1])


def write_sweep(folder: Path, images: int) -> int:
    """Write shards, index and parts of scores of at least `images` images; return their number."""
    a_seed = rows_of_a_seed()
    seeds = -(-images // (len(a_seed) * len(CLASSES)))
    for first in range(0, seeds, SHARD):
        drawn = draw_scores(len(a_seed) * len(CLASSES) * min(SHARD, seeds - first), seed=first)
        drawn["seed"] += first
        for cls, scores in drawn.groupby("class"):
            name = f"{cls}-{first:06d}-{first + SHARD - 1:06d}"
            stored = scores[scores["swap_step"].notna()].reset_index(drop=True)
            rows = stored.assign(prompt="")[ROW].astype(object).to_dict("records")
            write_shard(folder / "traverse", name, rows, draw_latents(stored, SHAPE, seed=first))
            write_parquet(scores_of(folder / "evaluate" / "parts", f"{FINETUNED}_{name}"), scores)
    write_parquet(folder / "evaluate" / "parts" / "pictures_none.parquet", pd.DataFrame())
    build_index(folder / "traverse")
    write_features(folder)
    return seeds * len(a_seed) * len(CLASSES)


def write_features(folder: Path) -> None:
    """Write parts of what the judge sees in neutral images and strongest swaps, a part for each class."""
    index = stored_sweeps(folder / "traverse")[0].index
    compared = index[index["swap_step"].isin([STEPS, SWAP_STEPS[0]])]
    for seed, (cls, rows) in enumerate(compared.groupby("class")):
        features = pd.DataFrame({"place": rows.index, "judge": draw_features(len(rows), seed)})
        write_parquet(folder / "evaluate" / "parts" / f"features_{FINETUNED}_{cls}.parquet", features)


def write_real_images(folder: Path) -> None:
    """Write parts of what the judge sees in real images, as `measure_real_images` leaves them."""
    for kind, count in (("held_out", HELD_OUT), ("training", TRAINING)):
        for start in range(0, count, PART):
            rows = held_out_rows().iloc[start : start + PART].reset_index(drop=True)
            size = min(PART, count - start)
            table = pd.DataFrame({f"{FEATURES}judge": draw_features(size, start)})
            if kind == "held_out":
                judged = (rows[ATTRIBUTES] * 0.8 + 0.1).add_prefix("prob_")
                latents = list(torch.randn(size, math.prod(SHAPE)).numpy())
                table = pd.concat([rows, pd.Series(latents, name="latent"), judged, table], axis=1)
            write_parquet(folder / "parts" / f"real_{kind}_{start:08d}.parquet", table)


def draw_features(images: int, seed: int) -> list[np.ndarray]:
    """Draw the features (FEATURE,) of each image."""
    return list(np.random.default_rng(seed).normal(size=(images, FEATURE)).astype(np.float32))


def held_out_rows() -> pd.DataFrame:
    """List the held-out images: class, group, and each attribute, absent or present."""
    places = np.arange(HELD_OUT)
    rows = pd.DataFrame({"cls": np.array(CLASSES)[places % 2], "group": places.astype(str)})
    shown = np.random.default_rng(0).integers(0, len(ATTRIBUTES) + 1, size=HELD_OUT)
    return rows.assign(**{name: (shown == k).astype(float) for k, name in enumerate(ATTRIBUTES)})


def drawn_data() -> Data:
    """The data set that `write_real_images` writes parts of; its files are never read."""
    table = ImageTable(
        rows=held_out_rows().assign(split="test"),
        classes=tuple(CLASSES),
        attributes=tuple(ATTRIBUTES),
        captions=None,  # pyright: ignore[reportArgumentType]
    )
    generator = torch.Generator().manual_seed(0)
    training = torch.randn(TRAINING, *SHAPE, generator=generator)
    return Data(table, spec=None, training=training)  # pyright: ignore[reportArgumentType]


def measure(folder: Path) -> dict[str, float]:
    """Return the seconds and the peak memory in GB of the figures of the sweep in `folder`."""
    imported = peak_memory("cpu")
    plan = {
        "classes": CLASSES,
        "attributes": ATTRIBUTES,
        "swap_steps": SWAP_STEPS,
        "num_inference_steps": STEPS,
    }
    judge: Any = SimpleNamespace(attributes=ATTRIBUTES, temperatures={}, log_weights={})
    vae = BaseModel("phantom-sd").vae()  # which draws the page of copies
    scorer: Any = SimpleNamespace(lpips={}, vae=vae)
    began = time.perf_counter()
    write_figures(
        folder / "evaluate",
        MetricConfig(tsne=False),  # which takes at most 10,000 latents
        plan=plan,
        judge=judge,
        scorer=scorer,
        sweeps=stored_sweeps(folder / "traverse"),
        data=drawn_data(),
        seed=0,
    )
    peak = peak_memory("cpu")
    return {
        "seconds": time.perf_counter() - began,
        "peak GB": peak / 1e9,
        "of it imported GB": imported / 1e9,
    }


def exponents(images: list[int], values: list[float]) -> list[float | None]:
    """Return, for each size but the first, the k of value ~ images^k between it and the size before."""
    pairs = zip(images, images[1:], values, values[1:], strict=False)
    return [None, *(math.log(later / value) / math.log(more / n) for n, more, value, later in pairs)]


if __name__ == "__main__":
    main()
