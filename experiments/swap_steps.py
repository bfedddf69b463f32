"""Table what each swap step of a run gives: what appears, and what else changes.

    python experiments/swap_steps.py outputs/isic2019_128 --out swap_steps.csv

A row per swap step with means over classes and attributes and their 95 % intervals over seeds, by the scores
that `latentpath evaluate` stored. The strong end of the study is the mean of its first steps.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pandas as pd

from latentpath.evaluation.figures import figure_table
from latentpath.metrics import Scored
from latentpath.metrics.figure_table import FigureTable, Reading
from latentpath.metrics.figures import FIGURES

SHOWN = ("flipped_eligible", "others_changed", "class_kept", "others_kept", "cfrt_strict", "selectivity")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="the folder of an evaluated run")
    parser.add_argument("--out", type=Path, default=Path("outputs/swap_steps.csv"))
    args = parser.parse_args()
    plan = json.loads((args.run / "traverse" / "plan.json").read_text())
    scores = pd.read_parquet(args.run / "evaluate" / "scores.parquet")
    heads = [column.removeprefix("prob_") for column in scores if column.startswith("prob_")]
    scored = Scored(scores[scores["method"].isin(["neutral", "swap"])], heads=heads, classes=plan["classes"])
    rows = [means(scored, plan, step) for step in sorted(plan["swap_steps"], reverse=True)]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(args.out, index=False)
    print(pd.DataFrame(rows).round(2).to_string(index=False))


def means(scored: Scored, plan: dict, step: int) -> dict[str, object]:
    """Return the means of the figures SHOWN where only `step` counts."""
    geometry = pd.DataFrame(columns=["class", "attribute", "figure", "swap_step", "mean", "low", "high", "n"])
    table = figure_table(scored, attributes=plan["attributes"], strong=[step], geometry=geometry)
    row: dict[str, object] = {"swap step": f"{step} of {plan['num_inference_steps']}"}
    for key in SHOWN:
        found = FigureTable(table).get(key) or Reading()
        label = FIGURES[key].label
        row |= {label: found.value, f"{label} low": found.low, f"{label} high": found.high}
    return row


if __name__ == "__main__":
    main()
