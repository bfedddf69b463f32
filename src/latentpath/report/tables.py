"""The tables of the headline figures: CFRT with its intervals, its conditions, LPIPS, SSIM, L1."""

from collections.abc import Callable, Sequence

from latentpath.report.artefacts import RunArtefacts
from latentpath.report.cells import Cell, Table, count, header, lookup, number
from latentpath.report.pictures import words

DEFINITIONS = {"strict": "CFRT, poster", "released": "CFRT, released"}
CONDITIONS = {
    "flip": "flip",
    "dominance": "dominance, heads",
    "dominance_images": "dominance, swaps",
    "class_kept": "class kept",
    "others_kept": "others kept",
}
# Shown where the evaluation gives them. `all_strict`: the poster's definition and a flip besides.
COMPANIONS = {"already_present": "present before", "all_strict": "poster and flip"}
METHOD_NAMES = {"swap": "Swaps", "bezier": "Bezier", "cubic": "Cubic", "slerp": "Slerp", "lerp": "Lerp"}


def main_table(run: RunArtefacts, methods: Sequence[str], *, name: str = "cfrt_lpips") -> Table:
    """CFRT and LPIPS, for each method, class and attribute: the poster's table; below it, what CFRT has to be
    read against."""
    single = len(run.classes) == 1
    table = Table(
        "CFRT (higher is better), in brackets 95 % intervals over seeds; LPIPS to the neutral image (lower "
        "is better)",
        ["style", "measure", *["class"][single:], *map(words, run.attributes)],
        name=name,
    )
    for method in methods:
        figures = DEFINITIONS | ({"all_strict": "poster and flip"} if _has(run, method, "all_strict") else {})
        order = [key for key in ("strict", "all_strict", "released") if key in figures]
        measures = [(f"{figures[key]} ↑", cfrt_cell(run, method, key)) for key in order]
        for key in lpips_keys(run):
            cell = _perceptual_cell(run, method, key, lpips_reason(run, key))
            measures.append((f"LPIPS {key.removeprefix('lpips_')} ↓", cell))
        table.groups.append(_by_method(run, method, measures))
    table.groups.append(_beside(run, single))
    return table


def conditions_table(run: RunArtefacts, method: str) -> Table:
    """Every condition of CFRT alone: a product hides which one failed."""
    single = len(run.classes) == 1
    figures = CONDITIONS | DEFINITIONS | COMPANIONS
    optional = {"dominance_images", *COMPANIONS}
    shown = {key: label for key, label in figures.items() if key not in optional or _has(run, method, key)}
    head = [*["class"][single:], "attribute", *shown.values(), "seeds"]
    caption = f"{METHOD_NAMES[method]}: each condition alone, and the two definitions"
    table = Table(caption, head, name=f"conditions_{method}")
    for cls in run.classes:
        group = []
        for index, attribute in enumerate(run.attributes):
            first = [header(words(cls), len(run.attributes))] if index == 0 and not single else []
            cells = [cfrt_cell(run, method, key, bar=True)(cls, attribute) for key in shown]
            total = count(lookup(run.metrics.get("cfrt"), method, cls, attribute, "count"))
            group.append([*first, header(words(attribute)), *cells, total])
        table.groups.append(group)
    return table


def companions_table(run: RunArtefacts) -> Table:
    """L1 and SSIM to the neutral image, which need no weights."""
    single = len(run.classes) == 1
    table = Table(
        "SSIM (1: the same) and L1 (0: the same; pixels in [0, 1]), both to the neutral image",
        ["style", "measure", *["class"][single:], *map(words, run.attributes)],
        name="ssim_l1",
    )
    for method in run.methods:
        cells = [
            (label, _perceptual_cell(run, method, key, "")) for key, label in (("ssim", "SSIM"), ("l1", "L1"))
        ]
        table.groups.append(_by_method(run, method, cells))
    return table


def chance(run: RunArtefacts, definition: str) -> float | None:
    """What a definition gives when nothing asked for happens (see experiments/metric_validation).

    Then some head moves most (released), or some edit (strict): one of as many as there are. None with one.
    """
    rivals = len(run.heads if definition == "released" else run.attributes)
    return 1 / rivals if rivals > 1 else None


