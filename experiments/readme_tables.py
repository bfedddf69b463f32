"""Write the tables and numbers of READMEs and docs from result files, and check that none was changed since.

    python experiments/readme_tables.py            # write the tables again
    python experiments/readme_tables.py --check    # `make readme-check`: fail if one differs from its file
    python experiments/readme_tables.py --run outputs/demo README.md    # first take the files from a run

A table that comes from a file stands between two comments. The file is named relative to the page:

    <!-- table results/means.csv -->
    <!-- end -->

The columns of the CSV are those of the table, and `X low`, `X high` are put in brackets behind X. Options
behind the file: `digits=3` (2 by default; `2g`: significant ones), `columns=figure,mean` (all by default;
names with spaces take underscores), `rows=a,b` (those whose first column is one of these). Names with commas:
separate by `;`.

A table with decimals that comes from no file must say so, for instance because the study has not been run
again, or because another paper published the numbers:

    <!-- no file: the poster's table -->

A number in a sentence is followed by its file, the row and the column. It keeps as many decimals as it has;
before % it is a hundred times that of the file. The row is the text of the first column, or of the first few
with / between them:

    Hair is kept in 0.95<!-- results/cases.csv | exactly A changed | trained: others kept --> of the edits.

A decimal in a sentence that comes from no file is a setting, which stands in backticks, or its paragraph says
above it why it has none, as a table does.
"""

import argparse
import csv
import io
import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"(<!-- table (?P<file>\S+)(?P<options>[^>]*?) -->\n).*?<!-- end -->", re.DOTALL)
NUMBER = re.compile(
    r"(?P<shown>-?\d[\d,]*(?:\.\d+)?)(?P<percent> ?%)?"
    r"(?P<source><!-- (?P<file>[^|>\s]+) \| (?P<row>[^|>]+) \| (?P<column>[^|>]+) -->)"
)
# Not measured: settings in backticks, addresses of links and hosts, papers, versions.
UNMEASURED = re.compile(
    r"`[^`]*`|\]\([^)]*\)|\b\d{4}\.\d{5}\b|\b\d+(?:\.\d+){2,3}\b|"
    r"(?:Python |SD |torch |Training |Apache-|BY-NC )\d+\.\d+(?: to \d+\.\d+)?",
    re.DOTALL,
)
NO_PROSE = re.compile(r"<!--.*?-->|^\|.*?$", re.DOTALL | re.MULTILINE)
FREE = re.compile(r"<!-- no file: \S.*?-->\s*\Z", re.DOTALL)
DECIMAL = re.compile(r"\d\.\d")
PARAGRAPH = re.compile(r"(?:^.*\S.*\n?)+", re.MULTILINE)


def pages() -> list[Path]:
    """Return the README of the project, those of all experiments, and the pages of the documentation."""
    return [
        ROOT / "README.md",
        *sorted(ROOT.glob("experiments/*/README.md")),
        *sorted(ROOT.glob("docs/*.md")),
    ]


def rewritten(readme: Path) -> str:
    """Return the text of a page with its tables and numbers as the files say; ValueError if they cannot."""

    def block(found: re.Match[str]) -> str:
        options = dict(option.partition("=")[::2] for option in found["options"].split())
        return f"{found[1]}\n{table(readme.parent / found['file'], **options)}\n<!-- end -->"

    def number(found: re.Match[str]) -> str:
        value = looked_up(readme.parent / found["file"], found["row"], found["column"])
        digits = len(found["shown"].partition(".")[2])
        shown = f"{value * 100 if found['percent'] else value:,.{digits}f}"
        shown = shown if "," in found["shown"] else shown.replace(",", "")
        return f"{shown}{found['percent'] or ''}{found['source']}"

    return NUMBER.sub(number, BLOCK.sub(block, readme.read_text(encoding="utf-8")))


def looked_up(file: Path, row: str, column: str) -> float:
    """Return one number of a CSV file. Raises ValueError if there is no such file, row, column or number."""
    if not file.is_file():
        raise ValueError(f"there is no file {file}")
    content = list(csv.DictReader(io.StringIO(file.read_text(encoding="utf-8"))))
    if column not in content[0]:
        raise ValueError(f"{file.name} has no column {column!r}; it has {', '.join(content[0])}")
    keys = row.split(" / ")
    found = [line for line in content if list(line.values())[: len(keys)] == keys]
    if len(found) != 1:
        raise ValueError(f"{file.name} has {len(found)} rows {row!r}, expected one")
    try:
        return float(found[0][column])
    except ValueError:
        raise ValueError(f"{file.name}, {row}, {column}: {found[0][column]!r} is no number") from None


