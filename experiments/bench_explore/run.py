"""Time moves of the explorer's slider against a full run of the edited image.

    python experiments/bench_explore/run.py outputs/demo

A move at swap step s samples the last N - s steps; at s = 0 these are all N, a full run. Each move also
decodes two images and asks the judge. Moves are timed in rounds, each of which makes every move once, after a
first round that samples the trunk and is not timed. Time is that of the processor, which other work on the
machine changes little; with OMP_NUM_THREADS=1 it is the time that a user waits on an idle machine. Writes
results/moves.csv beside this file.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from pathlib import Path
from statistics import median

import pandas as pd
from rich.console import Console
from rich.progress import track

from latentpath.explore.explorer import Choice
from latentpath.explore.opening import open_run

RESULTS = Path(__file__).resolve().parent / "results" / "moves.csv"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    table = moves(args.run, args.rounds)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(args.out, index=False)
    Console().print(table.to_string(index=False), soft_wrap=True)


def moves(run_dir: Path, rounds: int) -> pd.DataFrame:
    """Return a row for each swap step: U-Net rows and CPU seconds of a move, and shares of a full run."""
    explorer = open_run(run_dir)
    n = explorer.steps
    steps = [0, n // 4, n // 2, 3 * n // 4, n - 1, n]
    rows: dict[int, int] = {}
    seconds: dict[int, list[float]] = defaultdict(list)
    for number in track(range(rounds + 1), "moving the slider", transient=True):
        for step in steps:
            choice = Choice(explorer.plan.classes[0], explorer.attributes[0], swap_step=step)
            began = time.process_time()
            rows[step] = explorer.edit(choice).rows  # of the first round with the trunk, later without
            if number:
                seconds[step].append(time.process_time() - began)
    medians = {step: median(values) for step, values in seconds.items()}
    return pd.DataFrame(
        {
            "swap step": [f"{step} of {n}" for step in steps],
            "U-Net rows": [rows[step] for step in steps],
            "share of a full run": [rows[step] / rows[0] for step in steps],
            "CPU seconds": [medians[step] for step in steps],
            "share of its time": [medians[step] / medians[0] for step in steps],
            "rounds": rounds,
        }
    )


if __name__ == "__main__":
    main()
