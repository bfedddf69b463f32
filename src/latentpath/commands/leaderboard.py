"""`latentpath leaderboard RUN...`: rank methods by what else they change, at equal effect."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, cast

from latentpath.commands.arguments import Arguments
from latentpath.config.written import Json
from latentpath.errors import UserError

if TYPE_CHECKING:  # pandas takes half a second, and --help is to be fast
    import pandas as pd

    from latentpath.report.artefacts import RunArtefacts
    from latentpath.report.leaderboard import Board

HELP = """Rank methods by what else they change at equal effect, with the command that makes each row again.

RUN is the folder of an evaluated run with two or more methods, such as method=[swap,contrast,fcfg]. Runs with
the same neutral images and the same judge are put on one board, so further methods can be added by further
runs (from_run=...). Every other run gets its own board.

Each method is swept over its dial and the swap steps. Its leak at an effect of 50 % is the least change of
other decisions with which it brings the attribute in on half of the seeds that lack it, over all its settings
and their mixtures. experiments/leaderboard/RULES.md says what an entry needs."""

EXAMPLES = """examples
  latentpath leaderboard outputs/leaderboard_phantoms
  latentpath leaderboard outputs/swap_and_fcfg outputs/mine --out leaderboard
"""

# Of probabilities, where the same images were sampled in batches of other sizes; others differ by far more.
ROUNDING = 1e-3


def main(argv: Sequence[str]) -> None:
    """Print the boards, and write leaderboard.md, leaderboard.html and a CSV for each board."""
    args = _parse(argv)
    from latentpath.report.leaderboard import board_table, write_leaderboards
    from latentpath.report.leaderboard_grid import print_board

    boards = _boards(args.runs)
    for board in boards:
        print_board(board, board_table(board))
    command = shlex.join(["latentpath", "leaderboard", *(run.name for run in args.runs)])
    written = write_leaderboards(boards, args.out, command)
    print("wrote", ", ".join(str(file) for file in written))


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = Arguments("leaderboard", HELP, EXAMPLES)
    parser.add_runs()
    parser.add_argument(
        "--out", type=Path, default=Path("leaderboard"), help="folder of the tables (default leaderboard)"
    )
    args = parser.parse_args(list(argv))
    args.runs = [run.expanduser() for run in args.runs]
    parser.check_runs(args.runs)
    return args


def _boards(folders: Sequence[Path]) -> list[Board]:
    """Read the runs, and put those with the same neutral images and judge on one board."""
    from latentpath.keys import IMAGE_KEY
    from latentpath.report.artefacts import read_run
    from latentpath.runs.files import read_parquet

    runs, tables, boards = [], [], []
    for k, folder in enumerate(folders):
        runs.append(read_run(folder))
        tables.append(read_parquet(folder / "evaluate" / "scores.parquet", needs=IMAGE_KEY))
        for of in boards:
            if runs[of[0]].threshold == runs[k].threshold and _same(tables[of[0]], tables[k]):
                of.append(k)
                break
        else:
            boards.append([k])
    return [_board([folders[i] for i in of], [runs[i] for i in of], [tables[i] for i in of]) for of in boards]


def _same(scores: pd.DataFrame, others: pd.DataFrame) -> bool:
    """Return whether two runs have the same judged neutral images, up to the rounding of other batches."""
    import numpy as np

    from latentpath.keys import FINETUNED

    def neutral(rows: pd.DataFrame) -> pd.DataFrame:
        judged = sorted(str(c) for c in rows if str(c).startswith(("prob_", "class_prob_")))
        rows = rows[(rows["method"] == "neutral") & (rows["model"] == FINETUNED)]
        return rows.set_index(["class", "seed"])[judged].astype("float64").sort_index()

    a, b = neutral(scores), neutral(others)
    if not (a.index.equals(b.index) and a.columns.equals(b.columns)):
        return False
    return np.allclose(a, b, rtol=0, atol=ROUNDING, equal_nan=True)


def _board(folders: Sequence[Path], runs: Sequence[RunArtefacts], tables: Sequence[pd.DataFrame]) -> Board:
    import pandas as pd

    from latentpath.keys import IMAGE_KEY
    from latentpath.metrics.front_table import front_tables
    from latentpath.metrics.leaderboard import leaderboard
    from latentpath.metrics.scored import Scored
    from latentpath.report.fronts import charts_of
    from latentpath.report.leaderboard import Board
    from latentpath.runs.masking import paths_in

    first, name = runs[0], " + ".join(run.name for run in runs)
    scores = pd.concat(tables, ignore_index=True).drop_duplicates(IMAGE_KEY)
    if "placebo" not in set(scores["method"]):
        raise _without_placebo(first.name, name, _config(folders[0]))
    scored = Scored(
        scores, first.metrics["heads"], first.classes, first.threshold, resamples=first.metrics["resamples"]
    )
    try:
        table = leaderboard(scored)
    except UserError as error:
        raise UserError(f"leaderboard: {name}: {error}") from None
    costs = {
        method: cost
        for run, rows in zip(runs, tables, strict=True)
        for method, cost in _costs(run, rows).items()
    }
    for column in ("unet_rows", "seconds"):
        table[column] = [costs.get(method, {}).get(column) for method in table["method"]]
    _, fronts = front_tables(scored, resamples=0)
    commands, secret = {}, []
    for folder, run, rows in zip(folders, runs, tables, strict=True):
        there = [method for method in table["method"] if method in set(rows["method"])]
        config = _config(folder)
        if config is not None:
            commands |= _commands(run.name, config, there)
            secret += paths_in([config])
    return Board(
        name,
        table,
        _facts(runs, scores),
        _notes(table),
        charts_of(fronts, first.classes),
        commands,
        secret,
    )


def _config(folder: Path) -> Json | None:
    """The configuration that evaluated a run; None if a version with other settings wrote it."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from latentpath.config.schema import Config
    from latentpath.runs.files import read_yaml

    try:
        config = OmegaConf.merge(OmegaConf.structured(Config), read_yaml(folder / "evaluate" / "config.yaml"))
    except OmegaConfBaseException:
        return None
    return cast(Json, OmegaConf.to_container(config, enum_to_str=True))