def lpips_keys(run: RunArtefacts) -> list[str]:
    """lpips_<net> of every network in the run, at least the paper's."""
    cells = [
        cell
        for by_class in run.metrics.get("perceptual", {}).values()
        for by_attribute in by_class.values()
        for cell in by_attribute.values()
    ]
    return sorted({key for cell in cells for key in cell if key.startswith("lpips_")}) or ["lpips_alex"]


def lpips_reason(run: RunArtefacts, key: str) -> str:
    """What the evaluation noted about this LPIPS network."""
    net = key.removeprefix("lpips_")
    notes = [note for note in run.metrics.get("notes", []) if "lpips" in note.lower()]
    return next(
        (note for note in notes if net in note.lower()), next(iter(notes), f"no LPIPS ({net}) in this run")
    )


def mean_of(run: RunArtefacts, tree: str, method: str, key: str) -> float | None:
    """Plain mean of a figure over classes and attributes; None where none of them is defined."""
    values = [lookup(run.metrics.get(tree), method, c, a, key) for c in run.classes for a in run.attributes]
    known = [float(value) for value in values if value is not None and value == value]
    return sum(known) / len(known) if known else None


def cfrt_cell(run: RunArtefacts, method: str, key: str, *, bar: bool = False) -> Callable[[str, str], Cell]:
    """(class, attribute) -> a figure of CFRT with its interval."""

    def cell(cls: str, attribute: str) -> Cell:
        entry = lookup(run.metrics.get("cfrt"), method, cls, attribute)
        if entry is None:
            return number(
                None, f"{METHOD_NAMES[method]} were not scored for {words(cls)}, {words(attribute)}"
            )
        ends = (entry.get(f"{key}_low"), entry.get(f"{key}_high"))
        return number(entry.get(key), lookup(entry, "undefined", key) or "", bar=bar, ends=ends)

    return cell


def _has(run: RunArtefacts, method: str, key: str) -> bool:
    by_class = lookup(run.metrics.get("cfrt"), method) or {}
    return any(key in entry for by_attribute in by_class.values() for entry in by_attribute.values())


def _beside(run: RunArtefacts, single: bool) -> list[list[Cell]]:
    """Rows of chance and of the judge on real images: the zero and the ceiling of CFRT."""
    judge = run.classification.get("test") or {}
    why = "no classifier scores on held-out images in this run"
    by_chance = {key: chance(run, key) for key in DEFINITIONS}
    if by_chance["strict"] == by_chance["released"]:
        named = {"CFRT by chance": by_chance["strict"]}
    else:
        named = {f"{label}, by chance": by_chance[key] for key, label in DEFINITIONS.items()}
    rows = {label: [number(v, "only one attribute")] * len(run.attributes) for label, v in named.items()}
    for key, label in (("accuracy", "judge’s accuracy"), ("auroc", "judge’s AUROC")):
        rows[label] = [number(lookup(judge, a, key), why) for a in run.attributes]
    return [
        [*[header("To compare", len(rows))][k > 0 :], header(label), *[Cell("")][single:], *cells]
        for k, (label, cells) in enumerate(rows.items())
    ]


def _by_method(
    run: RunArtefacts, method: str, measures: Sequence[tuple[str, Callable[[str, str], Cell]]]
) -> list[list[Cell]]:
    """The rows of one method: its measures, of each a row a class; a single class needs no name."""
    rows = []
    for m, (label, cell) in enumerate(measures):
        for c, cls in enumerate(run.classes):
            style = [header(METHOD_NAMES[method], len(measures) * len(run.classes))] if m == c == 0 else []
            measure = [header(label, len(run.classes))] if c == 0 else []
            name = [header(words(cls))] if len(run.classes) > 1 else []
            rows.append([*style, *measure, *name, *(cell(cls, attribute) for attribute in run.attributes)])
    return rows


def _perceptual_cell(run: RunArtefacts, method: str, key: str, why: str) -> Callable[[str, str], Cell]:
    def cell(cls: str, attribute: str) -> Cell:
        value = lookup(run.metrics.get("perceptual"), method, cls, attribute, key)
        return number(value, why or f"no {key.upper()} for {METHOD_NAMES[method]} in this run", digits=3)

    return cell
