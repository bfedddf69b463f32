"""Tables against the data: network by network and space by space."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pandas as pd

from latentpath.evaluation.copies import copies_by_class
from latentpath.report.cells import Table
from latentpath.report.data_tables import copies_table, fidelity_table


def texts(table: Table | None) -> list[list[str]]:
    assert table is not None
    table.filled()  # every row has a cell in every column
    return [[cell.text for cell, _ in row] for group in table.filled() for row in group]


def run_with(**tables: pd.DataFrame) -> Any:
    return SimpleNamespace(tables=tables)


def fidelity(**columns: Any) -> pd.DataFrame:
    names = ("fid", "kid", "precision", "recall", "vendi")
    figures = dict.fromkeys(names, 0.5) | {f"{name}_real": 0.25 for name in names}
    counts = {"each": 10, "generated": 11, "real": 20, "reason": ""}
    keys = [("a", "neutral"), ("a", "gel_bubble"), ("b", "neutral")]
    return pd.DataFrame([{"class": c, "images": i} | figures | counts for c, i in keys]).assign(**columns)


def test_fidelity_by_each_network_the_judge_first():
    rows = pd.concat([fidelity(features="inception", fid=80.0), fidelity(features="judge")])
    table = fidelity_table(run_with(fidelity=rows))
    assert table is not None and table.head[:4] == ["network", "class", "images", "set"]
    shown = [line[:5] for line in texts(table)]
    assert shown[:4] == [
        ["the judge", "a", "neutral", "generated", "0.50"],
        ["the judge", "a", "neutral", "real", "0.25"],
        ["the judge", "a", "gel bubble", "generated", "0.50"],
        ["the judge", "a", "gel bubble", "real", "0.25"],
    ]
    assert shown[10] == ["Inception", "b", "neutral", "generated", "80.00"] and len(shown) == 12


def test_fidelity_by_the_judge_alone_needs_no_column():
    table = fidelity_table(run_with(fidelity=fidelity(features="judge")))
    assert table is not None and table.head[:2] == ["class", "images"] and "judge" in table.caption
    assert texts(table)[0][:2] == ["a", "neutral"] and len(texts(table)) == 6


def test_the_table_of_copies_has_both_spaces():
    rows = [
        {"class": cls, "space": space, "score": score, "seed": seed, "q": q, "flagged": q + seed < 0.1}
        for space, q in (("latent", 0.05), ("judge", 0.34))
        for cls in ("a", "b")
        for seed, score in enumerate((0.4, 0.6, 0.8))
    ]
    table = copies_table(run_with(copies_by_class=copies_by_class(pd.DataFrame(rows))))
    assert [line[:8] for line in texts(table)][:3] == [
        ["a", "latents", "3", "0.40", "0.60", "3", "0.05", "1"],
        ["a", "the judge’s features", "3", "0.40", "0.60", "3", "0.34", "0"],
        ["b", "latents", "3", "0.40", "0.60", "3", "0.05", "1"],
    ]


def test_without_the_data_there_is_no_table():
    assert fidelity_table(run_with()) is None and copies_table(run_with()) is None
