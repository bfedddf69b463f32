"""`latentpath cfrt`: our tables and the authors', what it prints, writes and returns, mistakes by name."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from latentpath.commands.cfrt import main
from latentpath.errors import UserError

HEADS, STEPS = ("hairs", "ink"), range(5, 50, 5)


def scores(classes: tuple[str, ...] = ("MEL", "NV")) -> pd.DataFrame:
    """Four seeds: hair rises toward hair on all of NV and on seeds 0 and 1 of MEL, else ink does."""
    rows = []
    for cls in classes:
        for seed in range(4):
            key = {"class": cls, "seed": seed, "model": "finetuned", "prob_hair": 0.1, "prob_ink": 0.1}
            if len(classes) > 1:
                key |= {f"class_prob_{c}": 0.9 if c == cls else 0.1 for c in classes}
            rows.append(key | {"attribute": "", "method": "neutral", "swap_step": 50})
            for step in (5, 10, 15):
                own = cls == "NV" or seed < 2
                edit = {"attribute": "hair", "method": "swap", "swap_step": step}
                rows.append(key | edit | {"prob_hair" if own else "prob_ink": 0.8})
                rows.append(key | edit | {"attribute": "ink", "prob_ink": 0.9})
    return (
        pd.DataFrame(rows).astype({"swap_step": "Int64"}).assign(frame=pd.array([pd.NA] * len(rows), "Int64"))
    )


def authors_file(folder: Path, name: str, toward: str, *, first: bool = True, seeds: int = 500) -> Path:
    """Head `toward` rises on 412 of 1,000 seeds, the other head on the rest."""
    rng = np.random.default_rng(len(name))
    columns: dict[str, object] = {"seed": np.arange(seeds), "path": "x.png"}
    wins = np.arange(seeds) % 1000 < 412
    for position in ("neutral", *STEPS):
        for head in HEADS:
            rise = 0.5 * (wins == (head == toward)) * (position in (5, 10, 15))
            column = f"{position}_{head}" if first else f"{head}_{position}"
            columns[column] = 0.2 + rise + rng.uniform(0, 0.01, seeds) * (position != "neutral")
    pd.DataFrame(columns).to_csv(folder / name, index=False)
    return folder / name


def test_a_runs_scores(tmp_path, capsys):
    (tmp_path / "run" / "evaluate").mkdir(parents=True)
    scores().to_parquet(tmp_path / "run" / "evaluate" / "scores.parquet")
    out = tmp_path / "new" / "cfrt.json"
    assert main([str(tmp_path / "run"), "--json", str(out)]) == pytest.approx(3.5 / 4)
    shown = capsys.readouterr().out
    assert "strong end 5;" in shown and "CFRT, strict" in shown and "published" not in shown
    written = json.loads(out.read_text())
    first = written["cfrt"][0]
    assert (first["class"], first["attribute"], first["cfrt_released"]) == ("MEL", "hair", 0.5)
    assert first["cfrt_released_low"] < 0.5 < first["cfrt_released_high"]
    assert first["class_kept"] == 1 and first["n_seeds"] == 4 and first["positions"] == [5]
    assert written["threshold"] == 0.5 and written["published"] == []


def test_options_reach_the_figures(tmp_path, capsys):
    path = tmp_path / "scores.csv"
    scores(("NV",)).to_csv(path, index=False)
    words = [str(path), "--threshold", "0.85", "--strong", "5", "15", "--compare"]
    assert main([*words, "--json", str(tmp_path / "o.json")]) == 1
    row = json.loads((tmp_path / "o.json").read_text())["cfrt"][0]
    assert row["flipped"] == 0 and row["positions"] == [5, 15]
    assert row["class_kept"] is None and "single class" in row["reason"]
    shown = capsys.readouterr().out
    assert "no class scores" in shown and "reproduces the poster" in shown


def test_the_authors_files_against_the_paper(tmp_path, capsys):
    """412 of 1,000 seeds: the notebook's figure for ink in melanoma, not the poster's."""
    files = [
        authors_file(tmp_path, "melanoma_ink_predictions.csv", "ink", seeds=1000),
        authors_file(tmp_path, "melanoma_hairs_predictions.csv", "hairs", first=False, seeds=1000),
    ]
    assert main([*map(str, files), "--json", str(tmp_path / "o.json")]) == 0.412
    shown = " ".join(capsys.readouterr().out.split())
    assert "released and strict, for there is a file toward each of hairs, ink" in shown.replace(
        "ink, hairs", "hairs, ink"
    )
    assert "reproduces 0 of 2 figures of the poster" in shown
    assert "reproduces 1 of 2 figures of the authors' notebooks" in shown
    compared = json.loads((tmp_path / "o.json").read_text())["published"]
    assert compared[0]["reproduces_notebook"] == "released" and compared[0]["poster"] == 0.59


def test_one_file_says_why_there_is_no_strict(tmp_path, capsys):
    main([str(authors_file(tmp_path, "melanoma_ink_predictions.csv", "ink"))])
    assert "released only" in (shown := " ".join(capsys.readouterr().out.split()))
    assert "no file toward hairs" in shown and "the strict definition cannot be computed" in shown


def test_an_attribute_that_the_name_does_not_tell(tmp_path):
    path = authors_file(tmp_path, "run_7.csv", "ink")
    assert main(["--attribute", f"ink={path}"]) == pytest.approx(412 / 500)
    with pytest.raises(UserError, match=f"--attribute hairs={path}"):
        main([str(path)])


def test_semicolons_and_empty_lines_at_the_end(tmp_path):
    path = authors_file(tmp_path, "ink.csv", "ink")
    path.write_text(path.read_text().replace(",", ";") + "\n\n")
    assert main([str(path)]) == pytest.approx(412 / 500)


def test_mistakes_are_named(tmp_path):
    ours, theirs = tmp_path / "scores.csv", authors_file(tmp_path, "ink.csv", "ink")
    scores().assign(prob_ink=1.5).to_csv(ours, index=False)
    other, empty = tmp_path / "other.csv", tmp_path / "empty.csv"
    other.write_text("image,label\n1,2\n")
    empty.write_text("")
    broken = tmp_path / "broken.parquet"
    broken.write_text("no parquet")
    again = authors_file(tmp_path, "predictions_ink.csv", "ink")
    for words, expected in {
        (): "expected a table",
        ("--strong", "5", str(theirs)): "Files go before the options",
        (str(theirs), "--trheshold", "1"): "unrecognized arguments: --trheshold",
        (str(theirs), "--threshold", "2"): "from 0 to 1",
        (str(theirs), "--attribute", "ink"): "expected NAME=FILE",
        (str(theirs), "--strong", "7"): rf"{theirs}: the scores hold no swap_step \[7\]",
        (str(theirs), str(again)): "both say: method swap",
        (str(tmp_path / "none.csv"),): "no file",
        (str(tmp_path),): "scores.parquet",
        (str(other),): "other.csv: expected a column seed.*image, label",
        (str(empty),): "empty.csv cannot be read as a table: it is empty",
        (str(broken),): "broken.parquet cannot be read",
        (str(ours),): "scores.csv, row 1, column prob_ink: .*found '1.5'",
        (str(theirs), "--json", str(theirs / "x.json")): "cannot be written",
    }.items():
        with pytest.raises(UserError, match=expected):
            main([*words] if "--strong" not in words[:1] else words)


@pytest.mark.parametrize(
    "content, said",
    [
        (b"PK\x03\x04" + bytes(40), "it is an Excel workbook or a zip archive. Save it as 'CSV UTF-8'"),
        (b"\x1f\x8bbroken", "cannot be read as a table"),
        (b"\xff\xfex", "cannot be read as a table"),
    ],
    ids=["Excel", "damaged gzip", "half of a letter"],
)
def test_a_file_that_is_no_table_is_named(tmp_path, content, said):
    file = tmp_path / "ink.csv"
    file.write_bytes(content)
    with pytest.raises(UserError, match=said) as caught:
        main([str(file)])
    assert str(file) in str(caught.value) and "codec" not in str(caught.value)


def test_a_table_as_excel_saves_it_is_read(tmp_path):
    path = authors_file(tmp_path, "ink.csv", "ink")
    path.write_bytes(path.read_text().encode("utf-16"))
    assert main([str(path)]) == pytest.approx(412 / 500)


@pytest.mark.parametrize(
    "column, value, said",
    [
        ("class", None, "row 1: there is no class"),
        ("seed", None, "row 1: there is no seed"),
        ("seed", 0.5, "row 1, column seed: expected a whole number, found '0.5'"),
        ("swap_step", "early", "row 1, column swap_step: expected a whole number, found 'early'"),
    ],
)
def test_a_key_of_our_tables_that_is_none_is_named_with_its_row(tmp_path, column, value, said):
    table = scores().astype({column: object})
    table.loc[0, column] = value
    file = tmp_path / "scores.csv"
    table.to_csv(file, index=False)
    with pytest.raises(UserError, match=said):
        main([str(file)])


def test_help_imports_nothing_heavy():
    script = (
        "import sys\nfrom latentpath.commands.cfrt import main\n"
        "try: main(['--help'])\nexcept SystemExit as exit: assert exit.code == 0\n"
        "heavy = {'torch', 'numpy', 'pandas', 'rich'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "latentpath cfrt outputs/demo" in done.stdout
