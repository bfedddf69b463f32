"""Trains judges of real dermoscopic images at several sizes; writes what they see before and after the VAE.

    python experiments/judges/run.py dataset.root=/data/isic2019              # all, or some by name:
    python experiments/judges/run.py head_64 head_128 dataset.root=/data/isic2019

Each judge is a run of `latentpath classify`; one that is complete is not trained again. Prints the tables of
README.md, and writes them with their intervals to outputs/judges/tables.md and judges.json.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

HEAD = ("classifier=efficientnet_lite0", "classifier.trainable=head")
# name -> overrides; every judge has the labels and splits of experiment=isic2019_64.
JUDGES = {
    "head_64": (*HEAD, "dataset.image_size=64"),
    "head_64_through_vae": (*HEAD, "dataset.image_size=64", "classifier.through_vae=true"),
    "head_64_equal": (*HEAD, "dataset.image_size=64", "classifier.calibrate=temperature"),
    "head_128": (*HEAD, "dataset.image_size=128"),
    "head_192": (*HEAD, "dataset.image_size=192"),
    "head_64_seen_at_128": (*HEAD, "dataset.image_size=64", "classifier.image_size=128"),
}
FIGURES = ("auroc", "sensitivity", "specificity")


def main(words: list[str], folder: Path = Path("outputs/judges")) -> None:
    overrides = [word for word in words if "=" in word]
    found = {}
    for name in [word for word in words if "=" not in word] or JUDGES:
        own = JUDGES[name]
        command = ["classify", "experiment=isic2019_64", f"name={name}", f"output_dir={folder}", *own]
        subprocess.run([sys.executable, "-m", "latentpath", *command, *overrides], check=True)
        found[name] = json.loads((folder / name / "classify" / "metrics.json").read_text())["held_out"]
    text = "\n\n".join(table(found, figure) for figure in FIGURES) + "\n\n" + quality(found) + "\n"
    (folder / "judges.json").write_text(json.dumps(found, indent=2) + "\n")
    (folder / "tables.md").write_text(text)
    print(text)


def table(found: dict[str, Any], figure: str) -> str:
    """One row a judge and a column a head: the figure of originals, then that of round trips."""
    heads = list(next(iter(found.values()))["originals"])
    rows = [f"| {figure} | images | " + " | ".join(heads) + " |", "|---" * (len(heads) + 2) + "|"]
    for name, held_out in found.items():
        for kind, words in (("originals", "as read"), ("round_trips", "after the VAE")):
            cells = [written(held_out[kind][head][figure]) for head in heads]
            rows.append(f"| {name} | {words} | " + " | ".join(cells) + " |")
    one = next(iter(found.values()))["originals"]
    counts = [f"{row['positives']} / {row['negatives']} / {row['groups']}" for row in one.values()]
    return "\n".join([*rows, "| positives / negatives / lesions | | " + " | ".join(counts) + " |"])


def quality(found: dict[str, Any]) -> str:
    rows = ["| judge | held-out images | PSNR of the VAE (dB) |", "|---|---|---|"]
    for name, held_out in found.items():
        rows.append(f"| {name} | {held_out['images']:,} | {written(held_out['psnr'], digits=1)} |")
    return "\n".join(rows)


def written(figure: dict[str, float | None], digits: int = 3) -> str:
    if figure["value"] is None:
        return "n/a"
    ends = "" if figure["low"] is None else f" ({figure['low']:.{digits}f} to {figure['high']:.{digits}f})"
    return f"{figure['value']:.{digits}f}{ends}"


if __name__ == "__main__":
    main(sys.argv[1:])
