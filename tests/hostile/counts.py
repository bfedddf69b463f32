"""Writes the counts of runs of `make test-hostile` into docs/promises.md, a column for each seed.

`python tests/hostile/counts.py outputs/hostile_1.json outputs/hostile_2.json outputs/hostile_3.json`
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs" / "promises.md"
BEGIN, END = "<!-- counts -->", "<!-- end of counts -->"


def with_counts(page: str, runs: Sequence[dict[str, Any]]) -> str:
    """Return the page with the counts of `runs` between its two marks. Raises ValueError for a failed run."""
    if failed := [run["seed"] for run in runs if not run["passed"]]:
        raise ValueError(f"the run with seed {failed[0]} did not pass, so its counts say nothing")
    before, _, rest = page.partition(BEGIN)
    kinds = list(dict.fromkeys(kind for run in runs for kind in run["inputs"]))
    rows = [(kind, [run["inputs"].get(kind, 0) for run in runs]) for kind in kinds]
    rows.append(("all", [sum(run["inputs"].values()) for run in runs]))
    lines = [f"| {kind} | {' | '.join(f'{count:,}' for count in counts)} |" for kind, counts in rows]
    seeds = " | ".join(f"seed {run['seed']}" for run in runs)
    table = "\n".join([f"| inputs | {seeds} |", f"|---|{'---:|' * len(runs)}", *lines])
    commands = "\n".join(run["command"] for run in runs)
    return f"{before}{BEGIN}\n```\n{commands}\n```\n\n{table}\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    runs = [json.loads(Path(file).read_text()) for file in sys.argv[1:]]
    PAGE.write_text(with_counts(PAGE.read_text(), runs))
