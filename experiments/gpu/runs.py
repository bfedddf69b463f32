"""Run every command once on a device with tiny settings, and compare a sweep and its scores with the CPU.

The commands run one after the other in one process, through the entry point of the command line. If a check
fails, its error is recorded and the next check runs. Results are written after every check.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "WANDB_MODE": "offline"}

TOLERANCE = 1e-3  # largest allowed difference of float32 latents and scores from those on the CPU
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed", "bf16-true")
MAIN = "32-true"  # the run whose model and judge the other checks read


@dataclass
class Checks:
    """Runs named checks in order and writes to `file` which passed, their results and their errors."""

    file: Path
    planned: dict[str, Callable[[], dict[str, Any] | None]] = field(default_factory=dict)
    done: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, name: str, check: Callable[[], dict[str, Any] | None]) -> None:
        self.planned[name] = check

    def run(self) -> None:
        for name, check in self.planned.items():
            self._run(name, check)

    def _run(self, name: str, check: Callable[[], dict[str, Any] | None]) -> None:
        print(f"== {name}", flush=True)
        began, result = time.perf_counter(), {"name": name, "state": "passed", "error": None, "figures": {}}
        try:
            result["figures"] = check() or {}
        except (Exception, SystemExit) as error:
            traceback.print_exc()
            cause = error.__context__ if isinstance(error, SystemExit) and error.__context__ else error
            result |= {"state": "failed", "error": f"{type(cause).__name__}: {str(cause)[:500]}"}
        result["seconds"] = round(time.perf_counter() - began, 1)
        self.done.append(result)
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text(json.dumps({"planned": len(self.planned), "checks": self.done}, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--tiny", action="store_true", help="images of 32 px and 4 solver steps")
    parser.add_argument("--model", default="phantom-sd", help="phantom-sd or a diffusers folder")
    parser.add_argument("--out", type=Path, default=Path("outputs/gpu_check/runs.json"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run_all(args, Path(folder))


def run_all(args: argparse.Namespace, folder: Path) -> None:
    """Run the checks from the most to the least valuable; write runs and images to `folder`."""
    os.environ["TORCH_HOME"] = str(folder / "torch")
    checks = Checks(args.out)
    accelerator = {"cuda": "gpu", "cpu": "cpu"}[args.device]

    def latentpath(command: str, name: str, *overrides: str, on: str = accelerator) -> None:
        from latentpath.cli import main

        settings = _settings(args, folder)
        main([command, *settings, f"name={name}", f"trainer.accelerator={on}", *overrides])

    def finetune(precision: str) -> dict[str, Any]:
        grid = ["finetune.sample_every=1"] if precision == MAIN else []
        latentpath("finetune", precision, f"trainer.precision={precision}", *grid)
        manifest = json.loads((folder / precision / "finetune" / "manifest.json").read_text())
        return {"loss": manifest["figures"]["loss"]}

    def of_main(command: str, name: str, *overrides: str, **options: str) -> None:
        latentpath(command, name, f"from_run={MAIN}", *overrides, **options)

    checks("versions and packages", lambda: _versions(args.device))
    checks("draw phantoms", lambda: latentpath("phantom", MAIN))
    checks("LPIPS with random weights", lambda: _random_lpips(folder / "torch"))
    for precision in PRECISIONS:
        checks(f"fine-tune in {precision}", lambda precision=precision: finetune(precision))
    checks("train the classifier", lambda: latentpath("classify", MAIN))
    checks("sweep", lambda: latentpath("traverse", MAIN))
    checks("evaluate", lambda: latentpath("evaluate", MAIN))

    def latents() -> dict[str, Any]:
        with _exact_float32():
            of_main("traverse", "exact")
        of_main("traverse", "cpu", on="cpu")
        exact, usual = (_latents_difference(folder / name, folder / "cpu") for name in ("exact", MAIN))
        return _within(exact) | {"largest_difference_with_tf32": usual}

    def scores() -> dict[str, Any]:
        with _exact_float32():
            of_main("evaluate", "exact_scores")
        of_main("evaluate", "cpu_scores", on="cpu")
        return _within(_scores_difference(folder / "exact_scores", folder / "cpu_scores"))

    checks("latents as on the CPU", latents)
    checks("scores as on the CPU", scores)
    checks("search for flips", lambda: of_main("traverse", "bisect", "timesteps.bisect=true"))
    checks("DDPM inversion", lambda: of_main("traverse", "ddpm", "inversion=ddpm"))
    checks("DDIM inversion", lambda: of_main("traverse", "ddim", "inversion=ddim"))
    half = ["from_run=bf16-mixed", "trainer.precision=bf16-mixed"]
    checks("sweep in bfloat16", lambda: latentpath("traverse", "half", *half))
    if args.device == "cuda":
        shipped = ["trainer=gpu", "finetune.compile=true", "sampler.compile=true", "sampler.guidance_scale=3"]
        checks("fine-tune of trainer=gpu, compiled", lambda: latentpath("finetune", "shipped", *shipped))
        checks("sweep of trainer=gpu, compiled", lambda: latentpath("traverse", "shipped", *shipped))
    checks.run()


def _settings(args: argparse.Namespace, folder: Path) -> list[str]:
    size, steps = (32, 4) if args.tiny else (64, 20)
    return [
        "experiment=demo",
        f"output_dir={folder}",
        f"model.name={args.model}",
        f"dataset.root={folder / 'phantoms'}",
        "dataset.phantom.count=80",
        f"dataset.phantom.size={size}",
        f"dataset.image_size={size}",
        "dataset.attributes=[hair,ink]",
        "attribute.names=[hair,ink]",
        "classifier.epochs=1",
        "finetune.max_steps=2",
        "finetune.batch_size=4",
        "finetune.ema_decay=0.9",
        f"timesteps.num_inference_steps={steps}",
        f"timesteps.swap_steps=[0,{steps // 4},{steps // 2}]",
        "sampler.seeds=2",
        "metric.compare_base=false",
        "metric.frames=3",
        "metric.examples=1",
    ]


def _versions(device: str) -> dict[str, Any]:
    """Return the versions in use. Raises ModuleNotFoundError if a package that runs need is missing."""
    import diffusers
    import hydra
    import lightning
    import openTSNE  # noqa: F401
    import peft
    import timm
    import torch
    import torch_fidelity  # noqa: F401
    import transformers

    packages = (torch, lightning, diffusers, transformers, timm, peft, hydra)
    versions = {package.__name__: package.__version__ for package in packages}
    gpu = torch.cuda.get_device_name() if device == "cuda" else platform.processor() or "CPU"
    return {"python": platform.python_version(), "device": gpu, **versions}


def _random_lpips(home: Path) -> None:
    """Save a random SqueezeNet in torch's download folder, so that LPIPS runs (its values mean nothing)."""
    import torch
    from torchvision.models import SqueezeNet1_1_Weights, squeezenet1_1

    torch.hub.set_dir(str(home / "hub"))
    file = home / "hub" / "checkpoints" / SqueezeNet1_1_Weights.IMAGENET1K_V1.url.rsplit("/", 1)[1]
    file.parent.mkdir(parents=True)
    torch.save(squeezenet1_1(weights=None).state_dict(), file)


