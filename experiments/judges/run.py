"""Train judges of real dermoscopic images; write what they see before and after the VAE.

    python experiments/judges/run.py dataset.root=/data/isic2019              # all, or some by name:
    python experiments/judges/run.py at_64 at_128 dataset.root=/data/isic2019

Each judge is a run of `latentpath classify`; one that is complete is not trained again. Writes auroc.csv,
sensitivity.csv and specificity.csv, a row per judge and kind of image, and psnr.csv to outputs/judges/tables
(or OUTPUT_DIR/tables); rows of other judges that are there stay.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd

ALONE = ("classifier.through_vae=false", "classifier.calibrate=temperature")
THROUGH = ("classifier.through_vae=true", "classifier.calibrate=temperature")
FREQUENCIES = ("classifier.through_vae=false", "classifier.calibrate=full")
# name -> overrides of experiment=isic2019_64, whose labels and splits every judge has.
JUDGES = {
    "at_64": ("dataset.image_size=64", "classifier.image_size=64", *ALONE),
    "at_64_enlarged": ("dataset.image_size=64", "classifier.image_size=128", *ALONE),
    "at_64_through_vae": ("dataset.image_size=64", "classifier.image_size=128", *THROUGH),
    "at_64_frequencies": ("dataset.image_size=64", "classifier.image_size=128", *FREQUENCIES),
    "at_128": ("dataset.image_size=128", "classifier.image_size=128", *ALONE),
    "at_128_enlarged": ("dataset.image_size=128", "classifier.image_size=224", *ALONE),
    "at_128_through_vae": ("dataset.image_size=128", "classifier.image_size=128", *THROUGH),
    "at_128_enlarged_through_vae": ("dataset.image_size=128", "classifier.image_size=224", *THROUGH),
    "lite1_at_64_through_vae": ("classifier.arch=tf_efficientnet_lite1", *THROUGH),
    "at_192": ("dataset.image_size=192", "classifier.image_size=192", *ALONE),
}
FIGURES = ("auroc", "sensitivity", "specificity")
IMAGES = {"originals": "as read", "round_trips": "after the VAE"}


def main(words: list[str], folder: Path = Path("outputs/judges")) -> None:
    given = [word for word in words if "=" in word]
    folder = next((Path(word.partition("=")[2]) for word in given if word.startswith("output_dir=")), folder)
    overrides = [f"output_dir={folder}", *given]
    tables = folder / "tables"
    tables.mkdir(parents=True, exist_ok=True)
    found: dict[str, dict[str, Any]] = {}
    for name in [word for word in words if "=" not in word] or JUDGES:
        command = ["classify", "experiment=isic2019_64", f"name={name}", *JUDGES[name], *overrides]
        subprocess.run([sys.executable, "-m", "latentpath", *command], check=True)
        held_out = json.loads((folder / name / "classify" / "metrics.json").read_text())["held_out"]
        found[name.replace("_", " ")] = held_out
        for figure in FIGURES:
            write(of_heads(found, figure), tables / f"{figure}.csv")
        write(of_vae(found), tables / "psnr.csv")
    for figure in FIGURES:
        print(f"{figure}\n{of_heads(found, figure).round(3).to_string(index=False)}\n")


def write(rows: pd.DataFrame, file: Path) -> None:
    """Write rows of judges, and the rows of other judges that are in the file, in the order of JUDGES."""
    if file.is_file():
        there = pd.read_csv(file)
        rows = pd.concat([there[~there["judge"].isin(rows["judge"])], rows])
    order = {name.replace("_", " "): place for place, name in enumerate(JUDGES)}
    rows.sort_values("judge", key=lambda names: names.map(order), kind="stable").to_csv(file, index=False)


def of_heads(found: dict[str, dict[str, Any]], figure: str) -> pd.DataFrame:
    """Return a row per judge and kind of image: a figure of each head, 95 % intervals over lesions."""
    return pd.DataFrame(
        {"judge": judge, "images": words}
        | {
            f"{head}{end}": row[figure][key]
            for head, row in held_out[kind].items()
            for end, key in (("", "value"), (" low", "low"), (" high", "high"))
        }
        for judge, held_out in found.items()
        for kind, words in IMAGES.items()
    )


def of_vae(found: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """Return a row per judge: the PSNR of the VAE in dB on the held-out images, and how many there are."""
    return pd.DataFrame(
        {
            "judge": judge,
            "PSNR": held_out["psnr"]["value"],
            "PSNR low": held_out["psnr"]["low"],
            "PSNR high": held_out["psnr"]["high"],
            "held-out images": held_out["images"],
        }
        for judge, held_out in found.items()
    )


if __name__ == "__main__":
    main(sys.argv[1:])
