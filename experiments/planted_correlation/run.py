"""Measure which figure follows a correlation that a diffusion model has learned, where it is known.

    python experiments/planted_correlation/run.py               # five shares, one training each
    python experiments/planted_correlation/run.py --runs 3      # three trainings of each
    python experiments/planted_correlation/run.py --tiny        # minutes: tries the script, measures nothing

Hair brings a ruler in a share r of the training images, and neither tables nor captions say so. For each r
phantom-sd is fine-tuned, hair is asked for, and two judges that were trained on honest phantoms say what
came. Everything that is done is kept in --out and not done again: where the scores are there, only figures
are computed. Writes points.csv, tracking.csv, variance.csv and figure.svg.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from planted import CAUSE, EFFECT, write_planted
from scipy import stats

import latentpath as lp
from latentpath.data.captions import CaptionTemplate
from latentpath.data.phantoms import ATTRIBUTES, DIAGNOSES, write_isic2019
from latentpath.evaluation.figures import figure_table
from latentpath.metrics import Scored, co_change_table
from latentpath.metrics.figures import FIGURES
from latentpath.metrics.precision import variance_table
from latentpath.metrics.tables import cfrt_of_seeds
from latentpath.report.charts import Chart, Curves, Key, Line
from latentpath.runs.figure_style import to_svg

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
JUDGES = ("efficientnet_tiny", "resnet_micro")
STEPS, STRONG, GUIDANCE = 20, (0, 3), 3.0
CAPTIONS = CaptionTemplate(
    "a dermoscopic image with {cls} showing {attributes}",
    "a dermoscopic image with {cls} with no visible artifacts",
    {"MEL": "melanoma (MEL)", "NV": "melanocytic nevus (NV)"},
    {name: name.replace("_", " ") for name in ATTRIBUTES},
)
PLACEBO = "this is {neutral}"
# What is held against r: key in the table of figures, or a name of `beside`.
FOLLOWED = {
    "ruler appears": "ruler appears",
    "leak": "leak over placebo",
    "others_changed": "others changed",
    "others_kept": "others kept",
    "cfrt_strict": "CFRT, strict",
    "all_strict": "strict and flip",
    "cfrt_released": "CFRT, released",
    "selectivity": "selectivity",
    "mnac": "MNAC",
    "ruler rises": "ruler's probability rises",
    "flipped_eligible": "hair appears, of the eligible",
}


PARTS = ("cfrt_strict", "others_kept", "cfrt_released")  # whose variance is taken apart


@dataclass(frozen=True)
class Sizes:
    """How much is drawn, trained and sampled."""

    images: int = 1500
    steps: int = 400
    epochs: int = 10
    seeds: int = 16


TINY = Sizes(images=96, steps=2, epochs=1, seeds=2)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=1, help="trainings of each share (default 1)")
    parser.add_argument("--tiny", action="store_true", help="try the script at a size that measures nothing")
    parser.add_argument("--out", type=Path, default=Path("outputs/planted_correlation"))
    args = parser.parse_args()
    sizes = TINY if args.tiny else Sizes()
    out = args.out / "tiny" if args.tiny else args.out
    out.mkdir(parents=True, exist_ok=True)
    points, of_seeds = [], {}
    for run, share, arch in product(range(args.runs), SHARES[:: 4 if args.tiny else 1], JUDGES):
        scored = Scored(score(out, share, run, arch, sizes), heads=ATTRIBUTES, classes=DIAGNOSES)
        points += [{"r": share, "run": run, "judge": arch} | row for row in figures_of(scored)]
        of_seeds[share, str(run), arch] = cfrt_of_seeds(scored, "swap", STRONG)
        table = pd.DataFrame(points)
        table.to_csv(out / "points.csv", index=False)
    tracking(table).to_csv(out / "tracking.csv", index=False)
    variance(of_seeds).to_csv(out / "variance.csv", index=False)
    (out / "figure.svg").write_text(drawn(table), encoding="utf-8")
    print(tracking(table).to_string(index=False))


def train_judge(out: Path, arch: str, sizes: Sizes) -> Path:
    """Train a judge on honest phantoms; return its folder."""
    root = write_isic2019(out / "honest", count=2 * sizes.images, size=64, seed=1)
    stage("classify", out, f"judge_{arch}", root, f"classifier={arch}", f"classifier.epochs={sizes.epochs}")
    return out / f"judge_{arch}" / "classify"


def fine_tune(out: Path, share: float, run: int, sizes: Sizes) -> Path:
    """Fine-tune phantom-sd on phantoms of which a share is planted; return the pipeline's folder."""
    root = write_planted(out / f"planted_{share:g}", share, count=sizes.images, size=64, seed=2)
    name = f"r_{share:g}_{run}"
    settings = (f"seed={run}", f"finetune.max_steps={sizes.steps}", "finetune.checkpoint_every=100")
    stage("finetune", out, name, root, *settings)
    return out / name / "finetune" / "pipeline"


