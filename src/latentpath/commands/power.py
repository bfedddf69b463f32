"""`latentpath power RUN...`: how precise a run's figures are, and what would make them more precise."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from latentpath.commands.arguments import Arguments
from latentpath.errors import UserError

if TYPE_CHECKING:  # pandas takes half a second, and --help is to be fast
    import pandas as pd

HELP = """Say how many seeds the figures need, and how far another training would move them.

For one evaluated run it prints the half-width of each figure's 95 % interval over seeds, and how many seeds
would give the half-width --half-width: for the mean over classes and attributes, and for the pair of them
that needs most.

For several runs of one configuration, which differ in their seed, their classifier or both, it prints how
much of each figure's variance comes from the training, the judge and the seeds of the images. Every seed must
have been run with every classifier. If the runs differ in their seed alone, the judge was trained again in
each, so "training" includes the judge."""

EXAMPLES = """examples
  latentpath power outputs/demo --half-width 0.05
  latentpath run experiment=demo -m seed=0,1,2 classifier=resnet_micro,efficientnet_tiny name=study
  latentpath power outputs/study/*/ --json variance.json
"""


def main(argv: Sequence[str]) -> None:
    """Print one table, of one run or of several, and write it to --json if asked for."""
    args = _parse(argv)
    from latentpath.metrics.precision import seeds_table, variance_table
    from latentpath.report.power_grids import print_seeds, print_variance
    from latentpath.runs.files import records_of, write_json

    if len(args.runs) == 1:
        table = seeds_table(_of_seeds(args.runs[0]), args.half_width)
        print_seeds(table, args.runs[0].absolute().name, args.half_width)
    else:
        table = variance_table(_crossed(args.runs))
        if table.empty:
            raise UserError(
                "power: no figure has a value for the same seeds in all of these runs, so its variance is "
                "unknown. Give runs with more seeds."
            )
        print_variance(table)
    if args.json is not None:
        write_json(args.json, {"half_width": args.half_width, "figures": records_of(table)})


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = Arguments("power", HELP, EXAMPLES)
    parser.add_runs()
    parser.add_argument("--half-width", type=float, default=0.05, help="of the interval (default 0.05)")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the table there")
    args = parser.parse_args(list(argv))
    parser.check_runs(args.runs)
    if not 0 < args.half_width < 1:
        raise UserError(f"power: --half-width {args.half_width:g}: expected a number between 0 and 1.")
    return args


def _of_seeds(run: Path) -> pd.DataFrame:
    from latentpath.metrics.tables import OF_SEEDS
    from latentpath.runs.files import read_parquet

    file = run / "evaluate" / "seeds.parquet"
    if not file.is_file():
        raise UserError(f"power: no {file}: run `latentpath evaluate` for this run first.")
    table = read_parquet(file, needs=OF_SEEDS)
    if table["value"].isna().all():
        raise UserError(
            f"power: {file} has no figure with a value, so there is no precision to speak of. The note below "
            "the table of `latentpath evaluate` says why each figure is undefined."
        )
    return table


def _crossed(runs: Sequence[Path]) -> dict[tuple[str, str], pd.DataFrame]:
    """Return (seed of the training, judge) -> the figures of each seed; UserError if they do not fit."""
    found: dict[tuple[str, str], pd.DataFrame] = {}
    settings = [_settings(run) for run in runs]
    first = settings[0]
    for run, of_run in zip(runs, settings, strict=True):
        differ = sorted(key for key in {*first, *of_run} if first.get(key) != of_run.get(key))
        if others := [key for key in differ if not _may_differ(key)]:
            key = others[0]
            raise UserError(
                f"power: {runs[0]} and {run} differ in {key} ({first.get(key)} and {of_run.get(key)}). Give "
                "runs that differ in their seed or their classifier only."
            )
    varied = [key for key in first if len({str(of_run.get(key)) for of_run in settings}) > 1]
    for run, of_run in zip(runs, settings, strict=True):
        seed, judge = str(of_run["seed"]), ", ".join(f"{k}={of_run[k]}" for k in varied if k != "seed")
        if (seed, judge) in found:
            raise UserError(f"power: {run} has the seed {seed} and the classifier of another run: give one.")
        found[seed, judge] = _of_seeds(run)
    seeds, judges = (list(dict.fromkeys(key[i] for key in found)) for i in (0, 1))
    if lacking := [(seed, judge) for seed in seeds for judge in judges if (seed, judge) not in found]:
        raise UserError(
            f"power: there is no run with seed={lacking[0][0]}, {lacking[0][1]}. Every seed must have been "
            "run with every classifier."
        )
    return found


def _may_differ(key: str) -> bool:
    return key == "seed" or key.startswith("classifier.")


def _settings(run: Path) -> dict[str, object]:
    """Return what the stages of a run were decided by: setting -> value, without what changes no figure."""
    from latentpath.config.schema import Config
    from latentpath.runs.files import read_json, read_yaml
    from latentpath.runs.stages import stage_dir

    config = read_yaml(run / "evaluate" / "config.yaml")
    where = Config(from_run=config.get("from_run"), output_dir=config.get("output_dir", "."))
    settings: dict[str, object] = {}
    for stage in ("evaluate", "traverse", "finetune", "classify"):
        manifest = read_json(stage_dir(run, stage, where) / "manifest.json", keys=("config",))
        settings |= manifest["config"]
    ignored = ("metric.tsne", "metric.examples", "metric.against_data", "metric.features", "dataset.root")
    return {key: value for key, value in settings.items() if key not in ignored}