def table(file: Path, digits: str = "2", columns: str = "", rows: str = "") -> str:
    """Return the Markdown table of a CSV file."""
    if not file.is_file():
        raise ValueError(f"there is no file {file}")
    content = list(csv.DictReader(io.StringIO(file.read_text(encoding="utf-8"))))
    names = [name for name in content[0] if not name.endswith((" low", " high"))]
    wanted, chosen = names_in(columns) or names, set(names_in(rows)) or None
    if unknown := sorted(set(wanted) - set(names)):
        raise ValueError(f"{file.name} has no column {unknown[0]!r}; it has {', '.join(names)}")
    lines = [wanted, ["---"] * len(wanted)]
    for row in content:
        if chosen is None or row[names[0]] in chosen:
            lines.append([cell(row, name, digits) for name in wanted])
    if chosen is not None and len(lines) - 2 < len(chosen):
        raise ValueError(f"{file.name} lacks one of the rows {rows}")
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def names_in(text: str) -> list[str]:
    """Return the names of an option: between commas or, if one of them holds a comma, semicolons."""
    return text.replace("_", " ").split(";" if ";" in text else ",") if text else []


def cell(row: dict[str, str], name: str, digits: str) -> str:
    """Return a cell: a text as it is, a number with its digits, and with its interval if it has one."""
    text = shown(row[name], digits)
    low, high = (row.get(f"{name} {end}") or "" for end in ("low", "high"))
    return f"{text} ({shown(low, digits)} to {shown(high, digits)})" if low and high else text or "n/a"


def shown(text: str, digits: str) -> str:
    """Round a number to `digits`: "2" decimals, "2g" significant ones. Texts and counts stay as they are."""
    try:
        value = float(text)
    except ValueError:
        return text
    count = re.fullmatch(r"-?\d+", text) or (value > 1 and value.is_integer())
    return f"{value:.0f}" if count else format(value, f".{digits}" if digits.endswith("g") else f".{digits}f")


def without_a_source(text: str) -> Iterator[str]:
    """Yield the first line of each table with decimals that neither names its file nor says it has none."""
    outside = BLOCK.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)
    for found in re.finditer(r"(?:^\|.*\n)+", outside, re.MULTILINE):
        if DECIMAL.search(UNMEASURED.sub("", found[0])) and not FREE.search(outside[: found.start()]):
            yield found[0].splitlines()[0]


def numbers_without_a_source(text: str) -> Iterator[str]:
    """Yield each paragraph's first decimal that has no file and is not said to have none or be a setting."""
    plain = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    plain = BLOCK.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), plain)
    for paragraph in PARAGRAPH.finditer(plain):
        free = FREE.search(plain[: paragraph.start()]) or re.match(r"<!-- no file: \S.*?-->", paragraph[0])
        prose = UNMEASURED.sub("", NO_PROSE.sub("", NUMBER.sub("", paragraph[0])))
        if not free and (found := re.search(r"\S*\d\.\d\S*", prose)):
            yield found[0]


def problems(files: Iterable[Path]) -> Iterator[str]:
    """Yield what is wrong with the tables and numbers of these pages, one line each."""
    for readme in files:
        name, text = f"{readme.parent.name}/{readme.name}", readme.read_text(encoding="utf-8")
        try:
            if rewritten(readme) != text:
                yield f"{name}: a table differs from its file: run experiments/readme_tables.py"
        except ValueError as error:
            yield f"{name}: {error}"
        for number in numbers_without_a_source(text):
            yield f"{name}: {number} names no file: see experiments/readme_tables.py"
        for line in without_a_source(text):
            yield f"{name}: no `<!-- table FILE -->` and no `<!-- no file: why -->` before {line}"


def take_from(run: Path, readme: Path) -> None:
    """Copy the files that a README names to where it expects them: results/X.csv, or results/<run>/X.csv.

    They are those of the run's report, or those that a script wrote into the folder itself.
    """
    for found in BLOCK.finditer(readme.read_text(encoding="utf-8")):
        target = readme.parent / found["file"]
        if target.parent.name not in ("results", run.name):
            continue
        places = [run / "report" / "tables" / target.name, run / target.name]
        source = next((file for file in places if file.is_file()), None)
        if source is None and target.is_file():
            continue  # a script has written it
        if source is None:
            sys.exit(f"no {places[0]}: run `latentpath report` for this run first")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("readme", nargs="?", type=Path, help="with --run: whose files are taken from the run")
    parser.add_argument("--check", action="store_true", help="change nothing, and fail if a table differs")
    parser.add_argument("--run", type=Path, help="the folder of a run that has a report")
    args = parser.parse_args()
    if (args.run is None) != (args.readme is None):
        parser.error("--run and a README go together")
    if args.run is not None:
        take_from(args.run, args.readme.resolve())
    for readme in () if args.check else pages():
        try:
            readme.write_text(rewritten(readme), encoding="utf-8")
        except ValueError as error:
            print(f"{readme.parent.name}/{readme.name} is left as it is: {error}", file=sys.stderr)
    if wrong := list(problems(pages())):
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
