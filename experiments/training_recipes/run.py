"""Fine-tune and sample with one setting changed at a time, on real dermoscopic images and on phantoms.

    python experiments/training_recipes/run.py isic2019_64 dataset.root=/data/isic2019   # two hours of a core
    python experiments/training_recipes/run.py isic2019_64 min-SNR dataset.root=/data/isic2019   # by name
    python experiments/training_recipes/run.py demo                                      # after `make demo`

Every recipe is a run of `latentpath run experiment=...`; the first one of a study trains the judge of all.
What is complete is not made again. Writes recipes.csv, a row per recipe, to outputs/training_recipes, and
demo.csv to outputs, where `make demo` has left the first run.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

FIGURES = ("flip rate, eligible", "others changed", "class kept", "selectivity", "CFRT, strict")
HELD_OUT = {"validation loss": "val/loss", "of the average": "val/loss_ema"}


@dataclass(frozen=True)
class Study:
    """The recipes of an experiment, each with what it changes; the first one changes nothing.

    all: overrides of every run. others: overrides of all but the first.
    """

    folder: Path
    table: str
    recipes: Mapping[str, tuple[str, ...]]
    all: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


STUDIES = {
    "isic2019_64": Study(
        Path("outputs/training_recipes"),
        "recipes.csv",
        {
            "as isic2019_64": (),
            "min-SNR": ("finetune.min_snr_gamma=5",),
            "no caption dropout": ("finetune.caption_dropout=0",),
            "no average": ("finetune.ema_decay=0",),
            "learning rate x 2.5": ("finetune.lr=1e-3",),
            "half the batch, twice the steps": ("finetune.batch_size=16", "finetune.max_steps=1200"),
            "attention alone": ("finetune.trainable=attention", "finetune.lr=1e-3"),
            "twice the steps": ("finetune.max_steps=1200",),
            "guidance 1.5": ("sampler.guidance_scale=1.5",),
            "guidance 5": ("sampler.guidance_scale=5",),
            "50 steps": ("timesteps.num_inference_steps=50", "timesteps.swap_steps=[0,8]"),
        },
        all=(
            "finetune.max_steps=600",
            "sampler.seeds=16",
            "timesteps.swap_steps=[0,3]",
            "metric.against_data=false",
            "metric.tsne=false",
        ),
    ),
    "demo": Study(
        Path("outputs"),
        "demo.csv",
        {
            "demo": (),
            "600 steps of 16": ("finetune.max_steps=600", "finetune.batch_size=16", "finetune.lr=4e-4"),
            "600 steps of 12": ("finetune.max_steps=600", "finetune.batch_size=12", "finetune.lr=4e-4"),
            "900 steps of 8": ("finetune.max_steps=900", "finetune.batch_size=8"),
            "400 steps of 16": ("finetune.batch_size=16", "finetune.lr=4e-4"),
            "400 steps of 16, twice the rate": ("finetune.batch_size=16", "finetune.lr=8e-4"),
            "14 epochs of the judge": ("classifier.epochs=14", "metric.compare_base=true"),
        },
        others=(
            "metric.lpips=[]",
            "metric.against_data=false",
            "metric.tsne=false",
            "metric.compare_base=false",
            "metric.interpolations=[bezier]",
            "metric.frames=5",
        ),
    ),
}


def main(experiment: str, words: list[str]) -> None:
    study = STUDIES[experiment]
    given = [word for word in words if "=" in word]
    names = [word for word in words if "=" not in word] or list(study.recipes)
    ours = (Path(word.partition("=")[2]) for word in given if word.startswith("output_dir="))
    folder, first = next(ours, study.folder), next(iter(study.recipes))
    rows = []
    for name in names:
        others = () if name == first else (f"from_run={folder_of(first)}", *study.others)
        overrides = [*study.all, *others, *study.recipes[name], f"output_dir={folder}", *given]
        command = ["run", f"experiment={experiment}", f"name={folder_of(name)}", *overrides]
        subprocess.run([sys.executable, "-m", "latentpath", *command], check=True)
        rows.append({"recipe": name} | measured(folder / folder_of(name)))
        pd.DataFrame(rows).to_csv(folder / study.table, index=False)
    print(pd.DataFrame(rows).to_string(index=False))


def folder_of(recipe: str) -> str:
    return recipe.replace(" ", "_").replace(",", "").replace(".", "_")


def measured(run: Path) -> dict[str, float]:
    """Return the last validation losses of a run that was trained with validation, and its means."""
    found: dict[str, float] = {}
    if (file := run / "finetune" / "metrics.csv").is_file():
        losses = pd.read_csv(file)
        for name, key in HELD_OUT.items():
            if key in losses:
                found[name] = float(losses[key].dropna().iloc[-1])
    means = pd.read_csv(run / "report" / "tables" / "means.csv", index_col="figure")
    for figure in FIGURES:
        for end in ("", " low", " high"):
            found[figure + end] = float(means.loc[figure, f"mean{end}"])  # pyright: ignore[reportArgumentType]
    return found


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
