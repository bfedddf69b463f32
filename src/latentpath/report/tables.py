"""The main tables: CFRT with intervals, its conditions, LPIPS, SSIM and L1."""

from collections.abc import Callable, Mapping, Sequence

from latentpath.metrics import figure
from latentpath.metrics.measures import MEASURES
from latentpath.report.artefacts import RunArtefacts
from latentpath.report.cells import Cell, Table, count, header, lookup, number
from latentpath.report.pictures import words

DEFINITIONS = ("selectivity", "cfrt_strict", "all_strict", "cfrt_released")
CONDITIONS = (
    "flipped",
    "flipped_eligible",
    "dominant_heads",
    "dominant_absolute",
    "dominant_images",
    "class_kept",
    "others_kept",
)
SHOWN = (
    *CONDITIONS,
    "cfrt_strict",
    "all_strict",
    "cfrt_released",
    "released_null",
    "selectivity_p",
    "already_present",
)
METHOD_NAMES = {"swap": "Swaps", "bezier": "Bezier", "cubic": "Cubic", "slerp": "Slerp", "lerp": "Lerp"}


def main_table(run: RunArtefacts, methods: Sequence[str], *, name: str = "cfrt_lpips") -> Table:
    """Make the poster's table, CFRT and LPIPS per method, class and attribute, with chance levels below."""
    single = len(run.classes) == 1
    table = Table(
        "CFRT (higher is better), in brackets 95 % intervals over seeds; LPIPS to the neutral image (lower "
        "is better)",
        ["style", "measure", *["class"][single:], *map(words, run.attributes)],
        name=name,
    )
    for method in methods:
        cells = {
            figure(key).heading: figure_cell(run, method, key) for key in (*DEFINITIONS, *lpips_keys(run))
        }
        table.groups.append(_by_method(run, method, cells))
    table.groups.append(_beside(run, single))
    return table


def conditions_table(run: RunArtefacts, method: str) -> Table:
    """Make the table of each condition of CFRT alone, which shows which condition failed."""
    cells = [figure_cell(run, method, key, bar=True) for key in SHOWN]

    def row(cls: str, attribute: str) -> list[Cell]:
        flips = run.figures.get("flipped", cls, attribute, method=method)
        return [*(cell(cls, attribute) for cell in cells), count(flips.n if flips else None)]

    caption = f"{METHOD_NAMES[method]}: each condition alone, and the two definitions"
    head = [*pair_head(run), *(figure(key).label for key in SHOWN), "seeds"]
    return Table(caption, head, pair_rows(run, row), name=f"conditions_{method}")


def companions_table(run: RunArtefacts) -> Table:
    """Make the table of L1 and SSIM to the neutral image, the distances that need no downloaded weights."""
    single = len(run.classes) == 1
    table = Table(
        "SSIM (1: the same), L1 (0: the same; pixels in [0, 1]) and other distances to the neutral image",
        ["style", "measure", *["class"][single:], *map(words, run.attributes)],
        name="ssim_l1",
    )
    others = [key for key, measure in MEASURES.items() if not measure.net and key in run.figures.figures]
    for method in run.methods:
        cells = {figure(key).label: figure_cell(run, method, key) for key in others}
        table.groups.append(_by_method(run, method, cells))
    return table


def pair_head(run: RunArtefacts) -> list[str]:
    """Return the names of the first columns of `pair_rows`: class, if there are several, and attribute."""
    return ["class", "attribute"] if len(run.classes) > 1 else ["attribute"]


def pair_rows(run: RunArtefacts, cells: Callable[[str, str], list[Cell]]) -> list[list[list[Cell]]]:
    """Return a group for each class, with a row for each attribute: their names, then `cells` of the two."""
    groups = [[[header(words(a)), *cells(cls, a)] for a in run.attributes] for cls in run.classes]
    if len(run.classes) > 1:
        for cls, group in zip(run.classes, groups, strict=True):
            group[0].insert(0, header(words(cls), len(group)))
    return groups


def lpips_keys(run: RunArtefacts) -> list[str]:
    """Return lpips_<net> of every network in the run, at least that of the paper."""
    there = run.figures.figures
    return [key for key, measure in MEASURES.items() if measure.net and key in there] or ["lpips_alex"]


def lpips_reason(run: RunArtefacts, key: str) -> str:
    """Return the evaluation's note about this LPIPS network."""
    net = key.removeprefix("lpips_")
    notes = [note for note in run.metrics.get("notes", []) if "lpips" in note.lower()]
    return next(
        (note for note in notes if net in note.lower()), next(iter(notes), f"no LPIPS ({net}) in this run")
    )


def figure_cell(run: RunArtefacts, method: str, key: str, *, bar: bool = False) -> Callable[..., Cell]:
    """Return a function from class and attribute (or nothing, for the mean) to the figure's cell."""
    digits = figure(key).digits

    def cell(cls: str | None = None, attribute: str | None = None) -> Cell:
        found = run.figures.get(key, cls, attribute, method=method)
        if found is None:
            return number(None, f"no {figure(key).label} of {METHOD_NAMES[method]} in this run")
        why = lpips_reason(run, key) if key in MEASURES and MEASURES[key].net else found.reason
        return number(found.value, why, digits=digits, bar=bar, ends=(found.low, found.high))

    return cell


def _beside(run: RunArtefacts, single: bool) -> list[list[Cell]]:
    """Return rows of chance and of the judge's accuracy: the lowest and highest CFRT to expect.

    The chance level of the released definition differs by head: how often the head rises most under the other
    edits, as a mean over classes.
    """
    judge = run.classification.get("test") or {}
    why = "no classifier scores on held-out images in this run"
    strict = number(run.metrics["chance"]["cfrt_strict"], "only one attribute")
    rows = {
        "strict, by chance": [strict] * len(run.attributes),
        figure("released_null").label: [_mean_of_classes(run, "released_null", a) for a in run.attributes],
    }
    for key, label in (("accuracy", "judge’s accuracy"), ("auroc", "judge’s AUROC")):
        rows[label] = [number(lookup(judge, a, key), why) for a in run.attributes]
    return [
        [*[header("To compare", len(rows))][k > 0 :], header(label), *[Cell("")][single:], *cells]
        for k, (label, cells) in enumerate(rows.items())
    ]


def _mean_of_classes(run: RunArtefacts, key: str, attribute: str) -> Cell:
    values = [run.figures.value(key, cls, attribute) for cls in run.classes]
    known = [value for value in values if value is not None]
    return number(sum(known) / len(known) if known else None, "only one attribute")


def _by_method(
    run: RunArtefacts, method: str, measures: Mapping[str, Callable[..., Cell]]
) -> list[list[Cell]]:
    """Return the rows of one method: for each measure one row per class, unnamed if there is one class."""
    rows = []
    for m, (label, cell) in enumerate(measures.items()):
        for c, cls in enumerate(run.classes):
            style = [header(METHOD_NAMES[method], len(measures) * len(run.classes))] if m == c == 0 else []
            measure = [header(label, len(run.classes))] if c == 0 else []
            name = [header(words(cls))] if len(run.classes) > 1 else []
            rows.append([*style, *measure, *name, *(cell(cls, attribute) for attribute in run.attributes)])
    return rows
