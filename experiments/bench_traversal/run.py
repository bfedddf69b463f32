"""Time a sweep against the plain diffusers way: one pipeline call with a callback per swap and attribute.

    python experiments/bench_traversal/run.py          # the paper's sweep on phantom-sd
    python experiments/bench_traversal/run.py --model /models/sd15 --steps 4 --swaps 1 2 3 --attributes 1

Same weights, seeds and precision in one run; the final latents are compared, so a fast wrong answer shows.
 U-Net calls are counted in rows by a hook on the U-Net itself.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from rich.console import Console
from rich.progress import track
from rich.table import Table

from latentpath.data.captions import CaptionTemplate
from latentpath.diffusion.components import BaseModel
from latentpath.diffusion.solvers import DDIM, initial_noise
from latentpath.traversal.engine import walk
from latentpath.traversal.plan import SweepPlan, plan_sweep
from latentpath.traversal.sweep import denoiser

ATTRIBUTES = {"hair": "hair", "gel_bubble": "gel bubble", "ink": "ink", "ruler": "ruler"}
Latents = dict[tuple[int, str, int], torch.Tensor]  # (seed, attribute, swap step) -> (c, h, w)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="phantom-sd", help="phantom-sd, or a diffusers folder")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--swaps", type=int, nargs="+", default=list(range(5, 50, 5)))
    parser.add_argument("--attributes", type=int, default=4, choices=range(1, 5))
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--guidance", type=float, default=7.5)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[8, 32], help="each way takes its best")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("outputs/bench_traversal.json"))
    args = parser.parse_args()

    model = BaseModel(args.model)
    captions = CaptionTemplate(
        "a dermoscopic image with {cls} showing {attributes}",
        "a dermoscopic image with {cls} with no visible artifacts",
        {"MEL": "melanoma (MEL)"},
        ATTRIBUTES,
    )
    plan = plan_sweep(
        captions,
        classes=["MEL"],
        attributes=list(ATTRIBUTES)[: args.attributes],
        swap_steps=args.swaps,
        num_inference_steps=args.steps,
        seeds=range(args.seeds),
    )
    unet, calls = model.unet().eval().requires_grad_(False), [0]
    unet.register_forward_pre_hook(lambda module, inputs: calls.__setitem__(0, calls[0] + len(inputs[0])))
    ways: dict[str, Callable[[int], Latents]] = {
        "plain": plain_way(plan, model, unet, args.guidance),
        "latentpath": tree_way(plan, model, unet, args.guidance, args.image_size),
    }
    rows_a_call = 1 if args.guidance == 1 else 2

    seconds: dict[tuple[str, int], list[float]] = {}
    found: dict[str, Latents] = {}
    counted: dict[str, int] = {}
    trials = [
        (w, b) for _ in range(args.rounds) for b in args.batch_sizes for w in ways
    ]  # interleaved: drift hits both
    for way, batch_size in track(trials, "sweeping"):
        calls[0], began = 0, time.perf_counter()
        found[way] = ways[way](batch_size)
        seconds.setdefault((way, batch_size), []).append(time.perf_counter() - began)
        counted[way] = calls[0] // rows_a_call
    assert counted["latentpath"] == plan.unet_calls
    best = {way: min((median(t), b) for (w, b), t in seconds.items() if w == way) for way in ways}
    error = max((found["plain"][key] - z).abs().max().item() for key, z in found["latentpath"].items())
    result = {
        "model": args.model,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "rounds": args.rounds,
        "steps": args.steps,
        "swaps": args.swaps,
        "attributes": args.attributes,
        "seeds": args.seeds,
        "unet_calls_a_seed": {way: counted[way] / args.seeds for way in ways},
        "seconds": {way: best[way][0] for way in ways},
        "batch_size": {way: best[way][1] for way in ways},
        "speedup": best["plain"][0] / best["latentpath"][0],
        "largest_difference": error,
        "peak_memory_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }
    table = Table("way", "U-Net calls a seed", "best batch", "seconds (median)")
    for way in ways:
        table.add_row(
            way, f"{result['unet_calls_a_seed'][way]:.0f}", str(best[way][1]), f"{best[way][0]:.2f}"
        )
    Console().print(
        table,
        f"{result['speedup']:.2f} x faster; latents differ by at most {error:.1e}; "
        f"peak memory {result['peak_memory_gb']:.1f} GB",
    )
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=2) + "\n")


def tree_way(
    plan: SweepPlan, model: BaseModel, unet, guidance: float, image_size: int
) -> Callable[[int], Latents]:
    def sweep(batch_size: int) -> Latents:
        denoise = denoiser(
            plan,
            unet=unet,
            tokenizer=model.tokenizer(),
            text_encoder=model.text_encoder(),
            guidance_scale=guidance,
            batch_size=batch_size,
        )
        noise = initial_noise(plan.seeds, model.latent_shape(image_size))
        solver = DDIM(model.schedule(), plan.num_inference_steps)
        leaves, latents = walk(plan, cls="MEL", noise=noise, seeds=plan.seeds, denoise=denoise, solver=solver)
        return {
            (leaf.seed, leaf.attribute, leaf.swap_step): z for leaf, z in zip(leaves, latents, strict=True)
        }

    return sweep


def plain_way(plan: SweepPlan, model: BaseModel, unet, guidance: float) -> Callable[[int], Latents]:
    pipeline = StableDiffusionPipeline.from_pretrained(
        model.location,
        unet=unet,
        torch_dtype=torch.float32,
        safety_checker=None,
        requires_safety_checker=False,
    )
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config, clip_sample=False)
    pipeline.set_progress_bar_config(disable=True)
    neutral = plan.neutral_prompts["MEL"]

    def run(target: str, swap_step: int, seeds: tuple[int, ...]) -> torch.Tensor:
        embeds, negative = pipeline.encode_prompt(target, "cpu", len(seeds), guidance > 1, negative_prompt="")
        both = torch.cat([negative, embeds]) if guidance > 1 else embeds
        # The callback acts from the next step: at the end of step s - 1 it swaps at s.
        swap = lambda p, i, t, kw: {"prompt_embeds": both} if i == swap_step - 1 else {}  # noqa: E731
        return pipeline(
            target if swap_step == 0 else neutral,
            num_images_per_prompt=len(seeds),
            guidance_scale=guidance,
            num_inference_steps=plan.num_inference_steps,
            output_type="latent",
            callback_on_step_end=swap,
            generator=[torch.Generator().manual_seed(seed) for seed in seeds],
        ).images

    def sweep(batch_size: int) -> Latents:
        found: Latents = {}
        jobs = [("", plan.num_inference_steps)] + [(a, s) for a in plan.attributes for s in plan.swap_steps]
        for attribute, swap_step in jobs:
            for start in range(0, len(plan.seeds), batch_size):
                seeds = plan.seeds[start : start + batch_size]
                latents = run(plan.prompt("MEL", attribute), swap_step, seeds)
                found |= {(seed, attribute, swap_step): z for seed, z in zip(seeds, latents, strict=True)}
        return found

    return sweep


if __name__ == "__main__":
    main()
