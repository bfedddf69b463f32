"""Measure how time and memory of an evaluation's figures grow with the number of images.

    python -m experiments.bench_evaluation.scale                      # 75,000, 300,000 and 1,200,000 images
    python -m experiments.bench_evaluation.scale --images 5000 20000  # half a minute

A sweep is written as `traverse` and `evaluate` would leave it, shards of latents and parts of scores, with
drawn values. Then a process of its own calls what `evaluate` calls once all images are scored. Writes a table
with the seconds, the peak memory, and the exponents: 1 means that twice the images take twice as long.
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

import pandas as pd

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
from latentpath.diffusion.execution import peak_memory
from latentpath.evaluation.evaluate import write_figures
from latentpath.evaluation.shards import scores_of, stored_sweeps
from latentpath.keys import FINETUNED
from latentpath.runs.files import write_parquet
from latentpath.traversal.store import ROW, build_index, write_shard

SHARD = 16  # seeds
SHAPE = (4, 8, 8)  # of a latent


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
        command = [sys.executable, "-m", "experiments.bench_evaluation.scale", "--measure", folder]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    return {"images": count} | json.loads(done.stdout.splitlines()[-1])


def write_sweep(folder: Path, images: int) -> int:
    """Write shards, index and parts of scores of at least `images` images; return their number."""
    a_seed = rows_of_a_seed()
    seeds = -(-images // (len(a_seed) * len(CLASSES)))
    shards = 0
    for first in range(0, seeds, SHARD):
        drawn = draw_scores(len(a_seed) * len(CLASSES) * min(SHARD, seeds - first), seed=first)
        drawn["seed"] += first
        for cls, scores in drawn.groupby("class"):
            name = f"{cls}-{first:06d}-{first + SHARD - 1:06d}"
            stored = scores[scores["swap_step"].notna()].reset_index(drop=True)
            rows = stored.assign(prompt="")[ROW].astype(object).to_dict("records")
            write_shard(folder / "traverse", name, rows, draw_latents(stored, SHAPE, seed=first))
            write_parquet(scores_of(folder / "evaluate" / "parts", f"{FINETUNED}_{name}"), scores)
            shards += 1
    write_parquet(folder / "evaluate" / "parts" / "pictures_none.parquet", pd.DataFrame())
    build_index(folder / "traverse")
    return seeds * len(a_seed) * len(CLASSES)


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
    scorer: Any = SimpleNamespace(lpips={})
    began = time.perf_counter()
    write_figures(
        folder / "evaluate",
        MetricConfig(tsne=False),  # which takes at most 10,000 latents
        plan=plan,
        judge=judge,
        scorer=scorer,
        sweeps=stored_sweeps(folder / "traverse"),
        data=None,
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
