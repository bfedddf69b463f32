"""Fine-tune on real dermoscopic images with one setting changed at a time, and sample with others.

    python experiments/training_recipes/run.py dataset.root=/data/isic2019              # two hours of a core
    python experiments/training_recipes/run.py "min-SNR" dataset.root=/data/isic2019    # some by name

Every recipe is a run of `latentpath run experiment=isic2019_64` with fewer steps and seeds; the first one
trains the judge of all. What is complete is not made again. Writes recipes.csv, a row per recipe, to
outputs/training_recipes.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd

SMALLER = (
    "finetune.max_steps=600",
    "sampler.seeds=16",
    "timesteps.swap_steps=[0,3]",
    "metric.against_data=false",
    "metric.tsne=false",
)
FIRST = "as isic2019_64"
# What each recipe changes. Those of the second group sample from the weights of the first recipe.
TRAINED = {
    FIRST: (),
    "min-SNR": ("finetune.min_snr_gamma=5",),
    "no caption dropout": ("finetune.caption_dropout=0",),
    "no average": ("finetune.ema_decay=0",),
    "learning rate x 2.5": ("finetune.lr=1e-3",),
    "half the batch, twice the steps": ("finetune.batch_size=16", "finetune.max_steps=1200"),
    "attention alone": ("finetune.trainable=attention", "finetune.lr=1e-3"),
    "twice the steps": ("finetune.max_steps=1200",),
}
SAMPLED = {
    "guidance 1.5": ("sampler.guidance_scale=1.5",),
    "guidance 5": ("sampler.guidance_scale=5",),
    "50 steps": ("timesteps.num_inference_steps=50", "timesteps.swap_steps=[0,8]"),
}
FIGURES = ("flip rate, eligible", "others changed", "class kept", "selectivity", "CFRT, strict")


def main(words: list[str], folder: Path = Path("outputs/training_recipes")) -> None:
    given = [word for word in words if "=" in word]
    names = [word for word in words if "=" not in word] or [*TRAINED, *SAMPLED]
    folder = next((Path(word.partition("=")[2]) for word in given if word.startswith("output_dir=")), folder)
    rows = []
    for name in names:
        run = name.replace(" ", "_").replace(",", "").replace(".", "_")
        judge = [] if name == FIRST else [f"from_run={FIRST.replace(' ', '_')}"]
        overrides = [
            *SMALLER,
            *(TRAINED | SAMPLED)[name],
            f"output_dir={folder}",
            f"name={run}",
            *judge,
            *given,
        ]
        command = [sys.executable, "-m", "latentpath", "run", "experiment=isic2019_64", *overrides]
        subprocess.run(command, check=True)
        rows.append({"recipe": name} | measured(folder / run, trained=name in TRAINED))
        pd.DataFrame(rows).to_csv(folder / "recipes.csv", index=False)
    print(pd.DataFrame(rows).to_string(index=False))


def measured(run: Path, *, trained: bool) -> dict[str, float | str]:
    """Return the last validation losses of a run that was trained, and its means."""
    found: dict[str, float | str] = {}
    if trained:
        losses = pd.read_csv(run / "finetune" / "metrics.csv")
        for name, key in (("validation loss", "val/loss"), ("of the average", "val/loss_ema")):
            found[name] = float(losses[key].dropna().iloc[-1]) if key in losses else float("nan")
    means = pd.read_csv(run / "report" / "tables" / "means.csv", index_col="figure")
    for figure in FIGURES:
        for end in ("", " low", " high"):
            found[figure + end] = float(means.loc[figure, f"mean{end}"])  # pyright: ignore[reportArgumentType]
    return found


if __name__ == "__main__":
    main(sys.argv[1:])
