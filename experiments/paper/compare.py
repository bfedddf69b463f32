"""Print a run's figures in the form of the poster's tables, with the published figure beside each.

Classes and attributes that the run does not have stay empty, so a run at 64 px or on one data set works too.
Figures are means, as on the poster; the report and `latentpath cfrt RUN` also give intervals and each
condition.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from latentpath.metrics.figure_table import FigureTable
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
    args = parser.parse_args()
    figures = args.run / "evaluate" / "figures.parquet"
    if not figures.exists():
        raise SystemExit(f"{figures} is missing: run `latentpath run experiment=...` first")
    console = Console()
    judge = args.run / "classify" / "metrics.json"
    if judge.exists():
        console.print(classifier_table(_read(judge)["test"]))
    console.print(trajectory_table(FigureTable(pd.read_parquet(figures))), soft_wrap=True)


def classifier_table(ours: dict[str, Any]) -> Table:
    table = Table(
        "classifier",
        "accuracy",
        "published",
        "F1",
        "published",
        title="held-out images",
        title_justify="left",
    )
    for label, figures in ours.items():
        accuracy, f1 = CLASSIFIERS.get(label, (None, None))
        table.add_row(label, *map(_text, (figures["accuracy"], accuracy, figures["f1"], f1)))
    return table


def trajectory_table(figures: FigureTable) -> Table:
    nets = [key for key, measure in MEASURES.items() if measure.net and key in figures.figures]
    net = "lpips_alex" if "lpips_alex" in nets else next(iter(nets), "lpips_alex")
    columns = ("CFRT released", "strict", "published", net, "published")
    table = Table("style", "class", "attribute", *columns, title="trajectories", title_justify="left")
    pairs = figures.rows[["class", "attribute"]].dropna().drop_duplicates().to_numpy()
    for which, style in enumerate(("swap", "bezier")):
        for cls, attribute in pairs if style in figures.methods else ():
            there = published_cfrt(style, "" if cls == "chest" else cls, attribute)
            released, strict, near = (
                figures.value(key, cls, attribute, method=style)
                for key in ("cfrt_released", "cfrt_strict", net)
            )
            lpips = LPIPS.get((cls, attribute), (None, None))[which]
            figures_of_pair = (released, strict, there and there.poster, near, lpips)
            table.add_row(style, cls, attribute, *map(_text, figures_of_pair))
        table.add_section()
    return table


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _read(path: Path) -> Any:
    if not path.exists():
        raise SystemExit(f"{path} is missing: run `latentpath run experiment=...` first")
    return json.loads(path.read_text())


if __name__ == "__main__":
    main()
