"""`latentpath leaderboard`: runs on the same images share a board; its files; what cannot be ranked."""

import csv
import json
import re
import shlex
import shutil

import pandas as pd
import pytest
from omegaconf import OmegaConf

from latentpath.commands.leaderboard import main
from latentpath.errors import UserError
from latentpath.metrics.front_table import front_tables
from latentpath.metrics.leaderboard import leaderboard
from latentpath.metrics.scored import Scored


@pytest.fixture(scope="module")
def scored(ways_run):
    scores = pd.read_parquet(ways_run / "evaluate" / "scores.parquet")
    return Scored(scores, ("hair", "ink"), ("MEL", "NV"), resamples=100)


@pytest.fixture
def copy_of(ways_run, tmp_path):
    """copy_of(name, methods, moved=0) -> a run with some of the methods and other scores of hair."""

    def copy(name, methods, moved=0.0, placebo=True):
        folder = shutil.copytree(ways_run, tmp_path / name)
        file = folder / "evaluate" / "scores.parquet"
        scores = pd.read_parquet(file)
        placebo = ["placebo"] if placebo else []
        scores = scores[scores["method"].isin(["neutral", *placebo, *methods])]
        scores.assign(prob_hair=scores["prob_hair"] * (1 - moved)).to_parquet(file, index=False)
        return folder

    return copy


def test_the_least_leak_at_equal_effect_is_first(scored):
    board, (_, fronts) = leaderboard(scored), front_tables(scored, resamples=100)
    assert set(board["method"]) == {"swap", "fcfg", "sega"} and board["at_50"].is_monotonic_increasing
    mean = fronts[(fronts["attribute"] == "") & (fronts["measure"] == "leak") & (fronts["level"] == 0.8)]
    for row in board.to_dict("records"):
        own = mean[mean["method"] == row["method"]].iloc[0]
        assert row["at_80"] == own["value"] and row["settings"] == (3 if row["method"] == "swap" else 6)
        assert row["cfrt_strict"] > 0.5 and row["selectivity"] > 0.5 and row["n"] == 24
    assert board.set_index("method").loc["fcfg", "at_80_p"] == mean[mean["method"] == "fcfg"]["p"].item()


def test_a_method_that_misses_half_of_the_seeds_is_last_and_unplaced(scored):
    table = scored.table.copy()
    table.loc[table["method"] == "sega", ["prob_hair", "prob_ink"]] = 0.1
    board = leaderboard(Scored(table, scored.heads, scored.classes))
    assert board["method"].iloc[-1] == "sega" and board["at_50"].isna().tolist() == [False, False, True]
    assert "no mixture of its settings" in board["at_50_reason"].iloc[-1]


def test_files_hold_the_same_table(ways_run, tmp_path, capsys):
    main([str(ways_run), "--out", str(tmp_path / "board")])
    out = capsys.readouterr().out
    lines = list(csv.DictReader((tmp_path / "board" / "demo.csv").open()))
    assert [line["method"] for line in lines] == re.findall(r"│ (swap|fcfg|sega) +│", out)
    markdown = (tmp_path / "board" / "leaderboard.md").read_text()
    assert (
        "latentpath leaderboard demo" in markdown and "- judge: accuracy on held-out images: hair" in markdown
    )
    assert f"{float(lines[0]['leak at 50 %']):.3f}" in markdown
    assert "different numbers of settings (" in markdown  # the swap has fewer
    page = (tmp_path / "board" / "leaderboard.html").read_text()
    data = re.search(r'id="page-data">(.*?)</script>', page, re.DOTALL)
    assert data and "leaderboard_demo" in json.loads(data[1])["copies"]
    assert page.count("<svg") == 3 * 5 and str(ways_run) not in page


