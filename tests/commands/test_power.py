"""`latentpath power`: seeds needed by one run, shares of variance of several, mistakes by name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from latentpath.commands.power import main
from latentpath.errors import UserError
from latentpath.runs.files import write_json, write_parquet

CELLS = [("MEL", "hair"), ("MEL", "ink")]


def make_run(folder: Path, rate: float, *, seed: int = 0, arch: str = "a", lr: float = 1e-4) -> Path:
    """A run whose hair is kept at a rate, and whose ink is half as far from seed to seed."""
    rng = np.random.default_rng(7)  # the same noise of each seed in every run
    noise = rng.normal(size=16)
    rows = [
        {"class": cls, "attribute": a, "figure": "cfrt_strict", "seed": s, "value": rate + spread * noise[s]}
        for (cls, a), spread in zip(CELLS, (0.2, 0.1), strict=True)
        for s in range(16)
    ]
    write_parquet(folder / "evaluate" / "seeds.parquet", pd.DataFrame(rows))
    (folder / "evaluate" / "config.yaml").write_text(f"output_dir: {folder.parent}\nfrom_run: null\n")
    configs = {
        "evaluate": {"metric.threshold": 0.5},
        "traverse": {},
        "finetune": {"seed": seed, "finetune.lr": lr},
        "classify": {"seed": seed, "classifier.arch": arch},
    }
    for stage, config in configs.items():
        write_json(folder / stage / "manifest.json", {"stage": stage, "status": "complete", "config": config})
    return folder


def test_one_run_tells_the_seeds_that_a_half_width_takes(tmp_path, capsys):
    run, out = make_run(tmp_path / "one", 0.5), tmp_path / "out.json"
    main([str(run), "--half-width", "0.02", "--json", str(out)])
    (row,) = json.loads(out.read_text())["figures"]
    noise = np.random.default_rng(7).normal(size=16)
    assert row["seeds"] == 16 and row["cell"] == "MEL hair"
    assert row["value"] == pytest.approx(0.5 + 0.15 * noise.mean())
    # four times the seeds halve the interval; t and z differ a little
    assert row["needed"] == pytest.approx(16 * (row["half_width"] / 0.02) ** 2, rel=0.2)
    assert row["cell_needed"] > row["needed"]
    assert f"{row['needed']:,}" in capsys.readouterr().out


def test_several_runs_tell_what_the_judge_moves(tmp_path, capsys):
    runs = [
        make_run(tmp_path / f"{seed}{arch}", 0.5 + 0.2 * (arch == "b"), seed=seed, arch=arch)
        for seed in (0, 1)
        for arch in ("a", "b")
    ]
    out = tmp_path / "out.json"
    main([*map(str, runs), "--json", str(out)])
    (row,) = json.loads(out.read_text())["figures"]
    assert (row["runs"], row["judges"], row["seeds"]) == (2, 2, 16)
    assert row["sd_judge"] == pytest.approx(0.02**0.5) and row["sd_run"] == pytest.approx(0, abs=1e-6)
    assert row["share_judge"] > 0.9 and row["endless"] == pytest.approx(1.96 * row["sd_judge"])
    assert "2 trainings x 2 judges x 16 seeds" in capsys.readouterr().out


def test_mistakes_are_named(tmp_path):
    first = make_run(tmp_path / "first", 0.5)
    for words, said in {
        (): "expected the folder of a run",
        (str(tmp_path / "nowhere"),): "no folder",
        (str(tmp_path),): "run `latentpath evaluate`",
        (str(first), "--half-width", "0"): "between 0 and 1",
        (str(first), "--half", "1"): "unrecognized arguments",
        (str(first), str(make_run(tmp_path / "lr", 0.5, lr=1.0))): "differ in finetune.lr",
        (str(first), str(make_run(tmp_path / "same", 0.5))): "classifier of another run",
        (str(first), str(make_run(tmp_path / "gap", 0.5, seed=1, arch="b"))): "Every seed must have",
    }.items():
        with pytest.raises(UserError, match=said):
            main(list(words))


def test_figures_without_a_value_are_said_to_be_none(tmp_path):
    runs = [make_run(tmp_path / name, 0.5, seed=seed) for seed, name in enumerate(("empty", "other"))]
    seeds = runs[0] / "evaluate" / "seeds.parquet"
    table = pd.read_parquet(seeds)
    for content, words, said in (
        (table.assign(value=np.nan), runs[:1], "has no figure with a value"),
        (table.iloc[:0], runs[:1], "has no figure with a value"),
        (table.assign(seed=table["seed"] + 100), runs, "no figure has a value for the same seeds"),
        (table.drop(columns="figure"), runs[:1], r"seeds\.parquet is damaged \(it has no column 'figure'\)"),
    ):
        write_parquet(seeds, content)
        with pytest.raises(UserError, match=said):
            main(list(map(str, words)))
