"""The kinds of figures whose intervals are tested: values of seeds drawn with a known truth."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy import stats

from latentpath.metrics.held_out import auroc
from latentpath.metrics.intervals import (
    difference_intervals,
    mean_difference_interval,
    mean_intervals,
    mean_rate_interval,
    rate_intervals,
)
from latentpath.metrics.judge_error import corrected_share, prediction_powered

RATES, SEEDS = (0.7, 0.8, 0.9, 0.95, 0.99), (8, 16, 32)
POSITIONS, HEADS = 3, 5  # swap steps of the strong end; other decisions than that about the attribute
PLACEBO = 0.02  # how often a placebo changes a decision
GROUPS = np.repeat(range(60), 2).tolist()  # held-out images, two of each group
ERRORS = ((1.0, 1.0), (0.9, 0.9), (0.7, 0.95))  # sensitivity and specificity of judges
Ends = tuple[np.ndarray, np.ndarray]
Rng = np.random.Generator


@dataclass(frozen=True)
class Setting:
    """Studies of one figure: its kind, what the setting is, the true value, and each study's interval.

    of_seeds: what each seed says (seeds, studies), for bootstraps to compare with; None where seeds are not
    all that is drawn.
    """

    kind: str
    seeds: int
    setting: str
    truth: float
    ends: Callable[[], Ends]
    of_seeds: np.ndarray | None = None


def settings(rng: Rng, studies: int) -> Iterator[Setting]:
    """Yield all settings; `rng` draws them in this order."""
    for seeds in SEEDS:
        yield from _rates(rng, seeds, studies)
        yield from _means_of_cells(rng, seeds, studies)
        yield from _differences(rng, seeds, studies)
        yield from _counts(rng, seeds, studies)
        yield from _means(rng, seeds, studies)
        yield from _judge(rng, seeds, studies)


def _rates(rng: Rng, seeds: int, studies: int) -> Iterator[Setting]:
    """Flip rates, CFRT and its conditions: shares of the positions of each seed, which are alike."""
    for correlation in (0.1, 0.5, 1.0):
        for rate in RATES:
            values = rng.binomial(POSITIONS, _own_rates(rng, rate, correlation, (seeds, studies))) / POSITIONS
            yield _of_seeds("rate of a cell", values, f"correlation {correlation}", rate, rate_intervals)


def _means_of_cells(rng: Rng, seeds: int, studies: int) -> Iterator[Setting]:
    """Means over eight cells of the same seeds: of rates, and of selectivities."""
    rates = np.array([0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.99, 0.5])
    for correlation in (0.0, 0.3, 0.8):
        cells = (_together(rng, correlation, (seeds, studies, 8)) < rates).astype(float)
        nulls = rng.binomial(3, 0.25, size=cells.shape) / 3
        for kind, of_cells, truth, interval in (
            ("mean of rates of 8 cells", cells, rates.mean(), mean_rate_interval),
            (
                "mean of selectivities of 8 cells",
                cells - nulls,
                rates.mean() - 0.25,
                mean_difference_interval,
            ),
        ):
            ends = _each(interval, of_cells)
            yield Setting(kind, seeds, f"correlation {correlation}", truth, ends, of_cells.mean(axis=2))


def _differences(rng: Rng, seeds: int, studies: int) -> Iterator[Setting]:
    """Effect and leak over a placebo, selectivity, and differences of two runs on the same seeds."""
    for rate in RATES:
        effect = rng.binomial(POSITIONS, _own_rates(rng, rate, 0.5, (seeds, studies))) / POSITIONS
        effect = effect - rng.binomial(POSITIONS, 0.05, size=effect.shape) / POSITIONS
        yield _of_seeds("effect over placebo", effect, "", rate - 0.05, difference_intervals)
        own = (rng.uniform(size=(seeds, studies)) < rate).astype(float)
        selectivity = own - rng.binomial(3, (1 - rate) / 3, size=own.shape) / 3
        yield _of_seeds("selectivity", selectivity, "", rate - (1 - rate) / 3, difference_intervals)
        both = _together(rng, 0.7, (seeds, studies, 2)) < np.array([rate, min(rate + 0.05, 1)])
        apart = both[..., 1].astype(float) - both[..., 0]
        yield _of_seeds("difference of runs", apart, "", min(rate + 0.05, 1) - rate, of_count)
    for rate in (0.02, 0.05, 0.2, 0.4):
        for correlation in (0.0, 0.7):
            leak = _shares(rng, rate, correlation, (seeds, studies))
            leak = leak - _shares(rng, PLACEBO, correlation, (seeds, studies))
            yield _of_seeds("leak over placebo", leak, f"correlation {correlation}", rate - PLACEBO, of_leak)


def _counts(rng: Rng, seeds: int, studies: int) -> Iterator[Setting]:
    """MNAC: the attribute itself appears, and each of four others changes with a small probability."""
    for rate in RATES:
        for other in (0.01, 0.1):
            number = (rng.uniform(size=(seeds, studies)) < rate) + rng.binomial(4, other, (seeds, studies))
            yield _of_seeds("MNAC", number.astype(float), f"others {other}", rate + 4 * other, of_count)


def _means(rng: Rng, seeds: int, studies: int) -> Iterator[Setting]:
    """Co-change, distances, cosines: means of any values."""
    shape = (seeds, studies)
    for name, truth, values in (
        ("normal", 0.0, rng.normal(size=shape)),
        ("exponential", 1.0, rng.exponential(size=shape)),
        ("beta(1/2, 1/2)", 0.5, rng.beta(0.5, 0.5, size=shape)),
    ):
        yield _of_seeds("mean of any values", values, name, truth, mean_intervals)


def _judge(rng: Rng, seeds: int, studies: int) -> Iterator[Setting]:
    """Shares corrected for the judge's errors, shares with human labels, and AUROC."""
    for se, sp in ERRORS:
        judge = f"sensitivity {se}, specificity {sp}"
        for rate in RATES:
            present = (rng.uniform(size=(studies, 3 * seeds)) < rate).astype(float)
            said = _judged(rng, present, se, sp)
            labels = np.repeat(rng.integers(0, 2, size=(studies, 60)), 2, axis=1).astype(float)
            found = _judged(rng, labels, se, sp)

            def corrected(said=said, found=found, labels=labels) -> Ends:
                made = [
                    corrected_share(s[:seeds], f, y, GROUPS)
                    for s, f, y in zip(said, found, labels, strict=True)
                ]
                return np.array([e.low for e in made]), np.array([e.high for e in made])

            def labelled(said=said, present=present) -> Ends:
                made = [
                    prediction_powered(f[seeds:], f[:seeds], y[:seeds])
                    for f, y in zip(said, present, strict=True)
                ]
                return np.array([e.low for e in made]), np.array([e.high for e in made])

            yield Setting("share, corrected", seeds, judge, rate, corrected)
            yield Setting("share, human labels", seeds, judge, rate, labelled)
    for shift in (0.5, 1.0, 2.0, 3.0):
        x, y = rng.normal(shift, size=(studies, seeds)), rng.normal(size=(studies, 4 * seeds))

        def of_auroc(x=x, y=y) -> Ends:
            own = np.arange(x.shape[1]), np.arange(y.shape[1]) + x.shape[1]
            made = np.array([auroc(a, b, *own)[1:] for a, b in zip(x, y, strict=True)])
            return made[:, 0], made[:, 1]

        truth = float(stats.norm.cdf(shift / np.sqrt(2)))
        yield Setting("AUROC, positives as seeds", seeds, "", truth, of_auroc)


