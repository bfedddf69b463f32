"""Prints the tables of `latentpath power` on the terminal."""

import pandas as pd
from rich.markup import escape
from rich.table import Table

from latentpath.metrics.measures import figure
from latentpath.report.terminal import wide_console


def print_seeds(table: pd.DataFrame, run: str, half_width: float) -> None:
    """Print `metrics.precision.seeds_table` of one run."""
    grid = Table(title=escape(f"{run}: seeds needed for ±{half_width:g}"), title_justify="left")
    grid.add_column("figure")
    for name in ("mean", "95 % ±", "seeds", "needed", "needed by the hardest cell", "which is"):
        grid.add_column(name, justify="right")
    for row in table.to_dict("records"):
        grid.add_row(
            figure(row["figure"]).label,
            *(_number(row[key]) for key in ("value", "half_width")),
            *(_count(row[key]) for key in ("seeds", "needed", "cell_needed")),
            escape(row["cell"]),
        )
    wide_console(140).print(grid)
    wide_console(140).print(
        "Seeds cannot narrow what another training of the model or of the judge would change: give several "
        "runs of one configuration to see how much that is."
    )


def print_variance(table: pd.DataFrame) -> None:
    """Print `metrics.precision.variance_table` of several runs."""
    first = table.iloc[0]
    title = f"{first['runs']} trainings x {first['judges']} judges x {first['seeds']} seeds"
    grid = Table(title=title, title_justify="left")
    grid.add_column("figure")
    heads = ("mean", "sd training", "sd judge", "sd seed", "sd rest")
    heads += ("share training", "share judge", "share seeds", "±, one of each", "±, endless seeds")
    for name in heads:
        grid.add_column(name, justify="right")
    for row in table.to_dict("records"):
        values = [row[key] for key in ("value", "sd_run", "sd_judge", "sd_seed", "sd_rest")]
        shares = [row[f"share_{key}"] for key in ("run", "judge", "seed")]
        grid.add_row(
            figure(row["figure"]).label,
            *map(_number, values),
            *("–" if share != share else f"{share:.0%}" for share in shares),
            *(_number(row[key]) for key in ("half_width", "endless")),
        )
    wide_console(140).print(grid)
    wide_console(140).print(
        "Shares are of the variance that the figure of one training, one judge and these seeds has; – was "
        "not varied. Two or three trainings tell a standard deviation only roughly."
    )


def _number(value: float) -> str:
    return "–" if value != value else f"{value:.3f}"


def _count(value: object) -> str:
    return "–" if pd.isna(value) else f"{value:,}"  # pyright: ignore[reportArgumentType, reportGeneralTypeIssues, reportCallIssue]
