"""Measure how both definitions of CFRT behave on phantoms with known truth.

    python experiments/metric_validation/run.py                    # a minute on 1 core, after `make demo`
    python experiments/metric_validation/run.py --classifier DIR   # with another judge of the phantoms

Writes results.json, the README's tables, figure.svg and pictures.png into --out. `cases.py` holds the cases
and the expected results.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cases import (
    CASES,
    DIAGNOSES,
    FAINT,
    RATES,
    STRONG,
    WEAK,
    Judge,
    TrainedJudge,
    agreement,
    another_lesion,
    class_changed,
    exact,
    expected_under_noise,
    faded,
    leak,
    measure,
    new_photograph,
    noisy_oracle,
    nothing,
    oracle,
    picture,
)
from PIL import Image
from rich.console import Console
from rich.table import Table

from latentpath.data.phantoms import ATTRIBUTES
from latentpath.errors import UserError
from latentpath.judge.classifier import load_classifier
from latentpath.report.charts import Chart, Curves, Key, Line
from latentpath.runs.figure_style import to_svg

SHARES = tuple(round(0.1 * i, 1) for i in range(11))
OPACITIES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
AUROCS = (0.55, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.995)
NOISE_SEEDS = 2000  # used by the oracle only: no images are drawn
PUBLISHED = {
    "class": 0.91,
    "hair": 0.93,
    "gel_bubble": 0.94,
    "ink": 0.96,
    "ruler": 0.97,
}  # the poster's judge


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--classifier", type=Path, default=Path("outputs/demo/classify"))
    parser.add_argument("--seeds", type=int, default=60, help="phantoms a class")
    parser.add_argument("--out", type=Path, default=Path("outputs/metric_validation"))
    args = parser.parse_args()

    began = time.perf_counter()
    trained = trained_judge(args.classifier)
    judges: dict[str, Judge] = {"oracle": oracle, "trained": trained}
    results = {
        "seeds_a_class": args.seeds,
        "classifier": str(args.classifier),
        "torch": torch.__version__,
        "cases": cases(judges, args.seeds),
        "curves": curves(judges, args.seeds),
        "ceiling": ceiling(PUBLISHED),
    }
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "figure.svg").write_text(figure(results["curves"]), encoding="utf-8")
    pictures().save(args.out / "pictures.png")
    results["pictures_judged"], results["seconds"] = len(trained.known), time.perf_counter() - began
    (args.out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    write_tables(results, args.out)

    table = Table("case", "judge", *RATES)
    for case in results["cases"]:
        for who in ("expected", *judges):
            table.add_row(case["name"], who, *(f"{mean(case[who][rate]):.2f}" for rate in RATES))
    Console(width=140).print(table, f"{results['seconds']:.0f} s; results are in {args.out}")


def write_tables(results: dict[str, Any], out: Path) -> None:
    """Write the tables of the README: cases.csv and ceiling.csv."""
    oracle_rates, trained_rates = ("released", "strict", "all"), ("released", "strict", "all", "flipped")
    columns = [("oracle", rate) for rate in oracle_rates]
    columns += [("trained", rate) for rate in (*trained_rates, "class_kept", "others_kept")]
    with (out / "cases.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["case", *(f"{who}: {rate.replace('_', ' ')}" for who, rate in columns)])
        for case in results["cases"]:
            writer.writerow([case["name"], *(mean(case[who][rate]) for who, rate in columns)])
    with (out / "ceiling.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["correlation of errors", *(words(a) for a in ATTRIBUTES)])
        for correlation in results["ceiling"][ATTRIBUTES[0]]:
            writer.writerow([correlation, *(results["ceiling"][a][correlation] for a in ATTRIBUTES)])


def words(name: str) -> str:
    return name.replace("_", " ")


def trained_judge(folder: Path) -> TrainedJudge:
    """Load a judge. Raises SystemExit with advice unless it knows the phantoms' classes and attributes."""
    try:
        classifier = load_classifier(folder)
    except UserError as error:
        raise SystemExit(
            f"{error}. Train one with `make demo` (4 minutes) or, only the judge, with "
            "`latentpath classify experiment=demo`; or give another with --classifier."
        ) from None
    lacking = {*ATTRIBUTES, *DIAGNOSES} - {*classifier.attributes, *classifier.classes}
    if lacking:
        raise SystemExit(f"the classifier in {folder} has no output for {', '.join(sorted(lacking))}")
    return TrainedJudge(classifier)


def cases(judges: dict[str, Judge], seeds: int) -> list[dict[str, Any]]:
    """Measure CASES; each gives {name, expected: {rate: value}, <judge>: {rate: [attribute 0, ...]}}."""
    return [
        {"name": case.name, "expected": dict(zip(RATES, case.expected, strict=True))}
        | {who: measure(judge, case.build, seeds=seeds, fault=case.fault) for who, judge in judges.items()}
        for case in CASES
    ]


