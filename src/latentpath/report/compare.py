"""Compares runs on one page: a table per figure with one column per run, equal seeds, other settings."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from latentpath.config.written import flat
from latentpath.errors import UserError
from latentpath.metrics import figure
from latentpath.metrics.measures import MEASURES
from latentpath.report.artefacts import RunArtefacts, read_run
from latentpath.report.cells import Cell, Table, difference, header
from latentpath.report.compare_seeds import compared
from latentpath.report.encode import data_uri
from latentpath.report.page import fill
from latentpath.report.pictures import Gallery, Grid, words
from latentpath.report.slider import payload
from latentpath.report.tables import figure_cell
from latentpath.runs.files import write_text

MAX_SEEDS = 3  # of each class, side by side
FIGURES = (
    "selectivity",
    "cfrt_strict",
    "all_strict",
    "cfrt_released",
    "flipped",
    "class_kept",
    "others_kept",
)
INDIFFERENT = ("name", "output_dir", "overwrite", "from_run", "weights_dir", "dry_run", "figures", "compare")


@dataclass(frozen=True)
class Side:
    """The images of one class and seed in every run that has them: (name of the run, grid)."""

    title: str
    grids: list[tuple[str, Grid]]


def write_comparison(run_dirs: Sequence[Path], out: Path) -> Path:
    """Write `out`/compare.html, which compares the runs in these folders with the first of them.

    Raises UserError if there are fewer than two runs, if one was not evaluated, or if nothing is shared.
    """
    if len(run_dirs) < 2:
        raise UserError(f"compare names {len(run_dirs)} run: give two or more, compare=[one,other]")
    runs = [read_run(folder) for folder in run_dirs]
    classes = [c for c in runs[0].classes if all(c in run.classes for run in runs)]
    attributes = [a for a in runs[0].attributes if all(a in run.attributes for run in runs)]
    if not classes or not attributes:
        names = ", ".join(run.name for run in runs)
        raise UserError(f"compare: {names} share no class and attribute, so nothing can be compared")
    tables = _tables(runs, classes, attributes)
    found = [compared(runs[0], other, classes, attributes) for other in runs[1:]]
    comparisons = [comparison for comparison in found if comparison is not None]
    overall = _overall(runs)
    page = fill(
        "compare.html.j2",
        payload([overall, *(comparison.table for comparison in comparisons), *tables]),
        runs=runs,
        overall=overall,
        comparisons=comparisons,
        tables=tables,
        settings=_settings(runs),
        sides=_sides(runs, classes),
        uri=cache(data_uri),
        threshold=runs[0].threshold,
    )
    write_text(out / "compare.html", page)
    return out / "compare.html"


def _head(runs: Sequence[RunArtefacts]) -> list[str]:
    first, *others = [run.name for run in runs]
    return [first, *(text for name in others for text in (name, f"{name} − {first}"))]


def _line(cells: Sequence[Cell]) -> list[Cell]:
    """Return the first cell, then each other cell with its difference to the first."""
    line = [cells[0]]
    for cell in cells[1:]:
        first, value = cells[0].value, cell.value
        by = None if first is None or value is None else value - first
        digits = len(cell.text.partition(".")[2])
        line += [cell, difference(by, "one of the two is n/a", digits=digits, tint=by)]
    return line


def _tables(runs: Sequence[RunArtefacts], classes: Sequence[str], attributes: Sequence[str]) -> list[Table]:
    """Make one table per figure of CFRT and distance, one row per class and attribute; swaps only."""
    found = []
    for key in (*FIGURES, *_measures(runs)):
        makers = [figure_cell(run, "swap", key) for run in runs]
        cells = [(c, a, [make(c, a) for make in makers]) for c in classes for a in attributes]
        found.append(_table(figure(key).heading, f"compare_{key}", runs, cells))
    return [t for t in found if any(c.value is not None for g in t.groups for row in g for c in row)]


def _table(
    label: str, name: str, runs: Sequence[RunArtefacts], rows: list[tuple[str, str, list[Cell]]]
) -> Table:
    table = Table(label, ["class", "attribute", *_head(runs)], name=name)
    for cls in dict.fromkeys(c for c, _, _ in rows):
        group = [[header(words(c)), header(words(a)), *_line(cells)] for c, a, cells in rows if c == cls]
        table.groups.append(group)
    return table


def _measures(runs: Sequence[RunArtefacts]) -> list[str]:
    """Return the distances between images that every run has."""
    return [key for key in MEASURES if all(key in run.figures.figures for run in runs)]


def _overall(runs: Sequence[RunArtefacts]) -> Table:
    """Make the table of each run's means over its own classes and attributes."""
    table = Table(
        "Means over each run’s own classes and attributes, swaps", ["measure", *_head(runs)], name="compare"
    )
    rows = [
        [header(figure(key).heading), *_line([figure_cell(run, "swap", key)() for run in runs])]
        for key in (*FIGURES, *_measures(runs))
    ]
    table.groups.append(rows)
    return table


def _settings(runs: Sequence[RunArtefacts]) -> Table:
    """Make the table of settings that differ, with masked paths; a dash means not recorded."""
    configs = [_flat(run) for run in runs]
    keys = sorted({key for config in configs for key in config})
    rows = [
        [header(key), *(Cell(config.get(key, "–")) for config in configs)]
        for key in keys
        if len({config.get(key, "–") for config in configs}) > 1
    ]
    return Table("Settings that differ", ["", *(run.name for run in runs)], [rows] if rows else [])


def _flat(run: RunArtefacts) -> dict[str, str]:
    """Return each key with its value in the stage that used it; later stages take precedence."""
    stages = ("classify", "finetune", "traverse", "evaluate")
    configs = [yaml.safe_load(run.configs.get(stage, "")) or {} for stage in stages]
    settings = {key: str(value) for config in configs for key, value in flat(config)}
    return {key: value for key, value in settings.items() if key.split(".")[0] not in INDIFFERENT}


def _sides(runs: Sequence[RunArtefacts], classes: Sequence[str]) -> list[Side]:
    galleries = [(run.name, Gallery(run)) for run in runs]
    found = []
    for cls in classes:
        seeds = [gallery.seeds(cls) for _, gallery in galleries]
        shared = sorted(set(seeds[0]).intersection(*seeds[1:]))
        for seed in shared[:MAX_SEEDS]:
            grids = [(name, g.trajectories(cls, seed, columns=7, change=False)) for name, g in galleries]
            if any(grid.rows for _, grid in grids):
                found.append(Side(f"{words(cls)}, seed {seed}", grids))
    return found
