"""Time the evaluation: scoring in one pass against one pass per metric, figures of many scores, t-SNE.

Both ways of scoring use the same networks, latents and batch size, and the script compares their figures. The
judge has random weights, and so has LPIPS' backbone if its weights are not on this machine. Random weights
change the figures but not the time.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import lpips
import pandas as pd
import torch
from rich.progress import track

from experiments.bench_evaluation.synthetic import (
    ATTRIBUTES,
    CLASSES,
    SWAP_STEPS,
    draw_latents,
    draw_scores,
    rows_of_a_seed,
)
from experiments.bench_evaluation.ways import Networks, Scores, one_pass, pass_per_metric
from latentpath.diffusion.components import BaseModel
from latentpath.diffusion.execution import peak_memory
from latentpath.evaluation.tables import write_tables
from latentpath.judge.classifier import Classifier, class_outputs
from latentpath.judge.networks import build_network
from latentpath.metrics import Scored, geometry_bands, geometry_table, lpips_or_none, strong_swap_steps, tsne
from latentpath.metrics.directions import image_distances


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--arch", default="efficientnet_tiny", help="architecture of the judge")
    parser.add_argument("--seeds", type=int, default=4, help="157 images each, 37 with stored latents")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--rows", type=int, default=100_000, help="rows of scores; 0: skip the figures")
    parser.add_argument("--resamples", type=int, default=2000)
    parser.add_argument("--latents", type=int, default=10_000, help="latents for t-SNE; 0: skip t-SNE")
    parser.add_argument("--sides", type=int, nargs="+", default=[8, 64], help="sides of those latents")
    parser.add_argument("--out", type=Path, default=Path("outputs/bench_evaluation.json"))
    args = parser.parse_args()

    result: dict[str, Any] = {k: v for k, v in vars(args).items() if k != "out"}
    result |= {"threads": torch.get_num_threads(), "torch": torch.__version__}
    seconds: dict[str, float] = {}
    if args.rows:  # first, while no network holds memory
        result["figures"] = drawn = figures(args.rows, args.resamples)
        seconds |= {f"{drawn['rows']:,} scores, {what}": time for what, time in drawn["seconds"].items()}
        print(f"{drawn['gb']:.2f} GB of memory for {drawn['rows']:,} scores beyond the imported packages")
    result["scoring"] = found = scoring(args)
    seconds |= {f"scoring {found['images']} images, {way}": time for way, time in found["seconds"].items()}
    ratio = found["seconds"]["a pass a metric"] / found["seconds"]["latentpath"]
    print(
        f"scoring is {ratio:.2f} x faster, LPIPS with {found['backbone']}; figures differ by at most "
        f"{max(found['largest_difference'].values()):.1e}"
    )
    for side in args.sides if args.latents else ():
        seconds[f"t-SNE of {args.latents:,} latents, 4 x {side} x {side}"] = tsne_seconds(args.latents, side)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result | {"seconds": seconds}, indent=2) + "\n")
    table = pd.DataFrame(seconds.items(), columns=["work", "seconds"])
    table.to_csv(args.out.with_suffix(".csv"), index=False)
    print(table.round(2).to_string(index=False))


def scoring(args: Any) -> dict[str, Any]:
    """Return the median seconds of both ways and the largest difference of their figures."""
    torch.manual_seed(0)
    outputs = class_outputs(CLASSES) + len(ATTRIBUTES)
    network = build_network(args.arch, num_outputs=outputs, pretrained=False)
    names: Any = {"classes": CLASSES, "attributes": ATTRIBUTES}
    judge = Classifier(network, arch=args.arch, image_size=args.image_size, **names).eval()
    logging.disable(logging.WARNING)  # warnings of missing weights
    backbone = lpips_or_none("alex")
    logging.disable(logging.NOTSET)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # lpips calls torchvision by a deprecated argument
        random = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False).eval().requires_grad_(False)
    vae: Any = BaseModel("phantom-sd").vae()
    parts = (part.to(args.device) for part in (vae, judge, backbone or random))
    networks = Networks(*parts, device=args.device, batch_size=args.batch_size)

    plan = rows_of_a_seed()
    stored = plan[plan["swap_step"].notna()].assign(**{"class": CLASSES[0]})
    side = args.image_size // 2 ** (len(vae.config.block_out_channels) - 1)
    seeds = []
    for seed in range(args.seeds):
        rows = stored.assign(seed=seed)
        seeds.append((rows, draw_latents(rows, (vae.config.latent_channels, side, side), seed=seed)))

    ways: dict[str, Callable[..., Scores]] = {"a pass a metric": pass_per_metric, "latentpath": one_pass}
    took: dict[str, list[float]] = {way: [] for way in ways}
    found: dict[str, Scores] = {way: run(networks, seeds[:1]) for way, run in ways.items()}  # to warm up
    # Interleaved, so that a drift of the machine's speed affects both ways.
    for way in track([way for _ in range(args.rounds) for way in ways], "scoring"):
        began = time.perf_counter()
        found[way] = ways[way](networks, seeds)
        took[way].append(time.perf_counter() - began)
    ours, naive = found["latentpath"], found["a pass a metric"]
    assert ours.keys() == naive.keys()
    return {
        "images": len(plan) * args.seeds,
        "backbone": "a random backbone" if backbone is None else "its own backbone",
        "seconds": {way: median(times) for way, times in took.items()},
        "largest_difference": {name: (ours[name] - naive[name]).abs().max().item() for name in ours},
    }


def figures(rows: int, resamples: int) -> dict[str, Any]:
    """Return the seconds from scores.parquet to every figure and table, and the peak memory."""
    imported = peak_memory("cpu")
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "scores.parquet"
        draw_scores(rows).to_parquet(file)
        began = time.perf_counter()
        scores = pd.read_parquet(file)
        seconds["read"] = time.perf_counter() - began
        scored = Scored(scores, ATTRIBUTES, CLASSES, resamples=resamples)
        stored = scores[scores["swap_step"].notna()].reset_index(drop=True)
        latents = draw_latents(stored, (4, 8, 8)).numpy()
        began = time.perf_counter()
        table = geometry_table(stored, latents)
        geometry = geometry_bands(pd.concat([table, image_distances(scores)]))
        seconds["geometry"] = time.perf_counter() - began
        began = time.perf_counter()
        write_tables(
            Path(folder),
            scored,
            attributes=ATTRIBUTES,
            strong=strong_swap_steps(SWAP_STEPS),
            geometry=geometry,
            temperatures=dict.fromkeys(("class", *ATTRIBUTES), 1.3),
        )
        seconds["write_tables"] = time.perf_counter() - began
    return {"rows": len(scores), "seconds": seconds, "gb": (peak_memory("cpu") - imported) / 1e9}


def tsne_seconds(count: int, side: int) -> float:
    scores = draw_scores(count * 157 // 37 + 1)
    rows = scores[scores["swap_step"].notna()].head(count)
    latents = draw_latents(rows, (4, side, side)).numpy()
    began = time.perf_counter()
    tsne(latents)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
