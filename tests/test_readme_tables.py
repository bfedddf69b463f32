"""experiments/readme_tables.py: tables of READMEs and docs are those of their files, and it sees when not."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[1] / "experiments" / "readme_tables.py"
CSV = 'figure,mean,mean low,mean high,seeds\n"CFRT, strict",0.8245,0.711,0.9,16\nleak,0.0301,,,16\nx,,,,\n'
BLOCK = "<!-- table results/means.csv -->\n<!-- end -->\n"


@pytest.fixture
def script() -> ModuleType:
    spec = spec_from_file_location("readme_tables", SCRIPT)
    assert spec and spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def readme(tmp_path: Path) -> Path:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "means.csv").write_text(CSV)
    file = tmp_path / "README.md"
    file.write_text(f"# Study\n\n{BLOCK}\nText with `0.5`.\n")
    return file


def test_every_table_of_this_repository_is_that_of_its_file(script):
    assert list(script.problems(script.pages())) == []


def test_a_table_is_written_from_its_file_and_stays(script, readme):
    readme.write_text(script.rewritten(readme))
    assert "| CFRT, strict | 0.82 (0.71 to 0.90) | 16 |" in readme.read_text()
    assert "| leak | 0.03 | 16 |" in readme.read_text() and "| x | n/a | n/a |" in readme.read_text()
    assert list(script.problems([readme])) == [] and script.rewritten(readme) == readme.read_text()


def test_columns_rows_and_digits_can_be_chosen(script, readme):
    options = "digits=3 columns=mean,figure rows=leak"
    readme.write_text(readme.read_text().replace("means.csv", f"means.csv {options}"))
    assert "| mean | figure |\n| --- | --- |\n| 0.030 | leak |\n\n" in script.rewritten(readme)


def test_semicolons_separate_names_that_hold_a_comma(script, readme):
    options = "columns=figure,mean rows=CFRT,_strict;leak"
    readme.write_text(readme.read_text().replace("means.csv", f"means.csv {options}"))
    rows = [line for line in script.rewritten(readme).splitlines() if line.startswith("| ")]
    assert [row.split(" | ")[0] for row in rows[2:4]] == ["| CFRT, strict", "| leak"]


def test_counts_stay_whole_and_rates_do_not(script):
    assert [script.shown(text, "2") for text in ("32.0", "1419", "1.0", "0.5", "n/a")] == [
        *("32", "1419", "1.00", "0.50", "n/a")
    ]
    assert script.shown("7.08e-07", "2g") == "7.1e-07"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text.replace("0.82", "0.83"), "differs from its file"),
        (lambda text: text.replace("means.csv", "gone.csv"), "there is no file"),
        (lambda text: text.replace("means.csv", "means.csv columns=median"), "no column 'median'"),
        (lambda text: text.replace("means.csv", "means.csv rows=hair"), "lacks one of the rows"),
        (lambda text: text + "\n| a | b |\n|---|---|\n| 1 | 0.7 |\n", "before | a | b |"),
    ],
)
def test_what_is_wrong_is_named(script, readme, change, said):
    readme.write_text(change(script.rewritten(readme)))
    (problem,) = script.problems([readme])
    assert said in problem


def test_a_table_may_say_that_it_has_no_file_but_must_say_why(script, readme):
    table = "\n| a | b |\n|---|---|\n| 1 | 0.7 |\n"
    whole = script.rewritten(readme)
    readme.write_text(whole + "\n<!-- no file: the poster -->\n" + table)
    assert list(script.problems([readme])) == []
    readme.write_text(whole + "\n<!-- no file: -->\n" + table)
    assert len(list(script.problems([readme]))) == 1


SOURCE = "<!-- results/means.csv | CFRT, strict | mean -->"


@pytest.mark.parametrize(
    ("written", "filled"),
    [("0.1", "0.8"), ("0.100", "0.825"), ("10 %", "82 %"), ("10.0%", "82.5%"), ("7", "1"), ("-0.10", "0.82")],
)
def test_a_number_in_a_sentence_is_filled_from_its_file_with_the_decimals_it_has(
    script, readme, written, filled
):
    readme.write_text(f"It is {written}{SOURCE} here.\n")
    (problem,) = script.problems([readme])
    assert "differs from its file" in problem
    readme.write_text(script.rewritten(readme))
    assert readme.read_text() == f"It is {filled}{SOURCE} here.\n" and not list(script.problems([readme]))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"It is 0.82{SOURCE.replace('means', 'gone')}.", "there is no file"),
        (f"It is 0.82{SOURCE.replace('strict', 'loose')}.", "has 0 rows 'CFRT, loose'"),
        (f"It is 0.82{SOURCE.replace('| mean', '| median')}.", "no column 'median'"),
        ("It is 0.82<!-- results/means.csv | x | mean -->.", "'' is no number"),
        ("It is 0.82 here.", "0.82 names no file"),
        ("Setting `0.9`, [a](b-0.1.md), 127.0.0.1 and version 0.1.0, but 0.7.", "0.7. names no file"),
    ],
)
def test_a_number_in_a_sentence_without_its_file_is_named(script, readme, text, said):
    readme.write_text(text + "\n")
    (problem,) = script.problems([readme])
    assert said in problem


def test_a_paragraph_may_say_that_its_numbers_have_no_file(script, readme):
    readme.write_text("<!-- no file: not run again -->\n\nIt was 0.82.\n\nIt was 0.83.\n")
    (problem,) = script.problems([readme])
    assert "0.83" in problem


def test_rows_may_be_named_by_several_columns(script, readme):
    (readme.parent / "results" / "cells.csv").write_text(
        "class,attribute,flips\nNV,hair,0.25\nMEL,hair,0.5\n"
    )
    readme.write_text("In 1 %<!-- results/cells.csv | MEL / hair | flips --> of seeds.\n")
    assert "In 50 %" in script.rewritten(readme)
    readme.write_text("In 1 %<!-- results/cells.csv | NV / ink | flips --> of seeds.\n")
    with pytest.raises(ValueError, match="0 rows"):
        script.rewritten(readme)


def test_files_come_from_the_report_of_a_run(script, readme, tmp_path):
    tables = tmp_path / "demo" / "report" / "tables"
    tables.mkdir(parents=True)
    (tables / "means.csv").write_text(CSV.replace("0.8245", "0.4"))
    script.take_from(tmp_path / "demo", readme)
    assert "| 0.40 (0.71 to 0.90) |" in script.rewritten(readme)
    with pytest.raises(SystemExit, match="latentpath report"):
        (readme.parent / "results" / "means.csv").unlink()
        script.take_from(tmp_path / "none", readme)


def test_a_table_that_a_script_has_written_stays_beside_those_of_a_run(script, readme, tmp_path):
    before = (readme.parent / "results" / "means.csv").read_text()
    script.take_from(tmp_path / "none", readme)
    assert (readme.parent / "results" / "means.csv").read_text() == before
