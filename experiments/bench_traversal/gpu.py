"""Time a sweep on a GPU against plain diffusers: images per second, model FLOP utilisation (MFU), memory.

The model has the shapes of Stable Diffusion 1.5 and random weights, which run as fast as trained ones. Three
ways are timed: plain diffusers in eager fp16 at its best batch size; latentpath, compiled, with the batch
size and the attention kernel found by trying; plain diffusers with a compiled channels_last U-Net, at the
batch size that was best in eager mode, because each size takes minutes to compile. The plain ways are timed
on one pipeline call, because each image costs them one full run. latentpath is timed on a whole sweep.
Results are written after every way.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from experiments.bench_model import Model, peak_gb, seconds
from experiments.bench_traversal.ways import plain_call, sweep_plan, tree_way
from latentpath.diffusion.execution import prepare
from latentpath.traversal.plan import SweepPlan
from latentpath.traversal.tuning import tune

PEAK = {"H100": 989e12, "H200": 989e12, "A100": 312e12}  # FLOP/s, dense, 16 bit
EAGER, TREE, COMPILED = "plain, eager", "latentpath", "plain, compiled"


@dataclass
class Row:
    """`forwards` rows of the U-Net (including guidance) in `time` seconds for `images` images."""

    batch_size: int
    images: int
    forwards: int
    time: float
    peak_gb: float


def main() -> None:
    args = arguments()
    half = torch.float16 if args.device == "cuda" else torch.float32
    swaps = [s for s in range(args.steps // 10, args.steps, max(1, args.steps // 10))]
    plan = sweep_plan(steps=args.steps, swaps=swaps, attributes=4, seeds=args.seeds, guidance=args.guidance)
    model = Model(args.model, args.image_size, args.device, half)
    rows: dict[str, Row] = {}
    ways: dict[str, Callable[[], Row]] = {
        EAGER: lambda: plain(args, plan, model, args.plain_batch_sizes, compiled=False),
        TREE: lambda: tree(args, plan, model),
        COMPILED: lambda: plain(args, plan, model, [rows[EAGER].batch_size], compiled=True),
    }
    for way, measure in ways.items():
        rows[way] = measure()
        result = figures(args, model, rows)
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(result, indent=2) + "\n")
    table = Table("way", "batch", "images/s", "image-steps/s", "MFU", "peak GB", "latentpath is")
    for way, of_way in result["ways"].items():
        table.add_row(
            way,
            str(of_way["batch_size"]),
            f"{of_way['images_a_second']:.2f}",
            f"{of_way['image_steps_a_second']:.1f}",
            "n/a" if of_way["mfu"] is None else f"{of_way['mfu']:.0%}",
            f"{of_way['peak_gb']:.1f}",
            f"{result['ways'][TREE]['images_a_second'] / of_way['images_a_second']:.2f} x",
        )
    Console().print(
        table,
        f"{result['device']}, {args.model} at {args.image_size} px, guidance {args.guidance}, {args.steps} "
        f"steps, {half}",
        f"{len(plan.branches)} images per seed: {plan.calls_per_seed} U-Net calls as a tree, plain "
        f"{plan.plain_calls_per_seed}; written to {args.out}",
        sep="\n",
        soft_wrap=True,
    )


def arguments() -> argparse.Namespace:
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
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--no-compile", action="store_true", help="skip torch.compile, to try the script")
    parser.add_argument("--out", type=Path, default=Path("outputs/bench_gpu.json"))
    return parser.parse_args()


def plain(args: Any, plan: SweepPlan, model: Model, batch_sizes: list[int], *, compiled: bool) -> Row:
    """Time diffusers' pipeline, one full run per image, at the best of the `batch_sizes` that fit."""
    unet = prepare(
        model.unet,
        device=args.device,
        dtype=model.dtype,
        channels_last=compiled,
        compile=compiled and not args.no_compile,
    )
    pipe, best = model.pipeline(unet), None
    branch = plan.branches[1]
    target = plan.text("MEL", branch)
    for batch_size in batch_sizes:

        def run(seeds: tuple[int, ...] = tuple(range(batch_size))) -> torch.Tensor:
            return plain_call(plan, model, pipe, args.guidance, target, branch.swap_step, seeds)

        try:
            run()  # warms up, compiles
            _reset(args.device)
            time = min(seconds(run, args.device)[0] for _ in range(2))
        except torch.OutOfMemoryError:
            break
        forwards = batch_size * args.steps * _guided(args)
        row = Row(batch_size, batch_size, forwards, time, peak_gb(args.device))
        best = row if best is None or row.images / row.time > best.images / best.time else best
    assert best is not None, "not even the smallest batch fits"
    return best


def tree(args: Any, plan: SweepPlan, model: Model) -> Row:
    """Time a whole sweep by latentpath."""
    # Not compiled yet, because a compiled U-Net keeps the attention kernel that it was traced with.
    unet = prepare(model.unet, device=args.device, dtype=model.dtype, channels_last=True)
    denoise = model.denoiser(plan, static=True)
    tune(
        denoise,
        latent_shape=model.latent_shape,
        batch_size="auto",
        attention="auto",
        step_rows=[args.seeds * nodes for nodes in plan.nodes],
        device=torch.device(args.device),
    )
    denoise.unet = prepare(unet, device=args.device, dtype=model.dtype, compile=not args.no_compile)
    last = [args.steps - 1]
    few = sweep_plan(steps=args.steps, swaps=last, attributes=1, seeds=args.seeds, guidance=args.guidance)
    tree_way(few, model, denoise)  # warms up, compiles
    denoise.calls = 0
    _reset(args.device)
    time, found = seconds(lambda: tree_way(plan, model, denoise), args.device)
    assert denoise.calls == plan.unet_calls
    return Row(denoise.batch_size, len(found), denoise.calls * _guided(args), time, peak_gb(args.device))


def figures(args: Any, model: Model, rows: dict[str, Row]) -> dict[str, Any]:
    """Return the settings, and the speed and MFU of each way that is done."""
    name = torch.cuda.get_device_name() if args.device == "cuda" else "CPU"
    peak = next((value for gpu, value in PEAK.items() if gpu in name), None)
    return {
        "device": name,
        "torch": torch.__version__,
        "gflop_a_forward": model.flop / 1e9,
        **{k: v for k, v in vars(args).items() if k not in ("out", "device")},
        "ways": {
            way: {
                **vars(row),
                "images_a_second": row.images / row.time,
                "image_steps_a_second": row.forwards / _guided(args) / row.time,
                "mfu": None if peak is None else row.forwards * model.flop / row.time / peak,
            }
            for way, row in rows.items()
        },
    }


def _guided(args: Any) -> int:
    """Return the rows that the U-Net evaluates per image and step: 2 with guidance, else 1."""
    return 1 if args.guidance == 1 else 2


def _reset(device: str) -> None:
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


if __name__ == "__main__":
    main()
