"""The table of what edits did beyond a placebo, and what it is read against."""

from latentpath.metrics import figure
from latentpath.report.artefacts import RunArtefacts
from latentpath.report.cells import Cell, Table, count, header
from latentpath.report.pictures import words
from latentpath.report.tables import figure_cell

BEYOND = ("effectiveness", "leak")
ALONE = ("others_changed", "placebo_changed", "mnac")


def outcomes_table(run: RunArtefacts) -> Table | None:
    """Make the table of effect and leak of the swaps, their means first; None if they were not computed."""
    if "others_changed" not in run.figures.figures:
        return None
    shown = [key for key in (*BEYOND, *ALONE) if key in run.figures.figures]
    single = len(run.classes) == 1
    table = Table(
        "What the strong swaps did, in brackets 95 % intervals over seeds",
        [*["class"][single:], "attribute", *(figure(key).heading for key in shown), "seeds"],
        name="outcomes",
    )
    cells = {key: figure_cell(run, "swap", key) for key in shown}
    first = [header("mean"), header("")][single:]
    table.groups.append([[*first, *(cell() for cell in cells.values()), Cell("")]])
    for cls in run.classes:
        group = []
        for index, attribute in enumerate(run.attributes):
            named = [header(words(cls), len(run.attributes))] if index == 0 and not single else []
            found = run.figures.get("others_changed", cls, attribute)
            values = [cell(cls, attribute) for cell in cells.values()]
            group.append([*named, header(words(attribute)), *values, count(found.n if found else None)])
        table.groups.append(group)
    return table


def class_matches(run: RunArtefacts) -> list[tuple[str, Cell]]:
    """Return of each class the share of neutral images that the judge takes for it; [] with one class."""
    cell = figure_cell(run, "neutral", "class_match")
    known = [cls for cls in run.classes if run.figures.get("class_match", cls, method="neutral")]
    return [(words(cls), cell(cls)) for cls in known]
