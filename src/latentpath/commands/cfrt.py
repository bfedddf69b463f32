"""`latentpath cfrt TABLE...`: CFRT of any table of probabilities, ours or the paper's authors'."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from latentpath.errors import UserError

if TYPE_CHECKING:  # pandas takes half a second, and --help is to be fast
    import pandas as pd

    from latentpath.metrics.predictions import Predictions

HELP = """CFRT of tables of probabilities: both definitions, each condition alone, 95 % intervals over seeds.

TABLE is a run's folder or its evaluate/scores.parquet, or CSV files as the paper's authors publish them, one
for each attribute: seed, neutral_hairs, neutral_ink, 5_hairs, 5_ink, ... (hairs_neutral, hairs_5 will do) or
the frames of a curve, 0_hairs, ..., 49_ink. Which attribute such a file was moved toward is read from its
name, as in melanoma_ink_predictions.csv; what else the name says is the class. From one file the released
definition can be computed, from a file toward each attribute the strict one too."""

EXAMPLES = """examples
  latentpath cfrt outputs/demo
  latentpath cfrt sd-latent-traversal/metrics/cfrt/*_predictions.csv
  latentpath cfrt ink.csv ruler.csv --strong 5 10 --threshold 0.6 --json cfrt.json
  latentpath cfrt --attribute ink=run_7.csv --attribute ruler=run_8.csv
"""

SCORES = {"class", "seed", "attribute", "method"}  # what tells our tables from the authors'


def main(argv: Sequence[str]) -> float | None:
    """Print the figures, write them to --json, and return the mean released CFRT of the swaps, if any."""
    args = _parse(argv)
    import pandas as pd

    from latentpath.metrics.published import compare_with_published, verdict
    from latentpath.report.cfrt_grids import print_cfrt

    tables, notes, by_authors = _compute(args)
    every = pd.concat(tables, ignore_index=True)
    comparison = compare_with_published(every) if by_authors or args.compare else pd.DataFrame()
    notes += [verdict(comparison)] if len(comparison) else []
    print_cfrt(tables, comparison, notes, threshold=args.threshold)
    if args.json is not None:
        _write(every, comparison, notes, args)
    mean = every.loc[every["method"] == "swap", "cfrt_released"].mean()
    return None if pd.isna(mean) else float(mean)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        hint = " Tables go before the options." if "invalid int value" in message else ""
        raise UserError(f"cfrt: {message}.{hint} `latentpath cfrt --help` shows the options.")


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = _Parser(
        prog="latentpath cfrt",
        description=HELP,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("tables", nargs="*", metavar="TABLE")
    add("--attribute", action="append", default=[], metavar="NAME=FILE", help="FILE was moved toward NAME")
    add("--threshold", type=float, default=0.5, help="of the hard labels (default 0.5)")
    add(
        "--strong",
        type=int,
        nargs="+",
        metavar="STEP",
        help="swap steps of the strong end (default: a third)",
    )
    add("--strong-frames", type=int, nargs="+", metavar="FRAME", help="of curves (default: the last 40 %%)")
    add("--compare", action="store_true", help="with the paper's figures, for tables of our own too")
    add("--json", type=Path, metavar="OUT", help="write every figure there")
    args = parser.parse_args(list(argv))
    named = [word.partition("=") for word in args.attribute]
    if wrong := [word for word, parts in zip(args.attribute, named, strict=True) if not all(parts)]:
        raise UserError(f"cfrt: --attribute {wrong[0]}: expected NAME=FILE, as in --attribute ink=run_7.csv.")
    args.attribute = {Path(file): name for name, _, file in named}
    args.tables = list(dict.fromkeys([*map(Path, args.tables), *args.attribute]))
    if not args.tables:
        raise UserError("cfrt: expected a table, as in latentpath cfrt outputs/demo.")
    if not 0 <= args.threshold <= 1:
        raise UserError(f"cfrt: --threshold {args.threshold:g}: expected a probability from 0 to 1.")
    return args


def _compute(args: argparse.Namespace) -> tuple[list[pd.DataFrame], list[str], bool]:
    """Return CFRT tables (one per method and source), notes, and whether any file is the authors'."""
    from latentpath.metrics.predictions import as_predictions
    from latentpath.metrics.predictions_cfrt import cfrt_of_predictions, neutral_faults, scope

    tables: list[pd.DataFrame] = []
    notes: list[str] = []
    files: list[Predictions] = []
    for path in args.tables:
        path, frame = _read(path)
        if frame.columns.isin(SCORES).sum() == len(SCORES):
            tables += _of_scores(frame, path, args)
            if not any(str(column).startswith("class_prob_") for column in frame):
                notes.append(f"{path}: no class scores, so strict goes without 'class kept'.")
        else:
            files.append(as_predictions(frame, str(path), args.attribute.get(path)))
            _refuse_twice(files)
    for method in dict.fromkeys(file.method for file in files):
        group = [file for file in files if file.method == method]
        asked = args.strong if method == "swap" else args.strong_frames
        tables.append(cfrt_of_predictions(group, asked, threshold=args.threshold))
        tables[-1]["source"] = "prediction files"
    notes += neutral_faults(files) + scope(files)
    return tables, notes, bool(files)


def _of_scores(scores: pd.DataFrame, path: Path, args: argparse.Namespace) -> list[pd.DataFrame]:
    import pandas as pd

    from latentpath.metrics.scored import Scored
    from latentpath.metrics.tables import cfrt_table

    heads = [str(c).removeprefix("prob_") for c in scores if str(c).startswith("prob_")]
    scored = [str(c).removeprefix("class_prob_") for c in scores if str(c).startswith("class_prob_")]
    there = list(dict.fromkeys(scores["class"]))
    for column in (c for c in scores if str(c).startswith(("prob_", "class_prob_"))):
        values = pd.to_numeric(scores[column], errors="coerce")
        if (wrong := scores[column].notna() & ~values.between(0, 1)).any():
            at = int(wrong.to_numpy().argmax())
            raise UserError(
                f"{path}, row {at + 1}, column {column}: expected a probability from 0 to 1, or nothing; "
                f"found {str(scores[column].iloc[at])!r}."
            )
    framed = scores["frame"].notna() if "frame" in scores else pd.Series(False, index=scores.index)
    methods = list(dict.fromkeys(scores.loc[(scores["method"] == "swap") | framed, "method"]))
    if not heads or not methods:
        raise UserError(
            f"{path}: expected columns prob_<attribute>, and rows with the method 'swap' or the frames of a "
            f"curve; the columns are {', '.join(map(str, scores.columns))}."
        )
    tables = []
    for method in methods:
        asked = args.strong if method == "swap" else args.strong_frames
        moved = set(scores.loc[scores["method"] == method, "attribute"])
        # without a class decision each class stands alone, and the condition on it falls away
        groups = (
            [[cls for cls in scored if cls in there]] if set(there) <= set(scored) else [[c] for c in there]
        )
        try:
            parts = [
                cfrt_table(Scored(scores, heads, group, args.threshold), method, asked) for group in groups
            ]
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
        table = pd.concat(parts, ignore_index=True)
        tables.append(table[table["attribute"].isin(moved)].assign(source=str(path)))
    return tables


def _refuse_twice(files: list[Predictions]) -> None:
    *others, file = files
    for other in others:
        if (other.cls, other.attribute, other.method) == (file.cls, file.attribute, file.method):
            raise UserError(
                f"{other.file} and {file.file} both say: method {file.method}, class {file.cls or '(none)'}, "
                f"toward {file.attribute}. Give one of them, or files whose names tell their classes apart."
            )


def _read(path: Path) -> tuple[Path, pd.DataFrame]:
    """Read the table at `path`, or a run's scores; a CSV may use semicolons and end with empty lines."""
    import pandas as pd

    if path.is_dir():
        path = path / "evaluate" / "scores.parquet"
    if not path.is_file():
        raise UserError(f"cfrt: no file {path}.")
    try:
        if path.suffix == ".parquet":
            return path, pd.read_parquet(path)
        with path.open(encoding="utf-8-sig") as file:
            header = file.readline()
        separator = ";" if header.count(";") > header.count(",") else ","
        table = pd.read_csv(
            path, sep=separator, encoding="utf-8-sig", skip_blank_lines=False, low_memory=False
        )
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as a table: {error}") from None
    filled = table.notna().any(axis=1).to_numpy().nonzero()[0]
    if not len(filled):
        raise UserError(f"{path}: there is no row below the header.")
    return path, table.iloc[: filled[-1] + 1]


def _write(table: pd.DataFrame, comparison: pd.DataFrame, notes: list[str], args: argparse.Namespace) -> None:
    def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
        return [{str(k): None if v != v else v for k, v in row.items()} for row in frame.to_dict("records")]

    content = {"threshold": args.threshold, "cfrt": records(table)}
    content |= {"published": records(comparison), "notes": notes}
    try:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(content, indent=1) + "\n")
    except OSError as error:
        raise UserError(f"--json {args.json} cannot be written: {error.strerror}.") from None
