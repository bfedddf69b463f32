"""Measure how well each inversion reconstructs real images, by the fine-tune of isic2019_64.

    latentpath run experiment=isic2019_64 dataset.root=/data/isic2019                  # once
    python experiments/real_images/run.py dataset.root=/data/isic2019                  # minutes

Each inversion is a sweep with one swap on 6 images of each class, one image a lesion. What is complete is
not made again. Writes outputs/reconstruction/reconstruction.csv: means over images, 95 % intervals (t).
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
from scipy import stats

# name -> (guidance scale of sampling, overrides)
INVERSIONS = {
    "ddpm": ((3.0, 7.5), ("inversion=ddpm",)),
    "ddim, 1 iteration": ((1.0, 3.0), ("inversion=ddim", "inversion.iterations=1")),
    "ddim, 3 iterations": ((1.0, 3.0, 7.5), ("inversion=ddim", "inversion.iterations=3")),
}
ERRORS = {"latent_error": "relative error of latents", "psnr": "PSNR", "psnr_vae": "PSNR of the VAE alone"}
OUT = Path("outputs/reconstruction")


def main(words: list[str]) -> None:
    rows = []
    outputs = next((word.partition("=")[2] for word in words if word.startswith("output_dir=")), "outputs")
    for name, (scales, overrides) in INVERSIONS.items():
        for scale in scales:
            run = f"reconstruction_{name}_{scale:g}".replace(" ", "_").replace(",", "").replace(".", "_")
            settings = [f"name={run}", "from_run=isic2019_64", "sampler.seeds=6", "timesteps.swap_steps=[0]"]
            command = [sys.executable, "-m", "latentpath", "traverse", "experiment=isic2019_64", *settings]
            subprocess.run([*command, *overrides, f"sampler.guidance_scale={scale}", *words], check=True)
            found = pd.read_parquet(Path(outputs) / run / "traverse" / "originals.parquet")
            rows.append({"inversion": name, "guidance scale": scale, "images": len(found)} | errors(found))
    OUT.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame(rows)
    table.to_csv(OUT / "reconstruction.csv", index=False)
    print(table.to_string(index=False))


def errors(found: pd.DataFrame) -> dict[str, float]:
    """Return the mean of each error over images, and its 95 % interval by Student's t."""
    row: dict[str, float] = {}
    for key, name in ERRORS.items():
        half = float(stats.t.ppf(0.975, len(found) - 1) * stats.sem(found[key]))
        mean = float(found[key].mean())
        row |= {name: mean, f"{name} low": mean - half, f"{name} high": mean + half}
    return row


if __name__ == "__main__":
    main(sys.argv[1:])