def stage(command: str, out: Path, name: str, root: Path, *settings: str) -> None:
    """Run a stage of latentpath as its own process; a complete one is skipped, an interrupted one resumes."""
    words = ["experiment=demo", f"output_dir={out}", f"name={name}", f"dataset.root={root}", *settings]
    words.append("dataset.phantom.count=0")  # the phantoms are there, and are not to be drawn again
    subprocess.run([sys.executable, "-m", "latentpath", command, *words], check=True)


def score(out: Path, share: float, run: int, arch: str, sizes: Sizes) -> pd.DataFrame:
    """Sample neutral images, strong swaps and placebos, and let a judge score them; kept in a file."""
    file = out / f"scores_{share:g}_{run}_{arch}.parquet"
    if file.exists():
        return pd.read_parquet(file)
    judge, pipeline = train_judge(out, arch, sizes), fine_tune(out, share, run, sizes)
    model, classifier = lp.load_model(str(pipeline)), lp.load_classifier(judge)
    plan = lp.plan_sweep(
        CAPTIONS,
        classes=DIAGNOSES,
        attributes=ATTRIBUTES,
        swap_steps=STRONG,
        num_inference_steps=STEPS,
        seeds=range(sizes.seeds),
        guidance_scale=GUIDANCE,
        placebo=PLACEBO,
    )
    sampler = lp.build_sampler(plan, model, image_size=64)
    parts = []
    for cls in DIAGNOSES:
        leaves, latents = lp.walk(plan, sampler, cls=cls, seeds=plan.seeds)
        parts.append(lp.score(leaves, latents, vae=model.vae(), classifier=classifier))
    scores = pd.concat(parts, ignore_index=True)
    scores.to_parquet(file)
    return scores


def figures_of(scored: Scored) -> list[dict[str, object]]:
    """Return each figure in FOLLOWED of the edits toward hair: its mean over classes, and over their ends."""
    geometry = pd.DataFrame(columns=["class", "attribute", "figure", "swap_step", "mean", "low", "high", "n"])
    table = figure_table(scored, attributes=ATTRIBUTES, strong=STRONG, geometry=geometry)
    table = table[(table["method"] == "swap") & table["position"].isna() & (table["attribute"] == CAUSE)]
    changes = co_change_table(scored, "swap", STRONG)
    changes = changes[(changes["attribute"] == CAUSE) & (changes["head"] == EFFECT)]
    beside = {
        "ruler appears": changes[["label_changes", "label_changes_low", "label_changes_high"]],
        "ruler rises": changes[["change", "low", "high"]],
    }
    rows = []
    for key in FOLLOWED:
        ends = beside.get(key, table.loc[table["figure"] == key, ["value", "low", "high"]])
        value, low, high = ends.astype(float).mean().to_numpy() if len(ends) else (np.nan,) * 3
        rows.append({"figure": key, "value": value, "low": low, "high": high})
    return rows