def of_leak(values: np.ndarray) -> Ends:
    return mean_intervals(values, unit=1 / HEADS)


def of_count(values: np.ndarray) -> Ends:
    return mean_intervals(values, unit=1)


def _of_seeds(kind: str, values: np.ndarray, setting: str, truth: float, interval) -> Setting:
    return Setting(kind, len(values), setting, truth, lambda: interval(values), values)


def _each(interval, of_cells: np.ndarray) -> Callable[[], Ends]:
    """The interval of a mean over cells, study by study; of_cells (seeds, studies, cells)."""

    def ends() -> Ends:
        made = np.array([interval(of_cells[:, i]) for i in range(of_cells.shape[1])])
        return made[:, 0], made[:, 1]

    return ends


def _own_rates(rng: Rng, rate: float, correlation: float, shape: tuple[int, ...]) -> np.ndarray:
    """Draw each seed's own rate so that two of its samples have this correlation (1: they are equal)."""
    if correlation == 1:
        return (rng.uniform(size=shape) < rate).astype(float)
    spread = (1 - correlation) / correlation
    return rng.beta(rate * spread, (1 - rate) * spread, size=shape)


def _together(rng: Rng, correlation: float, shape: tuple[int, ...]) -> np.ndarray:
    """Draw uniform values (seeds, studies, cells), whose normal scores have this correlation over cells."""
    shared, own = rng.normal(size=(*shape[:-1], 1)), rng.normal(size=shape)
    return stats.norm.cdf(np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * own)


def _shares(rng: Rng, rate: float, correlation: float, shape: tuple[int, ...]) -> np.ndarray:
    """Draw shares of changed decisions, whose positions agree at least this often."""
    alike = (rng.uniform(size=(*shape, HEADS)) < correlation)[..., None]
    one, each = (rng.uniform(size=(*shape, HEADS, n)) < rate for n in (1, POSITIONS))
    return np.where(alike, one, each).mean(axis=(2, 3))


def _judged(rng: Rng, truth: np.ndarray, se: float, sp: float) -> np.ndarray:
    right = rng.uniform(size=truth.shape)
    return np.where(truth == 1, right < se, right > sp).astype(float)