@contextmanager
def _exact_float32():
    """Turn off TF32, which cuDNN uses for float32 convolutions by default."""
    import torch

    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def _latents_difference(run: Path, other: Path) -> float:
    """Return the largest absolute difference between the final latents of two sweeps of one plan."""
    from latentpath.keys import LATENT_KEY
    from latentpath.traversal.store import read_index, read_latents

    found = []
    for folder in (run / "traverse", other / "traverse"):
        index = read_index(folder).sort_values(list(LATENT_KEY), ignore_index=True)
        found.append((index[list(LATENT_KEY)], read_latents(folder, index)))
    (rows, latents), (other_rows, other_latents) = found
    assert rows.equals(other_rows), "the two sweeps hold different images"
    return (latents - other_latents).abs().max().item()


def _scores_difference(run: Path, other: Path) -> float:
    """Return the largest absolute difference between the scores of two evaluations of one sweep."""
    import pandas as pd

    scores, others = (pd.read_parquet(folder / "evaluate" / "scores.parquet") for folder in (run, other))
    numbers = scores.select_dtypes("floating").columns
    labels = [column for column in scores if column not in numbers]
    assert scores[labels].equals(others[labels]), "the two evaluations hold different rows"
    difference = (scores[numbers] - others[numbers]).abs()
    assert difference.notna().any(axis=None), "no score is a number"
    return float(difference.max(axis=None, skipna=True))


def _within(difference: float) -> dict[str, float]:
    assert difference <= TOLERANCE, (
        f"the largest difference is {difference:.2e}, expected {TOLERANCE} at most"
    )
    return {"largest_difference": difference}


if __name__ == "__main__":
    main()
