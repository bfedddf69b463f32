"""Tables and images of co-change: how other outputs of the judge change under an edit toward an attribute."""

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from latentpath.report.artefacts import RunArtefacts
from latentpath.report.cells import Cell, Row, Table, difference, header, number
from latentpath.report.charts import Chart, HeatMap, Key
from latentpath.report.pictures import Gallery, Picture, words

MAX_PAIRS, MAX_EXAMPLES = 6, 3
LEAST = 0.05  # smallest change of a probability that is shown with images


@dataclass(frozen=True)
class Example:
    """One seed of a pair: both pictures, and the probability of the other head on each."""

    seed: int
    neutral: Picture
    edited: Picture
    before: float
    after: float


@dataclass(frozen=True)
class Pair:
    """An edit and another output of the judge that changes with it.

    text: 'hair → ink'. where: its class. change: with its interval. clear: whether it is significant among
    all pairs. examples: the seeds that change most.
    """

    text: str
    where: str
    change: Cell
    clear: bool
    examples: list[Example]


def co_change_tables(run: RunArtefacts) -> list[Table]:
    """Make one table per class, with one row per target attribute and one column per output of the judge."""
    caption = "mean change of each probability on the strong end, in brackets 95 % intervals over seeds"
    found = []
    for cls, heads, matrix in _matrices(run):
        name = f"co_change_{words(cls).replace(' ', '_')}" if len(run.classes) > 1 else "co_change"
        group = [[header(words(a)), *cells] for a, cells in zip(run.attributes, matrix, strict=True)]
        found.append(Table(f"{words(cls)}: {caption}", ["toward", *map(words, heads)], [group], name=name))
    return found


def co_change_chart(run: RunArtefacts) -> Chart | None:
    """Return the same matrix as a chart, for print."""
    panels = []
    for cls, heads, matrix in _matrices(run):
        title = f"{words(cls)}: change of the classifier’s probabilities, by what was asked for"
        names = [words(a) for a in run.attributes], [words(h) for h in heads]
        cells = [[(cell.value, cell.text) for cell in cells] for cells in matrix]
        width, height = 110 + 76 * len(heads), 50 + 30 * len(run.attributes)
        panels.append(HeatMap(title, *names, cells, width, height, title))
    legend = [Key("rises", "c0", "square"), Key("falls", "c1", "square")]
    return Chart(panels, legend, name="co_change", columns=1) if panels else None


def entangled_pairs(run: RunArtefacts, gallery: Gallery) -> list[Pair]:
    """Return the most entangled pairs, each with the seeds on which the other head changes most."""
    table = run.tables.get("most_entangled")
    if table is None:
        return []
    pairs = []
    for row in table.head(MAX_PAIRS).to_dict("records"):
        cls, attribute, head = row["class"], row["attribute"], row["head"]
        if cls not in run.classes or attribute not in run.attributes:
            continue
        where = words(cls) if len(run.classes) > 1 else ""
        clear = str(row.get("significant", True)) in ("True", "1", "1.0")
        text = f"{words(attribute)} → {words(head)}"
        pairs.append(Pair(text, where, _cell(row), clear, _examples(gallery, cls, attribute, head)))
    return pairs


def _examples(gallery: Gallery, cls: str, attribute: str, head: str) -> list[Example]:
    """Choose the seeds with stored images on which the other head changes most at the strongest swap."""
    steps = gallery.steps()
    column = f"class_prob_{head.removeprefix('class ')}" if head.startswith("class ") else f"prob_{head}"
    found = []
    for seed in gallery.seeds(cls, attribute, "swap") if steps else []:
        before = gallery.score(cls, seed, "", None, column)
        after = gallery.score(cls, seed, attribute, steps[-1], column)
        neutral = gallery.neutral(cls, seed, attribute)
        edited = gallery.edit(cls, seed, attribute, "swap", steps[-1])
        if before is None or after is None or neutral is None or edited is None:
            continue
        if abs(after - before) >= LEAST:
            found.append(Example(seed, neutral, edited, before, after))
    return sorted(found, key=lambda e: -abs(e.after - e.before))[:MAX_EXAMPLES]


def _matrices(run: RunArtefacts) -> Iterator[tuple[str, list[str], list[list[Cell]]]]:
    """Yield each class with its heads, and a row of cells, one a head, for each attribute of the run."""
    table = run.tables.get("co_change")
    if table is None:
        return
    for cls in run.classes:
        rows = table[table["class"] == cls].to_dict("records")
        cells = {(row["attribute"], row["head"]): _cell(row) for row in rows}
        heads = list(dict.fromkeys(row["head"] for row in rows))
        absent = number(None, "this head was not scored")
        if rows:
            yield cls, heads, [[cells.get((a, head), absent) for head in heads] for a in run.attributes]


def _cell(row: Row) -> Cell:
    change = row["change"]
    if pd.isna(change):
        return number(None, str(row.get("reason") or "no scores"))
    tooltip = (
        f"toward {words(row['attribute'])}, {words(row['head'])}: {change:+.3f} ({row['low']:+.3f} to "
        f"{row['high']:+.3f}); moves by {row['abs_change']:.3f} either way; decision changes in "
        f"{row['label_changes']:.0%} of images; {int(row['n'])} seeds"
    )
    return difference(change, tint=change, ends=(row["low"], row["high"]), tooltip=tooltip)
