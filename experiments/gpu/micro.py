"""Measure the parts of a long job on a GPU, at the size of Stable Diffusion 1.5 with random weights.

The parts are the VAE's decoder by precision and batch size, with its peak memory; one EMA update with the
average on the GPU or on the CPU; the attention kernels by head size; and the cost and gain of compiling the
U-Net. Results are written after every part; if a part fails, its error is recorded.
"""

from __future__ import annotations

import argparse
import json
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.optim.swa_utils import get_ema_multi_avg_fn

from experiments.bench_model import Model, peak_gb, seconds
from latentpath.diffusion.execution import ATTENTION_BACKENDS, attention_kernel, prepare

# Head size -> number of tokens in the layers with this head size, in a U-Net with 8 heads at 512 px.
HEADS = {40: 4096, 80: 1024, 160: 256}
REPEATS = 3


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--model", default="sd15", help="sd15 (random weights), phantom-sd or a folder")
    parser.add_argument("--image-size", type=int, default=512)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 4, 8, 16, 32])
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("outputs/gpu_check/micro.json"))
    args = parser.parse_args()
    model = Model(args.model, args.image_size, args.device, torch.bfloat16)
    parts: dict[str, Callable[[], Any]] = {
        "decode": lambda: decoding(args, model),
        "average": lambda: averaging(args, model),
        "attention": lambda: attention(args),
        "compile": lambda: compiling(args, model),
    }
    result: dict[str, Any] = {"device": torch.cuda.get_device_name() if args.device == "cuda" else "CPU"}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    for name, measure in parts.items():
        print(f"== {name}", flush=True)
        try:
            result[name] = measure()
        except Exception as error:
            traceback.print_exc()
            result[name] = {"error": f"{type(error).__name__}: {str(error)[:500]}"}
        args.out.write_text(json.dumps(result, indent=2) + "\n")
        print(json.dumps(result[name], indent=2), flush=True)


@torch.no_grad()
def decoding(args: Any, model: Model) -> list[dict[str, Any]]:
    """Return images per second and peak memory of the VAE decoder for each precision and batch size."""
    rows = []
    for name, dtype, layout in (
        ("float32", torch.float32, torch.contiguous_format),
        ("bfloat16, channels_last", torch.bfloat16, torch.channels_last),
    ):
        vae = model.vae.to(args.device, dtype, memory_format=layout)
        for batch_size in args.batch_sizes:
            latents = torch.randn(batch_size, *model.latent_shape, device=args.device, dtype=dtype)
            try:
                took, peak = best(args.device, lambda z=latents, vae=vae: vae.decode(z).sample)
            except torch.OutOfMemoryError:
                break
            rows.append(
                {
                    "precision": name,
                    "batch_size": batch_size,
                    "images_a_second": batch_size / took,
                    "peak_gb": peak,
                }
            )
    return rows


@torch.no_grad()
def averaging(args: Any, model: Model) -> dict[str, float]:
    """Return the seconds of one EMA update of all U-Net weights in float32, kept on the GPU or on the CPU."""
    weights = [p.float().to(args.device) for p in model.unet.parameters()]
    blend = get_ema_multi_avg_fn(0.999)

    def update(averages: list[torch.Tensor]) -> None:
        blend(averages, [w.to(a.device) for w, a in zip(weights, averages, strict=True)], 1)

    took = {}
    for place in dict.fromkeys((args.device, "cpu")):
        averages = [w.to(place, copy=True) for w in weights]
        took[f"seconds_on_{place}"], _ = best(args.device, lambda averages=averages: update(averages))
    return took


@torch.no_grad()
def attention(args: Any) -> list[dict[str, Any]]:
    """Return the milliseconds of self- and cross-attention by kernel and head size; 32 rows of 8 heads."""
    rows = []
    for size, tokens in HEADS.items():
        tokens = tokens if args.device == "cuda" else tokens // 64
        for context in (tokens, 77):
            query = torch.randn(32, 8, tokens, size, device=args.device, dtype=torch.bfloat16)
            key = torch.randn(32, 8, context, size, device=args.device, dtype=torch.bfloat16)
            row: dict[str, Any] = {"head_size": size, "tokens": tokens, "context": context}
            for name in ATTENTION_BACKENDS:
                try:
                    with attention_kernel(name):
                        took, _ = best(
                            args.device, lambda q=query, k=key: scaled_dot_product_attention(q, k, k)
                        )
                    row[name] = 1e3 * took
                except RuntimeError:  # this kernel does not exist on this device or for this head size
                    row[name] = None
            rows.append(row)
    return rows


@torch.no_grad()
def compiling(args: Any, model: Model) -> dict[str, float]:
    """Return the seconds of the first compiled U-Net call, and of a call before and after compiling."""
    rows = 2 * min(16, max(args.batch_sizes))
    half = torch.bfloat16
    unet = prepare(model.unet, device=args.device, dtype=half, channels_last=True)
    latents = torch.randn(rows, *model.latent_shape, device=args.device, dtype=half)
    context = torch.randn(rows, 77, unet.config["cross_attention_dim"], device=args.device, dtype=half)
    timesteps = torch.full((rows,), 500, device=args.device)
    eager, _ = best(args.device, lambda: unet(latents, timesteps, context, return_dict=False))
    found = {"rows": rows, "seconds_eager": eager}
    if args.no_compile:
        return found
    compiled = prepare(unet, device=args.device, dtype=half, compile=True)
    run = lambda: compiled(latents, timesteps, context, return_dict=False)  # noqa: E731
    first, _ = seconds(run, args.device)
    after, _ = best(args.device, run)
    return found | {"seconds_of_the_first_call": first, "seconds_compiled": after}


def best(device: str, run: Callable[[], object]) -> tuple[float, float]:
    """Return (seconds, peak GB) of `run`: the shortest of several calls, after one warm-up call."""
    run()
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    return min(seconds(run, device)[0] for _ in range(REPEATS)), peak_gb(device)


if __name__ == "__main__":
    main()
