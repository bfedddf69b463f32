"""Put a run's figures into the form of the poster's tables, with the published figure beside each.

    python experiments/paper/compare.py outputs/paper_isic2019 --out experiments/paper/results

Prints the tables and writes them to --out as classifier.csv and trajectories.csv, with 95 % intervals over
seeds. A run at 64 px or on one data set works too: the tables have the classes and attributes that it has.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pandas as pd

from latentpath.metrics.figure_table import FigureTable, Reading
from latentpath.metrics.measures import MEASURES
from latentpath.metrics.published import published_cfrt

# Poster, "2,500 samples per sub-class": label -> accuracy, F1
CLASSIFIERS = {
    "Support Devices": (0.86, 0.88),
    "Pleural Effusion": (0.80, 0.79),
    "class": (0.91, 0.88),
    "hair": (0.93, 0.91),
    "gel_bubble": (0.94, 0.78),
    "ink": (0.96, 0.89),
    "ruler": (0.97, 0.88),
}
# (class, attribute) -> LPIPS of swaps, of Bezier frames; the poster's backbone is AlexNet
LPIPS = {
    ("chest", "Pleural Effusion"): (0.24, 0.22),
    ("chest", "Support Devices"): (0.05, 0.04),
    ("MEL", "hair"): (0.08, 0.05),
    ("MEL", "gel_bubble"): (0.09, 0.08),
    ("MEL", "ink"): (0.12, 0.09),
    ("MEL", "ruler"): (0.11, 0.08),
    ("NV", "hair"): (0.05, 0.04),
    ("NV", "gel_bubble"): (0.09, 0.07),
    ("NV", "ink"): (0.06, 0.04),
    ("NV", "ruler"): (0.10, 0.07),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="a run's folder, such as outputs/paper_isic2019")
    parser.add_argument("--out", type=Path, help="a folder for the tables (default: outputs/compare)")
    args = parser.parse_args()
    judge, figures = args.run / "classify" / "metrics.json", args.run / "evaluate" / "figures.parquet"
    for file in (judge, figures):
        if not file.exists():
            raise SystemExit(f"{file} is missing: run `latentpath run experiment=...` first")
    tables = {
        "classifier": classifier_table(json.loads(judge.read_text())["test"]),
        "trajectories": trajectory_table(FigureTable(pd.read_parquet(figures))),
    }
    folder = args.out or Path("outputs/compare")
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        table.to_csv(folder / f"{name}.csv", index=False)
        print(f"{name}\n{table.round(2).to_string(index=False)}\n")


def classifier_table(ours: dict[str, Any]) -> pd.DataFrame:
    rows = []
    for label, figures in ours.items():
        accuracy, f1 = CLASSIFIERS.get(label, (None, None))
        row = {
            "held-out images": label.replace("_", " "),
            "accuracy": figures["accuracy"],
            "published accuracy": accuracy,
        }
        rows.append(row | {"F1": figures["f1"], "published F1": f1})
    return pd.DataFrame(rows)


def trajectory_table(figures: FigureTable) -> pd.DataFrame:
    nets = [key for key, measure in MEASURES.items() if measure.net and key in figures.figures]
    net = "lpips_alex" if "lpips_alex" in nets else next(iter(nets), "lpips_alex")
    names = {"cfrt_released": "CFRT released", "cfrt_strict": "CFRT strict", net: net.replace("_", " ")}
    pairs = figures.rows[["class", "attribute"]].dropna().drop_duplicates().to_numpy()
    rows = []
    for which, style in enumerate(("swap", "bezier")):
        for cls, attribute in pairs if style in figures.methods else ():
            row: dict[str, object] = {"style": style, "class": cls, "attribute": attribute.replace("_", " ")}
            for key, name in names.items():
                reading = figures.get(key, cls, attribute, method=style) or Reading()
                row |= {name: reading.value, f"{name} low": reading.low, f"{name} high": reading.high}
            there = published_cfrt(style, "" if cls == "chest" else cls, attribute)
            row["published CFRT"] = there and there.poster
            row["published LPIPS"] = LPIPS.get((cls, attribute), (None, None))[which]
            rows.append(row)
    return pd.DataFrame(rows)


if __name__ == "__main__":
    main()
