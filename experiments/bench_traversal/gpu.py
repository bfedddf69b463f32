"""The sweep on a GPU: images a second, model FLOP utilisation and memory, against the plain diffusers way.

Stable Diffusion 1.5's shapes with random weights, which run as fast as trained ones. Three ways: plain
diffusers in eager fp16; plain with the U-Net compiled and channels_last; latentpath with the batch size and
the attention kernel found by trying, compiled. The plain ways are timed on one full pipeline call a batch
size and take their best; a swept image costs them one full run. The tree is timed on a whole sweep.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from ways import Model, peak_gb, plain_call, seconds, sweep_plan, tree_way

from latentpath.diffusion.execution import prepare
from latentpath.traversal.tuning import tune

PEAK = {"H100": 989e12, "H200": 989e12, "A100": 312e12}  # FLOP/s, dense, 16 bit


@dataclass
class Row:
    """`forwards` rows of the U-Net, guidance counted, in `time` seconds for `images` swept images."""

    way: str
    batch_size: int
    images: int
    forwards: int
    time: float
    peak_gb: float


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model", default="sd15", help="sd15 (random weights), phantom-sd, or a diffusers folder"
    )
    parser.add_argument("--image-size", type=int, default=512)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--seeds", type=int, default=16)
    parser.add_argument("--guidance", type=float, default=7.5)
    parser.add_argument("--plain-batch-sizes", type=int, nargs="+", default=[4, 8, 16, 32])
    parser.add_argument("--device", default="cuda")
    parser.add_argument(
        "--no-compile", action="store_true", help="leave torch.compile out, to try the script"
    )
    parser.add_argument("--out", type=Path, default=Path("outputs/bench_gpu.json"))
    args = parser.parse_args()
    half = torch.float16 if args.device == "cuda" else torch.float32
    name = torch.cuda.get_device_name() if args.device == "cuda" else "CPU"
    swaps = [s for s in range(args.steps // 10, args.steps, max(1, args.steps // 10))]
    plan = sweep_plan(steps=args.steps, swaps=swaps, attributes=4, seeds=args.seeds)
    model = Model(args.model, args.image_size, args.device, half)
    flop, guided = model.flop, 1 if args.guidance == 1 else 2

    def plain(way: str, compiled: bool) -> Row:
        unet = prepare(
            model.unet,
            device=args.device,
            dtype=half,
            channels_last=compiled,
            compile=compiled and not args.no_compile,
        )
        pipe, best = model.pipeline(unet), None
        target = plan.target("MEL", plan.branches[1]).text
        for batch_size in args.plain_batch_sizes:
            seeds = tuple(range(batch_size))
            run = lambda seeds=seeds: plain_call(  # noqa: E731
                plan, model, pipe, args.guidance, target, plan.branches[1].swap_step, seeds
            )
            try:
                run()  # warms up, compiles
                _reset(args.device)
                time = min(seconds(run, args.device)[0] for _ in range(2))
            except torch.OutOfMemoryError:
                break
            row = Row(
                way, batch_size, batch_size, batch_size * args.steps * guided, time, peak_gb(args.device)
            )
            best = row if best is None or row.images / row.time > best.images / best.time else best
        assert best is not None, "not even the smallest batch fits"
        return best

    def tree() -> Row:
        prepare(model.unet, device=args.device, dtype=half, channels_last=True)
        denoise = model.denoiser(plan, args.guidance, static=True)
        rows = [args.seeds * nodes for nodes in plan.nodes]
        tune(
            denoise, latent_shape=model.latent_shape, batch_size="auto", attention="auto", step_rows=rows,
            device=torch.device(args.device),
        )  # fmt: skip
        denoise.unet = prepare(model.unet, device=args.device, dtype=half, compile=not args.no_compile)
        few = sweep_plan(steps=args.steps, swaps=[args.steps - 1], attributes=1, seeds=args.seeds)
        tree_way(few, model, denoise)  # warms up, compiles
        denoise.calls = 0
        _reset(args.device)
        time, found = seconds(lambda: tree_way(plan, model, denoise), args.device)
        assert denoise.calls == plan.unet_calls
        return Row(
            "latentpath", denoise.batch_size, len(found), denoise.calls * guided, time, peak_gb(args.device)
        )

    ways = [plain("plain, eager", False), plain("plain, compiled", True), tree()]
    peak = next((value for gpu, value in PEAK.items() if gpu in name), None)
    results = [_figures(row, flop, peak, guided) for row in ways]
    ours = results[-1]["images_a_second"]
    table = Table("way", "batch", "images/s", "image-steps/s", "MFU", "peak GB", "latentpath is")
    for figures in results:
        mfu = figures["mfu"]
        table.add_row(
            figures["way"],
            str(figures["batch_size"]),
            f"{figures['images_a_second']:.2f}",
            f"{figures['image_steps_a_second']:.1f}",
            "n/a" if mfu is None else f"{mfu:.0%}",
            f"{figures['peak_gb']:.1f}",
            f"{ours / figures['images_a_second']:.2f} x",
        )
    settings = {k: v for k, v in vars(args).items() if k != "out"}
    result = {
        "device": name,
        "torch": torch.__version__,
        "gflop_a_forward": flop / 1e9,
        **settings,
        "ways": results,
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=2) + "\n")
    Console().print(
        table,
        f"{name}, {args.model} at {args.image_size} px, guidance {args.guidance}, {args.steps} steps, {half}",
        f"{len(plan.branches)} images a seed: {plan.calls_per_seed} U-Net calls as a tree, plain "
        f"{plan.plain_calls_per_seed}; written to {args.out}",
        sep="\n",
        soft_wrap=True,
    )


def _figures(row: Row, flop: int, peak: float | None, guided: int) -> dict[str, Any]:
    return {
        **vars(row),
        "images_a_second": row.images / row.time,
        "image_steps_a_second": row.forwards / guided / row.time,
        "mfu": None if peak is None else row.forwards * flop / row.time / peak,
    }


def _reset(device: str) -> None:
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


if __name__ == "__main__":
    main()
