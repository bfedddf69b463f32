"""`latentpath info`: show what a data set holds, as the other commands will see it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from latentpath.config.choices import OnError
from latentpath.config.schema import Config
from latentpath.data.image_file import check_header
from latentpath.data.images import cores, unreadable_files
from latentpath.data.load import load_dataset
from latentpath.data.records import NAMED, SPLITS, ImageTable, Problem, by_kind, report_problems
from latentpath.errors import UserError

OPENED = 5000  # largest number of images to open: on a network disk each takes milliseconds
CAPTIONS_SHOWN = 4  # most frequent captions per class


def run(cfg: Config, run_dir: Path) -> None:
    """Print what `dataset` holds: counts by class, split and attribute, captions, and rows left out.

    It writes nothing; `run_dir` is not used. It reads the headers of at most OPENED images. Raises UserError
    if the data set cannot be loaded, if no opened image can be read, and with `dataset.on_error=fail` if any
    cannot.
    """
    table = load_dataset(cfg.dataset, plugins=cfg.plugins)
    opened, unreadable = look_at_images(table)
    if len(unreadable) == opened:
        raise UserError(f"none of {opened:,} images that were opened can be read, such as: {unreadable[0]}")
    if cfg.dataset.on_error == OnError.fail:
        report_problems(unreadable, OnError.fail)
    console = Console()
    console.print(_counts(table))
    console.print(_captions(table))
    if table.problems:
        console.print(_left_out(table.problems))
    console.print(
        f"{opened:,} of {len(table.rows):,} images opened: {len(unreadable):,} cannot be read"
        + "".join(f"\n    {problem}" for problem in unreadable[:NAMED]),
        markup=False,
    )


def look_at_images(table: ImageTable) -> tuple[int, list[Problem]]:
    """Read the headers of at most OPENED images, spread over the table; return their number and faults."""
    paths = table.rows["path"].iloc[:: -(-len(table.rows) // OPENED)].tolist()
    with ThreadPoolExecutor(cores()) as pool:
        return len(paths), unreadable_files(paths, list(pool.map(check_header, paths)))


def _counts(table: ImageTable) -> Table:
    rows = table.rows
    grid = Table(title=f"{len(rows):,} images, {rows['group'].nunique():,} groups", title_justify="left")
    grid.add_column(" / ".join(SPLITS))
    for cls in table.classes:
        grid.add_column(escape(cls), justify="right")
    parts = [
        [rows[(rows["cls"] == cls) & (rows["split"] == split)] for split in SPLITS] for cls in table.classes
    ]

    def add(name: str, count: Callable[[pd.DataFrame], int], end_section: bool = False) -> None:
        grid.add_row(
            escape(name),
            *(" / ".join(f"{count(part):,}" for part in of_class) for of_class in parts),
            end_section=end_section,
        )

    attributes = list(table.attributes)
    add("images", len)
    add("groups", lambda part: part["group"].nunique(), end_section=True)
    for name in attributes:
        add(name, lambda part, name=name: (part[name] == 1).sum())
        if rows[name].isna().any():
            add(f"{name} not known", lambda part, name=name: part[name].isna().sum())
    add("none of these", lambda part: (part[attributes] == 0).all(axis=1).sum())
    if not (captioned := table.is_captioned(rows)).all():
        add("not known whether any", lambda part: (~captioned[part.index]).sum())
    return grid


def _captions(table: ImageTable) -> Table:
    grid = Table(title="captions, the most frequent of each class", title_justify="left")
    grid.add_column("images", justify="right")
    grid.add_column("caption")
    rows = table.rows[table.is_captioned(table.rows)]  # the others are left out of the fine-tune
    captions = table.captions_of(rows)
    for cls in table.classes:
        counted = Counter(text for text, own in zip(captions, rows["cls"], strict=True) if own == cls)
        for text, count in counted.most_common(CAPTIONS_SHOWN):
            grid.add_row(f"{count:,}", escape(text))
    return grid


def _left_out(problems: tuple[Problem, ...]) -> Table:
    grid = Table(title="rows left out", title_justify="left")
    grid.add_column("rows", justify="right")
    grid.add_column("why, and the first of them", overflow="fold")
    for (kind, file), found in by_kind(problems).items():
        why = kind if found[0].fault else f"{kind}, on purpose"
        grid.add_row(
            f"{sum(p.count for p in found):,}",
            f"{escape(why)}\n[dim]{escape(f'{Path(file).name} {found[0]}')}[/dim]",
        )
    return grid
