"""Prints the tables of `latentpath power` on the terminal."""

import pandas as pd
from rich.console import Console

from latentpath.metrics.measures import figure
from latentpath.report.cells import Cell, Table, count, header, number
from latentpath.report.terminal import print_table


def print_seeds(table: pd.DataFrame, run: str, half_width: float) -> None:
    """Print `metrics.precision.seeds_table` of one run."""
    head = ["figure", "mean", "95 % ±", "seeds", "needed", "needed by the hardest cell", "which is"]
    group = [
        [
            header(figure(row["figure"]).label),
            *(number(row[key], "undefined", digits=3) for key in ("value", "half_width")),
            *(count(row[key]) for key in ("seeds", "needed", "cell_needed")),
            Cell(row["cell"]),
        ]
        for row in table.to_dict("records")
    ]
    print_table(Table(f"{run}: seeds needed for ±{half_width:g}", head, [group]), columns=160)
    Console().print(
        "Seeds cannot narrow what another training of the model or of the judge would change: give several "
        "runs of one configuration to see how much that is."
    )


def print_variance(table: pd.DataFrame) -> None:
    """Print `metrics.precision.variance_table` of several runs."""
    first = table.iloc[0]
    caption = f"{first['runs']} trainings x {first['judges']} judges x {first['seeds']} seeds"
    keys = {"value": "mean", "sd_run": "sd training", "sd_judge": "sd judge", "sd_seed": "sd seed"}
    keys |= {"sd_rest": "sd rest", "share_run": "share training", "share_judge": "share judge"}
    keys |= {"share_seed": "share seeds", "half_width": "±, one of each", "endless": "±, endless seeds"}
    group = [
        [header(figure(row["figure"]).label), *(number(row[key], "not varied", digits=3) for key in keys)]
        for row in table.to_dict("records")
    ]
    print_table(Table(caption, ["figure", *keys.values()], [group]), columns=160)
    Console().print(
        "Shares are of the variance that the figure of one training, one judge and these seeds has. Two or "
        "three trainings tell a standard deviation only roughly."
    )
