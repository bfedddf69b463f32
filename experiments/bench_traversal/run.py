"""Time a sweep as a prefix tree against plain diffusers, with the same weights, seeds and precision.

The plain way makes one `StableDiffusionPipeline` call per swap step and attribute, with a callback that
switches to the target prompt at the swap step. Each way uses its best batch size. A hook on the U-Net counts
the calls, and the final latents of both ways are compared.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from statistics import median

import pandas as pd
import torch
from rich.progress import track

from experiments.bench_model import Model, peak_gb, seconds
from experiments.bench_traversal.ways import Latents, plain_way, sweep_plan, tree_way


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model", default="phantom-sd", help="phantom-sd, a diffusers folder, or sd15 (random)"
    )
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--swaps", type=int, nargs="+", default=list(range(5, 50, 5)))
    parser.add_argument("--attributes", type=int, default=4, choices=range(1, 5))
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--guidance", type=float, default=7.5)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[8, 32], help="each way uses its best")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("outputs/bench_traversal.json"))
    args = parser.parse_args()

    model = Model(args.model, args.image_size, "cpu", torch.float32)
    plan = sweep_plan(
        steps=args.steps,
        swaps=args.swaps,
        attributes=args.attributes,
        seeds=args.seeds,
        guidance=args.guidance,
    )
    calls = [0]
    model.unet.register_forward_pre_hook(
        lambda module, inputs: calls.__setitem__(0, calls[0] + len(inputs[0]))
    )
    denoise, pipe = model.denoiser(plan), model.pipeline()

    def tree(batch_size: int) -> Latents:
        denoise.batch_size = batch_size
        # channels_last is the default of latentpath; the conversion there and back is part of the time.
        model.unet.to(memory_format=torch.channels_last)
        found = tree_way(plan, model, denoise)
        model.unet.to(memory_format=torch.contiguous_format)
        return found

    ways: dict[str, Callable[[int], Latents]] = {
        "plain": lambda batch_size: plain_way(plan, model, pipe, args.guidance, batch_size),
        "latentpath": tree,
    }
    took: dict[tuple[str, int], list[float]] = {}
    found: dict[str, Latents] = {}
    counted: dict[str, int] = {}
    # Interleaved, so that a drift of the machine's speed affects both ways.
    trials = [(w, b) for _ in range(args.rounds) for b in args.batch_sizes for w in ways]
    for way, batch_size in track(trials, "sweeping"):
        calls[0] = 0
        time, found[way] = seconds(lambda way=way, batch=batch_size: ways[way](batch), "cpu")
        took.setdefault((way, batch_size), []).append(time)
        counted[way] = calls[0] // (1 if args.guidance == 1 else 2)
    assert counted["latentpath"] == plan.unet_calls
    assert counted["plain"] == args.seeds * plan.plain_calls_per_seed
    best = {way: min((median(t), b) for (w, b), t in took.items() if w == way) for way in ways}
    result = {
        **{k: v for k, v in vars(args).items() if k != "out"},
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "unet_calls_a_seed": {way: counted[way] / args.seeds for way in ways},
        "seconds": {way: best[way][0] for way in ways},
        "batch_size": {way: best[way][1] for way in ways},
        "speedup": best["plain"][0] / best["latentpath"][0],
        "largest_difference": max(
            (found["plain"][key] - z).abs().max().item() for key, z in found["latentpath"].items()
        ),
        "peak_memory_gb": peak_gb("cpu"),
    }
    rows = [
        {
            "way": way,
            "U-Net calls per seed": result["unet_calls_a_seed"][way],
            "best batch": best[way][1],
            "seconds": best[way][0],
            "speed-up": best["plain"][0] / best[way][0],
        }
        for way in ways
    ]
    table = pd.DataFrame(rows)
    print(table.round(2).to_string(index=False))
    print(
        f"latents differ by at most {result['largest_difference']:.1e}; "
        f"peak memory {result['peak_memory_gb']:.1f} GB"
    )
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=2) + "\n")
    table.to_csv(args.out.with_suffix(".csv"), index=False)


if __name__ == "__main__":
    main()