def test_each_row_has_the_command_that_makes_it_again(copy_of, compose, tmp_path, capsys):
    run = copy_of("again", ["swap", "fcfg", "sega"])
    cfg = compose(
        "run", "experiment=demo", "name=again", f"dataset.root={tmp_path / 'my data'}", "sampler.seeds=5",
        "method=[swap,placebo,fcfg,sega]", "method.fcfg.dials=[1,2.5]", "attribute.strengths=[0.5]",
    )  # fmt: skip
    OmegaConf.save(cfg, run / "evaluate" / "config.yaml")
    main([str(run), "--out", str(tmp_path / "board")])
    out = capsys.readouterr().out
    (line,) = [
        line for line in out.splitlines() if line.startswith("latentpath run") and "again_fcfg" in line
    ]
    program, command, *overrides = shlex.split(line)
    assert (program, command) == ("latentpath", "run") and "from_run=again" in overrides
    again = compose("run", *overrides)
    assert again.sampler.seeds == 5 and again.dataset.root == str(tmp_path / "my data")
    assert list(again.method.fcfg.dials) == [1, 2.5] and list(again.attribute.strengths) == [0.5]
    assert [name for name, section in again.method.items() if section] == ["swap", "placebo", "fcfg"]
    for file in ("leaderboard.md", "leaderboard.html"):
        text = (tmp_path / "board" / file).read_text()
        assert "name=again_sega" in text and "my data" in text and str(tmp_path) not in text


def test_cost_is_of_an_image(copy_of, tmp_path):
    run = copy_of("costs", ["swap", "fcfg"])
    plan = json.loads((run / "traverse" / "plan.json").read_text())
    plan["rows_per_seed_alone"] = {"swap": 120, "fcfg": 360}
    (run / "traverse" / "plan.json").write_text(json.dumps(plan))
    main([str(run), "--out", str(tmp_path / "board")])
    lines = {line["method"]: line for line in csv.DictReader((tmp_path / "board" / "costs.csv").open())}
    assert float(lines["swap"]["U-Net rows an image"]) == 120 / (3 * 2)  # swap steps, attributes
    assert float(lines["fcfg"]["U-Net rows an image"]) == 360 / (2 * 3 * 2)
    seconds = float(lines["swap"]["seconds an image"]) * 6 + float(lines["fcfg"]["seconds an image"]) * 12
    assert seconds == pytest.approx(645.2 / 48)  # of a seed of a class


def test_runs_on_the_same_images_share_a_board(copy_of, tmp_path):
    out = tmp_path / "board"
    rounded = copy_of("b", ["swap", "sega"], 1e-6)  # as if in batches of another size
    main([str(copy_of("a", ["swap", "fcfg"])), str(rounded), "--out", str(out)])
    methods = {line["method"] for line in csv.DictReader((out / "a + b.csv").open())}
    assert methods == {"swap", "fcfg", "sega"}


def test_another_judge_is_another_board(copy_of, tmp_path):
    out = tmp_path / "board"
    main([str(copy_of("a", ["swap", "fcfg"])), str(copy_of("b", ["swap", "fcfg"], 0.1)), "--out", str(out)])
    assert {file.name for file in out.iterdir()} == {"a.csv", "b.csv", "leaderboard.md", "leaderboard.html"}


def test_without_a_placebo_there_is_no_board_but_the_command_that_adds_one(copy_of, compose, tmp_path):
    bare, other = copy_of("bare", ["swap", "fcfg"], placebo=False), copy_of("other", ["swap", "sega"])
    with pytest.raises(UserError, match=r"bare has no placebo .*Traverse again with method=\[swap,placebo"):
        main([str(bare)])
    cfg = compose(
        "run", "experiment=demo", "dataset.root=x", "method=[swap,fcfg]", "sampler.seeds=5", "name=bare"
    )
    OmegaConf.save(cfg, bare / "evaluate" / "config.yaml")
    with pytest.raises(UserError, match="give bare_placebo beside bare:") as refused:
        main([str(bare)])
    _, _, *overrides = shlex.split(str(refused.value).splitlines()[-1])
    again = compose("run", *overrides)
    assert (again.name, again.from_run, again.sampler.seeds) == ("bare_placebo", "bare", 5)
    assert [name for name, section in again.method.items() if section] == ["swap", "placebo"]
    main([str(bare), str(other), "--out", str(tmp_path / "board")])  # the placebo of either run serves both
    assert (tmp_path / "board" / "bare + other.csv").exists()


def test_runs_that_cannot_be_ranked_are_named(copy_of, tmp_path):
    with pytest.raises(UserError, match="expected the folder of a run, as in latentpath leaderboard"):
        main([])
    with pytest.raises(UserError, match="no folder nowhere"):
        main(["nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="run `latentpath evaluate` for this run first"):
        main([str(tmp_path / "empty")])
    with pytest.raises(
        UserError, match="alone: the scores hold swap: a leaderboard compares two or more methods"
    ):
        main([str(copy_of("alone", ["swap"]))])
    with pytest.raises(UserError, match="unrecognized arguments: --ou"):
        main([str(tmp_path), "--ou", "x"])
