"""Simulate studies with known truth to measure how often the intervals over seeds contain the true value.

    python experiments/interval_coverage.py [studies] > coverage.csv

Prints one row per setting: the kind of value, the number of seeds, the true value, the intraclass correlation
of the samples of a seed (1: all samples of a seed are equal), and coverage and mean width of the interval
that latentpath uses and, for comparison, of the percentile and the BCa bootstrap over seeds.
"""

import sys
from collections.abc import Callable, Iterator

import numpy as np
from scipy import stats

from latentpath.metrics.intervals import mean_intervals, mean_rate_interval, rate_intervals

RATES, SEEDS, CORRELATIONS = (0.7, 0.8, 0.9, 0.95, 0.99), (8, 16, 32, 64), (0.1, 0.5, 1.0)
POSITIONS, DECISIONS, RESAMPLES = 3, 5, 1000
RATE_OF_PLACEBO = 0.02
Ends = tuple[np.ndarray, np.ndarray]


def bootstrap(values: np.ndarray, rng: np.random.Generator, bias_corrected: bool) -> Ends:
    """Return the percentile or BCa bootstrap intervals of the means of values (S, F) over S seeds."""
    seeds, columns = values.shape
    drawn = rng.multinomial(seeds, [1 / seeds] * seeds, size=RESAMPLES) / seeds
    means = np.sort(drawn @ values, axis=0)  # (resamples, F)
    tails = np.full((2, columns), [[0.025], [0.975]])
    if bias_corrected:
        below = ((means < values.mean(axis=0)).mean(axis=0) + (means <= values.mean(axis=0)).mean(axis=0)) / 2
        z0 = stats.norm.ppf(below.clip(1e-4, 1 - 1e-4))
        d = values.mean(axis=0) - values
        a = -(d**3).sum(axis=0) / (6 * np.maximum((d**2).sum(axis=0), 1e-30) ** 1.5)
        z = z0 + stats.norm.ppf(tails)
        tails = stats.norm.cdf(z0 + z / (1 - a * z))
    places = (tails * RESAMPLES).astype(int).clip(0, RESAMPLES - 1)
    return means[places[0], range(columns)], means[places[1], range(columns)]


Setting = tuple[str, float, float, np.ndarray, Callable[[np.ndarray], Ends]]


def settings(rng: np.random.Generator, studies: int) -> Iterator[Setting]:
    """Yield settings: kind, truth, correlation, values (S, studies) and latentpath's interval function."""
    for seeds in SEEDS:
        for correlation in CORRELATIONS:
            for rate in RATES:
                own = (rng.uniform(size=(seeds, studies)) < rate).astype(float)
                if correlation < 1:
                    spread = (1 - correlation) / correlation
                    own = rng.beta(rate * spread, (1 - rate) * spread, size=(seeds, studies))
                values = rng.binomial(POSITIONS, own) / POSITIONS
                yield "rate of a cell", rate, correlation, values, rate_intervals
        for correlation in (0.0, 0.3, 0.8):
            rates = np.array([0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.99, 0.5])
            shared, own = rng.normal(size=(seeds, studies, 1)), rng.normal(size=(seeds, studies, len(rates)))
            noise = np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * own
            cells = (stats.norm.cdf(noise) < rates).astype(float)  # (S, studies, F)

            def of_cells(_: np.ndarray, cells: np.ndarray = cells) -> Ends:
                ends = [mean_rate_interval(cells[:, i]) for i in range(cells.shape[1])]
                return np.array(ends)[:, 0], np.array(ends)[:, 1]

            yield "mean of 8 cells", float(rates.mean()), correlation, cells.mean(axis=2), of_cells
        for rate in (0.02, 0.05, 0.2, 0.4):
            for correlation in (0.0, 0.7):
                leak = shares(rng, rate, correlation, seeds, studies) - shares(
                    rng, RATE_OF_PLACEBO, correlation, seeds, studies
                )
                yield "leak", rate - RATE_OF_PLACEBO, correlation, leak, of_leak
        for name, truth, values in [
            ("mean, normal", 0.0, rng.normal(size=(seeds, studies))),
            ("mean, exponential", 1.0, rng.exponential(size=(seeds, studies))),
            ("mean, beta(1/2, 1/2)", 0.5, rng.beta(0.5, 0.5, size=(seeds, studies))),
        ]:
            yield name, truth, float("nan"), values, mean_intervals


def shares(rng: np.random.Generator, rate: float, correlation: float, seeds: int, studies: int) -> np.ndarray:
    """Return the share of changed decisions (S, studies), whose positions agree at least this often."""
    shape = (seeds, studies, DECISIONS)
    alike = (rng.uniform(size=shape) < correlation)[..., None]
    one, each = rng.uniform(size=(*shape, 1)) < rate, rng.uniform(size=(*shape, POSITIONS)) < rate
    return np.where(alike, one, each).mean(axis=(2, 3))


def of_leak(values: np.ndarray) -> Ends:
    return mean_intervals(values, unit=1 / DECISIONS)


def main(studies: int) -> None:
    rng = np.random.default_rng(0)
    print("of,seeds,truth,correlation,coverage,width,percentile,percentile_width,bca,bca_width")
    for kind, truth, correlation, values, interval in settings(rng, studies):
        columns = []
        for low, high in (interval(values), bootstrap(values, rng, False), bootstrap(values, rng, True)):
            held = (low <= truth + 1e-12) & (truth - 1e-12 <= high)
            columns += [f"{held.mean():.3f}", f"{(high - low).mean():.3f}"]
        print(f'"{kind}"', len(values), truth, correlation, *columns, sep=",", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
