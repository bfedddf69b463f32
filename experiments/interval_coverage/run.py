"""Simulate studies with known truth to measure how often the intervals of the page contain the true value.

    python experiments/interval_coverage/run.py          # minutes on 1 core; --studies 200 is quick

Writes results/coverage.csv, a row a setting (see kinds.py), and results/summary.csv, a row a kind of figure.
"""

import argparse
import csv
from pathlib import Path

import numpy as np
from kinds import Setting, settings
from scipy import stats

RESULTS = Path(__file__).parent / "results"
RESAMPLES = 1000
LOW, HIGH = 0.93, 0.97  # where the coverage of a 95 % interval should be
REACH = 0.05  # how far from p a rate near it lies


def bootstrap(values: np.ndarray, rng: np.random.Generator, *, bias_corrected: bool) -> np.ndarray:
    """Return percentile or BCa bootstrap intervals (2, studies) of the means of values (seeds, studies)."""
    seeds, columns = values.shape
    drawn = rng.multinomial(seeds, [1 / seeds] * seeds, size=RESAMPLES) / seeds
    means = np.sort(drawn @ values, axis=0)  # (resamples, studies)
    tails = np.full((2, columns), [[0.025], [0.975]])
    if bias_corrected:
        centre = values.mean(axis=0)
        below = ((means < centre).mean(axis=0) + (means <= centre).mean(axis=0)) / 2
        z0 = stats.norm.ppf(below.clip(1e-4, 1 - 1e-4))
        d = centre - values
        a = -(d**3).sum(axis=0) / (6 * np.maximum((d**2).sum(axis=0), 1e-30) ** 1.5)
        z = z0 + stats.norm.ppf(tails)
        tails = stats.norm.cdf(z0 + z / (1 - a * z))
    places = (tails * RESAMPLES).astype(int).clip(0, RESAMPLES - 1)
    return np.stack([means[places[0], range(columns)], means[places[1], range(columns)]])


def measure(setting: Setting, near: Setting, rng: np.random.Generator) -> dict[str, object]:
    """Return the row of a setting: how often intervals and bootstraps hold the truth, and their mean width.

    `near` is the same setting with a rate of its own in each study.
    """
    low, high = setting.ends()
    row: dict[str, object] = {
        "figure": setting.kind,
        "seeds": setting.seeds,
        "setting": setting.setting,
        "truth": f"{setting.truth.mean():.4f}",
        "coverage": f"{_held(low, high, setting.truth):.3f}",
        "nearby": f"{_held(*near.ends(), near.truth):.3f}",
        "width": f"{np.nanmean(high - low):.3f}",
    }
    for name, bias_corrected in (("percentile", False), ("BCa", True)):
        if setting.of_seeds is not None:
            low, high = bootstrap(setting.of_seeds, rng, bias_corrected=bias_corrected)
            row[name] = f"{_held(low, high, setting.truth):.3f}"
    return row


def _held(low: np.ndarray, high: np.ndarray, truth: np.ndarray) -> float:
    known = np.isfinite(low)
    return float(((low <= truth + 1e-12) & (truth - 1e-12 <= high))[known].mean())


def summary(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """Return one row a kind of figure: coverage at p and near it, over the kind's settings."""
    table = []
    for kind in dict.fromkeys(row["figure"] for row in rows):
        of_kind = [row for row in rows if row["figure"] == kind]
        held, near = (np.array([float(str(row[name])) for row in of_kind]) for name in ("coverage", "nearby"))
        plain = [float(str(row["percentile"])) for row in of_kind if "percentile" in row]
        table.append(
            {
                "figure": kind,
                "settings": len(held),
                "lowest": f"{held.min():.3f}",
                "lowest nearby": f"{near.min():.3f}",
                "mean nearby": f"{near.mean():.3f}",
                "highest nearby": f"{near.max():.3f}",
                f"nearby below {LOW}": int((near < LOW).sum()),
                f"nearby above {HIGH}": int((near > HIGH).sum()),
                "mean width": f"{np.mean([float(str(row['width'])) for row in of_kind]):.3f}",
                "percentile bootstrap, lowest": f"{min(plain):.3f}" if plain else "",
            }
        )
    return table


def write(file: Path, rows: list[dict[str, object]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, list(dict.fromkeys(key for row in rows for key in row)), restval="")
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the coverage of the intervals of the page.")
    parser.add_argument("--studies", type=int, default=1000, help="of each setting")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    args = parser.parse_args()
    rng, near, draws = (np.random.default_rng(seed) for seed in range(3))
    pairs = zip(settings(rng, args.studies), settings(near, args.studies, REACH), strict=True)
    rows = [measure(setting, other, draws) for setting, other in pairs]
    write(args.out / "coverage.csv", rows)
    write(args.out / "summary.csv", summary(rows))


if __name__ == "__main__":
    main()
