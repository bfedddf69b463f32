"""Time fine-tuning against diffusers' text-to-image example, with the same model, data, batch and precision.

The example encodes the images and captions of the batch in every step; latentpath encodes all of them once
before training. Both take one optimiser step per batch with the same gradient clipping. The cost of the cache
is reported separately.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import warnings
from contextlib import nullcontext
from pathlib import Path
from statistics import median
from typing import Any

import lightning as L
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler
from torch import Tensor
from torch.utils.data import DataLoader

from experiments.bench_model import Model
from latentpath.config.training import FinetuneConfig
from latentpath.data.batches import LatentBatches
from latentpath.data.images import ReadImages
from latentpath.data.latent_cache import build_cache
from latentpath.diffusion.conditioning import Conditioning
from latentpath.diffusion.execution import peak_memory
from latentpath.diffusion.prompts import PromptEncoder
from latentpath.diffusion.schedule import NoiseSchedule
from latentpath.training.finetune import UNetFinetuner
from latentpath.training.fit import EXPECTED, quiet_lightning

SCHEDULE = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
}
PEAK = {"H100": 989e12, "H200": 989e12, "A100": 312e12}  # FLOP/s, dense, 16 bit
CAPTIONS = [f"a dermoscopic image with melanoma showing {word}" for word in ("hair", "ink", "a ruler", "gel")]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model", default="phantom-sd", help="phantom-sd, a diffusers folder, or sd15 (random)"
    )
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--steps", type=int, default=20, help="steps per way and round, after warm-up")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--precision", default="32-true", choices=("32-true", "bf16-mixed"))
    parser.add_argument(
        "--compile",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="compile latentpath's U-Net; the example is not compiled",
    )
    parser.add_argument("--out", type=Path, default=Path("outputs/bench_finetune.json"))
    args = parser.parse_args()
    quiet_lightning()
    for message in EXPECTED:
        warnings.filterwarnings("ignore", message=message)

    model = Model(args.model, args.image_size, args.device, torch.float32)
    size = args.image_size
    images = np.random.default_rng(0).integers(0, 256, (args.images, 3, size, size), dtype=np.uint8)
    captions = [CAPTIONS[i % len(CAPTIONS)] for i in range(args.images)]
    for module in (model.unet, model.vae, model.text_encoder):
        module.to(args.device)
    weights = {name: tensor.clone() for name, tensor in model.unet.state_dict().items()}
    # Wrap the U-Net instead of calling `unet.compile()`, which would also compile the example's U-Net.
    compiled = torch.compile(model.unet, fullgraph=True, dynamic=False) if args.compile else model.unet

    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        cache = build_cache(
            Path(folder) / "cache",
            captions=captions,
            read=lambda places: ReadImages(images[list(places)], np.arange(len(places)), []),
            vae=model.vae,
            device=args.device,
            encode=lambda unique: {
                "prompt_embeds": PromptEncoder(model.tokenizer, model.text_encoder)(unique).hidden
            },
        )
        cached = (time.perf_counter() - began) / args.images
        ways = {
            "diffusers' example": lambda: example(args, model, images, captions),
            "latentpath": lambda: ours(args, compiled, cache),
        }
        times: dict[str, list[float]] = {way: [] for way in ways}
        memory: dict[str, float] = {}
        for way in [*ways] * args.rounds:
            # At the end of training Lightning has moved the U-Net to the CPU.
            model.unet.to(args.device).load_state_dict(weights)
            model.unet.train().requires_grad_(True)
            _reset(args.device)
            times[way].append(ways[way]())
            memory[way] = peak_memory(args.device) / 1e9
            result = figures(args, model, times, memory, cached)  # in case the next way is killed
            args.out.parent.mkdir(parents=True, exist_ok=True)
            args.out.write_text(json.dumps(result, indent=2) + "\n")

    rate, mfu = result["samples_a_second"], result["mfu"]
    slowest = rate["diffusers' example"]
    rows = [
        {"way": way, "samples/s": rate[way], "ratio": rate[way] / slowest, "MFU": mfu[way], "GB": memory[way]}
        for way in ways
    ]
    table = pd.DataFrame(rows)
    table.to_csv(args.out.with_suffix(".csv"), index=False)
    epochs = cached / max(1e-12, 1 / slowest - 1 / rate["latentpath"])
    print(table.round(2).to_string(index=False))
    print(
        f"building the cache takes {cached * 1e3:.1f} ms per image once, which pays off after {epochs:.1f} "
        "epochs"
    )


def figures(
    args: Any, model: Model, times: dict[str, list[float]], memory: dict[str, float], cached: float
) -> dict[str, Any]:
    """Summarize the results so far. `times`: seconds of each round; `cached`: seconds to cache an image."""
    device = torch.cuda.get_device_name() if args.device == "cuda" else "CPU"
    peak = next((value for gpu, value in PEAK.items() if gpu in device), None)
    flop = 3 * model.flop  # forward and backward
    rate = {way: args.batch_size * args.steps / median(t) for way, t in times.items() if t}
    both = len(rate) == 2
    return {
        "device": device,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        **{k: v for k, v in vars(args).items() if k not in ("out", "device")},
        "samples_a_second": rate,
        "mfu": {way: None if peak is None else r * flop / peak for way, r in rate.items()},
        "ratio": rate["latentpath"] / rate["diffusers' example"] if both else None,
        "cache_seconds_an_image": cached,
        "peak_gb": memory,
        "gflop_a_sample": flop / 1e9,
        "seconds": times,
    }


def ours(args: Any, unet: Any, cache: Any) -> float:
    """Return the seconds of `steps` steps of `UNetFinetuner` under Lightning, with the cache."""
    unet.to(memory_format=torch.channels_last)  # latentpath's default; the example does not
    schedule = NoiseSchedule.from_config(SCHEDULE)
    warm = 3
    task = UNetFinetuner(
        unet,
        FinetuneConfig(max_steps=10**9, lr=1e-5),
        captions=Conditioning(cache.prompt_embeds),
        schedule=schedule,
        scaling_factor=0.18215,
        seed=0,
    )
    stopwatch = Stopwatch(warm, args.device)
    trainer = L.Trainer(
        max_steps=warm + args.steps,
        max_epochs=1,
        accelerator="gpu" if args.device == "cuda" else "cpu",
        devices=1,
        precision=args.precision,
        gradient_clip_val=1.0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[stopwatch],
    )
    batches = LatentBatches(cache, batch_size=args.batch_size, total=warm + args.steps, seed=0)
    workers = 4 if args.device == "cuda" else 0
    trainer.fit(
        task, DataLoader(batches, batch_size=None, num_workers=workers, pin_memory=args.device == "cuda")
    )
    return stopwatch.seconds


class Stopwatch(L.Callback):
    """Measures the seconds from the end of step `warm` to the end of the last step."""

    def __init__(self, warm: int, device: str) -> None:
        self.warm, self.device, self.seconds, self.began = warm, device, 0.0, 0.0

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step == self.warm:
            self.began = _now(self.device)

    def on_train_end(self, trainer: Any, *_: Any) -> None:
        self.seconds = _now(self.device) - self.began


def example(args: Any, model: Model, images: Any, captions: list[str]) -> float:
    """Return the seconds of `steps` steps of diffusers' examples/text_to_image/train_text_to_image.py."""
    unet = model.unet
    unet.to(memory_format=torch.contiguous_format)
    scheduler = DDPMScheduler(**SCHEDULE)
    optimizer = torch.optim.AdamW(unet.parameters(), lr=1e-5, betas=(0.9, 0.999), weight_decay=1e-2)
    tokens = model.tokenizer(
        captions, padding="max_length", truncation=True, max_length=model.tokenizer.model_max_length,
        return_tensors="pt",
    ).input_ids  # fmt: skip
    order = np.random.default_rng(0)
    half = torch.autocast(args.device, torch.bfloat16) if args.precision == "bf16-mixed" else nullcontext()
    began = 0.0
    for step in range(3 + args.steps):
        if step == 3:
            began = _now(args.device)
        rows = order.choice(len(images), args.batch_size, replace=False)
        pixels = (torch.from_numpy(images[rows]).float() / 127.5 - 1).to(args.device)
        with half:
            loss = example_loss(
                model, unet, scheduler, pixels, tokens[torch.from_numpy(rows)].to(args.device)
            )
        loss.backward()
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return _now(args.device) - began


def example_loss(model: Model, unet: Any, scheduler: Any, pixels: Tensor, ids: Tensor) -> Tensor:
    with torch.no_grad():
        latents = model.vae.encode(pixels).latent_dist.sample() * model.vae.config.scaling_factor
        embeds = model.text_encoder(ids, return_dict=False)[0]
    noise = torch.randn_like(latents)
    timesteps = torch.randint(0, 1000, (len(latents),), device=latents.device)
    noisy = scheduler.add_noise(latents, noise, timesteps)
    predicted = unet(noisy, timesteps, embeds, return_dict=False)[0]
    return F.mse_loss(predicted.float(), noise.float())


def _now(device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def _reset(device: str) -> None:
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


if __name__ == "__main__":
    main()
