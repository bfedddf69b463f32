"""Computes CFRT from files of scores: a run's own, or those that the paper's authors publish."""

from __future__ import annotations

import io
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from latentpath.data.read_table import decoded
from latentpath.errors import UserError
from latentpath.metrics.predictions import Predictions, as_predictions
from latentpath.metrics.predictions_cfrt import cfrt_of_predictions, neutral_faults, scope
from latentpath.metrics.scored import Scored
from latentpath.metrics.tables import cfrt_table
from latentpath.runs.digests import MANIFEST
from latentpath.runs.files import parquet_table, read_parquet

SCORES = {"class", "seed", "attribute", "method"}  # what tells our tables from the authors'


def cfrt_of_files(
    paths: Sequence[Path],
    attributes: Mapping[Path, str],
    strong: Mapping[str, Sequence[int] | None],
    *,
    threshold: float,
) -> tuple[list[pd.DataFrame], list[str], bool]:
    """Return CFRT tables (one per method and source), notes, and whether any file is the authors'.

    attributes: what a file was moved toward, where its name does not say it. strong: the swap steps ("swap")
    and the frames ("curve") of the strong end, None for the defaults. Raises UserError that names a file, and
    where it can the row, the column and the value.
    """
    tables: list[pd.DataFrame] = []
    notes: list[str] = []
    files: list[Predictions] = []
    for place in paths:
        path, frame = read_scores(place)
        if frame.columns.isin(SCORES).sum() == len(SCORES):
            tables += _of_scores(frame, path, strong, threshold)
            if not any(str(column).startswith("class_prob_") for column in frame):
                notes.append(f"{path}: no class scores, so strict goes without 'class kept'.")
        else:
            files.append(as_predictions(frame, str(path), attributes.get(place)))
            _refuse_twice(files)
    for method in dict.fromkeys(file.method for file in files):
        group = [file for file in files if file.method == method]
        tables.append(cfrt_of_predictions(group, _asked(strong, method), threshold=threshold))
        tables[-1]["source"] = "prediction files"
    notes += neutral_faults(files) + scope(files)
    return tables, notes, bool(files)


def _asked(strong: Mapping[str, Sequence[int] | None], method: str) -> Sequence[int] | None:
    return strong["swap" if method == "swap" else "curve"]


def _of_scores(
    scores: pd.DataFrame, path: Path, strong: Mapping[str, Sequence[int] | None], threshold: float
) -> list[pd.DataFrame]:
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
    for column in ("class", "seed", "method"):
        if (empty := scores[column].isna()).any():
            raise UserError(f"{path}, row {int(empty.to_numpy().argmax()) + 1}: there is no {column}.")
    for column in (c for c in ("seed", "swap_step", "frame") if c in scores):
        whole = pd.to_numeric(scores[column], errors="coerce")
        if (wrong := scores[column].notna() & ~(whole % 1 == 0)).any():
            at = int(wrong.to_numpy().argmax())
            raise UserError(
                f"{path}, row {at + 1}, column {column}: expected a whole number, found "
                f"{str(scores[column].iloc[at])!r}."
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
        asked, moved = _asked(strong, method), set(scores.loc[scores["method"] == method, "attribute"])
        # without class decisions each class is taken alone, and the class condition is left out
        groups = (
            [[cls for cls in scored if cls in there]] if set(there) <= set(scored) else [[c] for c in there]
        )
        try:
            parts = [cfrt_table(Scored(scores, heads, group, threshold), method, asked) for group in groups]
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


def read_scores(path: Path) -> tuple[Path, pd.DataFrame]:
    """Read the table at `path`, or a run's scores, and return its file and the table.

    A CSV may use semicolons and end with empty lines.
    """
    if path.is_dir():
        path = path / "evaluate" / "scores.parquet"
    if not path.is_file():
        raise UserError(f"cfrt: no file {path}.")
    try:
        if path.suffix == ".parquet":
            of_a_run = (path.parent / MANIFEST).exists()
            return path, read_parquet(path) if of_a_run else parquet_table(path)
        text = decoded(path)
        if not text.strip():
            raise ValueError("it is empty")
        header = text.partition("\n")[0]
        separator = ";" if header.count(";") > header.count(",") else ","
        table = pd.read_csv(io.StringIO(text), sep=separator, skip_blank_lines=False, low_memory=False)
    except (OSError, ValueError, EOFError, zlib.error) as error:
        raise UserError(f"{path} cannot be read as a table: {error}.") from None
    filled = table.notna().any(axis=1).to_numpy().nonzero()[0]
    if not len(filled):
        raise UserError(f"{path}: there is no row below the header.")
    return path, table.iloc[: filled[-1] + 1]