def curves(judges: dict[str, Judge], seeds: int) -> dict[str, dict[str, Any]]:
    """Measure curves: {name: {x, expected: {rate: [at x]}, <judge>: {rate: [mean over attributes at x]}}}."""
    # A leak in the edit toward A makes others_kept fail. A leak of A in another edit makes dominance fail at
    # the positions where A is less opaque than the leak: two of three for STRONG. The two are independent.
    of_share = {
        f"leak of {STRONG}": (
            lambda r: leak(STRONG, r),
            lambda r: 1 - r,
            lambda r: (1 - r) * (1 - 2 * r / 3),
        ),
        f"leak of {WEAK}": (lambda r: leak(WEAK, r), lambda r: 1.0, lambda r: 1 - r),
        f"leak of {FAINT}": (lambda r: leak(FAINT, r), lambda r: 1.0, lambda r: 1.0),
        "class changed": (class_changed, lambda r: 1.0, lambda r: 1 - r),
    }
    found: dict[str, dict[str, Any]] = {}
    for name, (build, released, strict) in of_share.items():
        found[name] = _curve(SHARES, [(judges, build(r)) for r in SHARES], seeds)
        found[name]["expected"] = {
            k: [f(r) for r in SHARES] for k, f in dict(released=released, strict=strict).items()
        }
    found["opacity of A"] = _curve(OPACITIES, [(judges, faded(w)) for w in OPACITIES], seeds)
    one = [1.0] * len(OPACITIES)
    seen = [float(w > 0.5) for w in OPACITIES]
    found["opacity of A"]["expected"] = {"released": one, "strict": one, "flipped": seen}
    for name, build, asked in (("noise, exactly A", exact, True), ("noise, nothing", nothing, False)):
        noisy = [({"oracle": noisy_oracle(auroc)}, build) for auroc in AUROCS]
        found[name] = _curve(AUROCS, noisy, NOISE_SEEDS)
        both = [expected_under_noise(auroc, asked=asked) for auroc in AUROCS]
        found[name]["expected"] = dict(
            zip(("released", "strict"), map(list, zip(*both, strict=True)), strict=True)
        )
    return found


def _curve(x: Sequence[float], points: Sequence[tuple[dict[str, Judge], Any]], seeds: int) -> dict[str, Any]:
    curve: dict[str, Any] = {"x": list(x)}
    for judges, build in points:
        for who, judge in judges.items():
            for rate, values in measure(judge, build, seeds=seeds).items():
                curve.setdefault(who, {}).setdefault(rate, []).append(mean(values))
    return curve


def ceiling(accuracy: dict[str, float]) -> dict[str, dict[str, float]]:
    """Return the highest possible `strict` for perfect edits: {attribute: {correlation of errors: value}}.

    Dominance is assumed to hold always. accuracy: of the class head and of each attribute head. An error is
    shared if the judge makes it on both the neutral and the edited image.
    """
    return {
        a: {
            str(shared): float(np.prod([agreement(q, shared) for name, q in accuracy.items() if name != a]))
            for shared in (0.0, 0.5, 0.9)
        }
        for a in ATTRIBUTES
    }


def mean(values: float | Sequence[float]) -> float:
    return float(np.mean(values))


PANELS = {
    f"leak of {STRONG}": ("Another attribute appears, at 0.9", "share of edits"),
    f"leak of {WEAK}": ("Another attribute appears, at 0.55", "share of edits"),
    "class changed": ("The class changes", "share of edits"),
    "opacity of A": ("Only A, but weakly", "opacity of A"),
    "noise, exactly A": ("Exactly A, noisy judge", "AUROC of the judge"),
    "noise, nothing": ("Nothing changes, noisy judge", "AUROC of the judge"),
}
COLOURS = {"released": "c0", "strict": "c1", "flipped": "c2"}


def figure(found: dict[str, dict[str, Any]]) -> str:
    """Draw six panels in one standalone SVG: measured over expected results, by judge."""
    panels = []
    for name, (title, x_title) in PANELS.items():
        curve = found[name]
        rates = [rate for rate in COLOURS if rate != "flipped" or name == "opacity of A"]
        lines = []
        for who, look in (("oracle", "solid"), ("trained", "dashed")):
            if who in curve:
                lines += [Line(f"{rate}, {who}", curve[who][rate], COLOURS[rate], look) for rate in rates]
        expected = curve["expected"]
        lines += [Line(f"{rate}, expected", expected[rate], COLOURS[rate], "broad") for rate in rates]
        panels.append(Curves(title, curve["x"], [f"{x:g}" for x in curve["x"]], lines, x_title=x_title))
    looks = {"expected for the oracle": "broad", "oracle": "solid", "trained judge": "dashed"}
    legend = [Key(rate, colour) for rate, colour in COLOURS.items()]
    legend += [Key(who, "ink", look) for who, look in looks.items()]
    return to_svg(
        Chart(panels, legend, columns=3).figure(), "metric_validation", "CFRT where the truth is known"
    )


def pictures(size: int = 64, zoom: int = 2, seed: int = 3) -> Image.Image:
    """Draw one row per class: neutral, hair along the trajectory, then one column per case."""
    hair = 0
    rows = []
    for cls in range(len(DIAGNOSES)):
        truth = exact(8, cls, hair)
        row = [truth.neutral[seed], *truth.edited[hair, seed]]
        looks = [(0, cls, w) for w in row]
        for opacity in (FAINT, WEAK, STRONG):
            looks.append((0, cls, leak(opacity)(8, cls, hair).edited[hair, seed, -1]))
        looks.append((0, 1 - cls, row[-1]))
        for build in (new_photograph, another_lesion):
            other = build(8, cls, hair)
            looks.append((int(other.picture[hair, seed, -1]), cls, other.edited[hair, seed, -1]))
        drawn = [picture(cls, seed, n, c, tuple(map(float, w)), size=size) for n, c, w in looks]
        rows.append(
            np.concatenate([np.pad(p, ((1, 1), (1, 1), (0, 0)), constant_values=255) for p in drawn], 1)
        )
    sheet = Image.fromarray(np.concatenate(rows))
    return sheet.resize((sheet.width * zoom, sheet.height * zoom), Image.Resampling.NEAREST)


if __name__ == "__main__":
    main()
