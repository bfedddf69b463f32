"""The table of effects of edits beyond those of a placebo, and the figures to compare them with."""

from latentpath.metrics import figure
from latentpath.report.artefacts import RunArtefacts
from latentpath.report.cells import Cell, Table, count, header
from latentpath.report.pictures import words
from latentpath.report.tables import figure_cell, pair_head, pair_rows

BEYOND = ("effectiveness", "leak")
ALONE = ("others_changed", "placebo_changed", "mnac")


def outcomes_table(run: RunArtefacts) -> Table | None:
    """Make the table of effect and leak of the swaps, their means first; None if they were not computed."""
    if "others_changed" not in run.figures.figures:
        return None
    shown = [key for key in (*BEYOND, *ALONE) if key in run.figures.figures]
    cells = [figure_cell(run, "swap", key) for key in shown]

    def row(cls: str, attribute: str) -> list[Cell]:
        found = run.figures.get("others_changed", cls, attribute)
        return [*(cell(cls, attribute) for cell in cells), count(found.n if found else None)]

    caption = "What the strong swaps did, in brackets 95 % intervals over seeds"
    head = [*pair_head(run), *(figure(key).heading for key in shown), "seeds"]
    named = [header("mean"), header("")][len(run.classes) == 1 :]
    mean = [[*named, *(cell() for cell in cells), Cell("")]]
    return Table(caption, head, [mean, *pair_rows(run, row)], name="outcomes")


def class_matches(run: RunArtefacts) -> list[tuple[str, Cell]]:
    """Return (class, share of its neutral images that the judge assigns to it); [] with one class."""
    cell = figure_cell(run, "neutral", "class_match")
    known = [cls for cls in run.classes if run.figures.get("class_match", cls, method="neutral")]
    return [(words(cls), cell(cls)) for cls in known]