def tracking(points: pd.DataFrame) -> pd.DataFrame:
    """Return one row per figure: its mean at each r, and how well it follows r.

    rank correlation: Spearman's over all trainings, the mean over judges, since each judge has a level of its
    own; +1 or -1 follows perfectly. range: how far the mean moves from r = 0 to r = 1, as a share of the
    width that the figure can have.
    """
    rows = []
    for figure, of_figure in points.groupby("figure", sort=False):
        means = of_figure.groupby("r")["value"].mean()
        known = of_figure.dropna(subset=["value"])
        ranks = [
            stats.spearmanr(of_judge["r"], of_judge["value"]).statistic
            for _, of_judge in known.groupby("judge")
            if of_judge["value"].nunique() > 1
        ]
        rank = np.mean(ranks) if ranks else np.nan
        low, high = FIGURES[figure].range if figure in FIGURES else (0.0, 1.0)
        width = high - low if np.isfinite(high - low) else float(len(ATTRIBUTES))
        row = {"figure": FOLLOWED[str(figure)]} | {f"r = {r:g}": value for r, value in means.items()}
        rows.append(row | {"rank correlation": rank, "range": (means.iloc[-1] - means.iloc[0]) / width})
    table = pd.DataFrame(rows)
    return table.sort_values("rank correlation", key=abs, ascending=False, kind="stable")


def variance(of_seeds: Mapping[tuple[float, str, str], pd.DataFrame]) -> pd.DataFrame:
    """Return how much of the variance of edits toward hair is the training's, the judge's and the seeds'.

    of_seeds: (r, training, judge) -> `cfrt_of_seeds`. One row per r and figure in PARTS, with the columns of
    `metrics.precision.variance_table`: the shares are those of one training, one judge and these seeds.
    """
    tables = []
    for share in dict.fromkeys(key[0] for key in of_seeds):
        toward = {key[1:]: t[t["attribute"] == CAUSE] for key, t in of_seeds.items() if key[0] == share}
        table = variance_table(toward)
        table = table[table["figure"].isin(PARTS)].replace({"figure": FOLLOWED})
        table.insert(0, "r", f"{share:g}")
        tables.append(table)
    names = {
        f"{kind}_{part}": f"{kind} {part}" for kind in ("sd", "share") for part in ("run", "judge", "seed")
    }
    names |= {"sd_rest": "sd rest", "half_width": "half-width", "endless": "half-width, endless seeds"}
    names = {key: name.replace("run", "training") for key, name in names.items()}
    return pd.concat(tables, ignore_index=True).rename(columns=names | {"runs": "trainings"})


def drawn(points: pd.DataFrame) -> str:
    """Draw each figure over r, a line per judge with its interval over seeds, as a standalone SVG."""
    shares = sorted(points["r"].unique())
    panels = []
    for figure, label in FOLLOWED.items():
        lines = []
        for index, judge in enumerate(JUDGES):
            rows = points[(points["figure"] == figure) & (points["judge"] == judge)]
            means = rows.groupby("r")[["value", "low", "high"]].mean().reindex(shares)
            value, low, high = (means[column].astype(float).tolist() for column in ("value", "low", "high"))
            lines.append(Line(judge, value, f"c{index}", low=low, high=high))
        known = [v for line in lines for v in (*line.values, *line.low, *line.high) if np.isfinite(v)]
        low, high = min([0.0, *known]), max([1.0, *known])
        labels = [f"{share:g}" for share in shares]
        panels.append(Curves(label, shares, labels, lines, low=low, high=high, x_title="r"))
    legend = [Key(judge, f"c{index}") for index, judge in enumerate(JUDGES)]
    title = "Figures of edits toward hair, by the share of training images in which hair brings a ruler"
    return to_svg(Chart(panels, legend, columns=4).figure(), "planted_correlation", title)


if __name__ == "__main__":
    main()
