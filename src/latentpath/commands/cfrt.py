"""`latentpath cfrt TABLE...`: CFRT of any table of probabilities, ours or the paper's authors'."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from latentpath.commands.arguments import Arguments
from latentpath.errors import UserError
from latentpath.runs.files import records_of, write_json

if TYPE_CHECKING:  # pandas takes half a second, and --help is to be fast
    import pandas as pd

HELP = """Compute CFRT from tables of probabilities: both definitions, each condition alone, 95 % intervals.

TABLE is the folder of a run or its evaluate/scores.parquet, or a CSV file as the paper's authors publish
them, one for each attribute. Its columns are seed, neutral_hairs, neutral_ink, 5_hairs, 5_ink, ... (or
hairs_neutral, hairs_5), or the frames of a curve, 0_hairs, ..., 49_ink. The name of such a file tells the
attribute that its images were edited toward, as in melanoma_ink_predictions.csv; the rest of the name is the
class. One file gives the released definition; the strict one needs a file for each attribute."""

EXAMPLES = """examples
  latentpath cfrt outputs/demo
  latentpath cfrt sd-latent-traversal/metrics/cfrt/*_predictions.csv
  latentpath cfrt ink.csv ruler.csv --strong 5 10 --threshold 0.6 --json cfrt.json
  latentpath cfrt --attribute ink=run_7.csv --attribute ruler=run_8.csv
"""


def main(argv: Sequence[str]) -> float | None:
    """Print the figures, write them to --json, and return the mean released CFRT of the swaps, if any."""
    args = _parse(argv)
    import pandas as pd

    from latentpath.evaluation.score_files import cfrt_of_files
    from latentpath.metrics.published import compare_with_published, verdict
    from latentpath.report.cfrt_grids import print_cfrt

    strong = {"swap": args.strong, "curve": args.strong_frames}
    tables, notes, by_authors = cfrt_of_files(args.tables, args.attribute, strong, threshold=args.threshold)
    every = pd.concat(tables, ignore_index=True)
    comparison = compare_with_published(every) if by_authors or args.compare else pd.DataFrame()
    notes += [verdict(comparison)] if len(comparison) else []
    print_cfrt(tables, comparison, notes, threshold=args.threshold)
    if args.json is not None:
        _write(every, comparison, notes, args)
    mean = every.loc[every["method"] == "swap", "cfrt_released"].mean()
    return None if pd.isna(mean) else float(mean)


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = Arguments("cfrt", HELP, EXAMPLES)
    add = parser.add_argument
    add("tables", nargs="*", metavar="TABLE")
    add("--attribute", action="append", default=[], metavar="NAME=FILE", help="FILE was moved toward NAME")
    add("--threshold", type=float, default=0.5, help="of the hard labels (default 0.5)")
    strong = "swap steps of the strong end (default: a third)"
    add("--strong", type=int, nargs="+", metavar="STEP", help=strong)
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


def _write(table: pd.DataFrame, comparison: pd.DataFrame, notes: list[str], args: argparse.Namespace) -> None:
    content = {"threshold": args.threshold, "cfrt": records_of(table)}
    write_json(args.json, content | {"published": records_of(comparison), "notes": notes})