def _commands(name: str, config: Json, methods: Sequence[str]) -> dict[str, str]:
    """Return, per method of the run `name`, the command that makes its row again: the run with it alone."""
    from latentpath.config.recipe import nearest_experiment, of_method, recipe

    experiment, found = nearest_experiment(config), {}
    for method in methods:
        overrides = recipe(of_method(config, method), experiment)
        named = [f"name={name}_{method}", f"from_run={name}"]
        found[method] = shlex.join(["latentpath", "run", *overrides, *named])
    return found


def _without_placebo(first: str, board: str, config: Json | None) -> UserError:
    """The refusal of runs that have no placebo, with the command that adds one to the `first` of them."""
    from latentpath.config.methods import PlaceboConfig

    if config is None:
        how = "Traverse again with method=[swap,placebo,...]."
    else:
        method = {**config["method"], "placebo": asdict(PlaceboConfig(swept=True))}
        command = _commands(first, {**config, "method": method}, ["placebo"])["placebo"]
        how = f"Sample it, and give {first}_placebo beside {board}:\n{command}"
    return UserError(
        f"leaderboard: {board} has no placebo (the neutral caption in other words), and methods are ranked "
        f"by what they change beyond it. {how}"
    )


def _costs(run: RunArtefacts, scores: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Return, per method, the U-Net rows of an image and its seconds: the sweep's, shared by rows."""
    from latentpath.keys import FINETUNED

    rows: dict[str, int] = dict(run.plan.get("rows_per_seed_alone", {}))
    seconds, samples = run.manifests.get("traverse", {}).get("seconds"), len(run.classes) * run.seeds
    found: dict[str, dict[str, float]] = {}
    for method, images in scores.loc[scores["model"] == FINETUNED, "method"].value_counts().items():
        if method in rows and images and samples:
            an_image = rows[str(method)] * samples / images
            found[str(method)] = {"unet_rows": an_image}
            if seconds:
                found[str(method)]["seconds"] = seconds / samples / sum(rows.values()) * an_image
    return found


def _facts(runs: Sequence[RunArtefacts], scores: pd.DataFrame) -> dict[str, str]:
    judge = runs[0].classification.get("test") or {}
    accuracy = [
        f"{head} {judge[head]['accuracy']:.2f}"
        for head in runs[0].heads
        if isinstance(judge.get(head), dict) and judge[head].get("accuracy") is not None
    ]
    versions = runs[0].manifests.get("evaluate", {}).get("versions", {})
    return {
        "runs": ", ".join(run.name for run in runs),
        "classes": ", ".join(runs[0].classes),
        "attributes": ", ".join(runs[0].attributes),
        "seeds": f"{scores['seed'].nunique()} a class",
        "swap steps": f"{', '.join(map(str, sorted(runs[0].swap_steps)))} of {runs[0].num_inference_steps}",
        "judge": f"accuracy on held-out images: {', '.join(accuracy)}" if accuracy else "not recorded",
        "threshold": f"{runs[0].threshold:g}",
        "latentpath": str(versions.get("latentpath", "not recorded")),
    }


def _notes(table: pd.DataFrame) -> list[str]:
    """Warn where methods have different numbers of settings: the best of more settings looks better."""
    counts = dict(zip(table["method"], table["settings"], strict=True))
    if len(set(counts.values())) == 1:
        return []
    named = ", ".join(f"{method} {count}" for method, count in counts.items())
    return [
        f"The methods have different numbers of settings ({named}). The best of more settings looks better "
        "than it is, so compare methods with equally many before you name a winner."
    ]
