"""The page's tables as plain data: cells with a text, the full value, and the reason where there is none."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from latentpath.report.artefacts import RunArtefacts
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


@dataclass(frozen=True)
class Cell:
    """One cell. value: the unrounded number; bar: share in [0, 1] drawn behind it; reason: why it is n/a."""

    text: str
    value: float | None = None
    bar: float | None = None
    reason: str = ""
    header: bool = False
    rowspan: int = 1


@dataclass(frozen=True)
class Table:
    """`groups` are bodies of rows, set apart by a rule."""

    caption: str
    head: list[str]
    groups: list[list[list[Cell]]] = field(default_factory=list)

    @property
    def barred(self) -> bool:
        return any(cell.bar is not None for group in self.groups for row in group for cell in row)

    @property
    def reasons(self) -> list[str]:
        """Reasons of the n/a cells, once each, in reading order: footnotes a, b, c, ..."""
        cells = (cell for group in self.groups for row in group for cell in row)
        return list(dict.fromkeys(cell.reason for cell in cells if cell.reason))

    def mark(self, cell: Cell) -> str:
        """The letter of the cell's footnote."""
        return self.letter(self.reasons.index(cell.reason))

    @staticmethod
    def letter(index: int) -> str:
        return chr(ord("a") + index % 26) * (index // 26 + 1)


def number(value: Any, reason: str = "", *, digits: int = 2, bar: bool = False) -> Cell:
    """A number, or 'n/a' with its reason."""
    if value is None or value != value:
        return Cell("n/a", reason=reason or "not in this run's artefacts")
    value = float(value)
    return Cell(f"{value:.{digits}f}", value=value, bar=min(max(value, 0.0), 1.0) if bar else None)


def count(value: Any, reason: str = "") -> Cell:
    if value is None:
        return Cell("n/a", reason=reason or "not in this run's artefacts")
    return Cell(f"{int(value):,}", value=float(value))


def header(text: str, rowspan: int = 1) -> Cell:
    return Cell(text, header=True, rowspan=rowspan)


def lookup(tree: Any, *keys: Any) -> Any:
    """tree[k1][k2]..., None where a key is missing."""
    for key in keys:
        if not isinstance(tree, Mapping):
            return None
        tree = tree.get(str(key))
    return tree


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


def main_table(run: RunArtefacts, methods: Sequence[str]) -> Table:
    """CFRT (both definitions) and LPIPS, for each method, class and attribute: the poster's table."""
    single = len(run.classes) == 1
    table = Table(
        "CFRT (higher is better) and LPIPS to the neutral image (lower is better)",
        ["style", "measure", *["class"][single:], *map(words, run.attributes)],
    )
    for method in methods:
        measures = [(f"{label} ↑", _cfrt_cell(run, method, key)) for key, label in DEFINITIONS.items()]
        for key in lpips_keys(run):
            cell = _perceptual_cell(run, method, key, lpips_reason(run, key))
            measures.append((f"LPIPS {key.removeprefix('lpips_')} ↓", cell))
        table.groups.append(_by_method(run, method, measures))
    return table


def conditions_table(run: RunArtefacts, method: str) -> Table:
    """Every condition of CFRT alone: a product hides which one failed."""
    single = len(run.classes) == 1
    present = {
        key
        for by_attribute in (lookup(run.metrics.get("cfrt"), method) or {}).values()
        for entry in by_attribute.values()
        for key in entry
    }
    figures = CONDITIONS | DEFINITIONS | COMPANIONS
    optional = {"dominance_images", *COMPANIONS}
    shown = {key: label for key, label in figures.items() if key in present or key not in optional}
    head = [*["class"][single:], "attribute", *shown.values(), "seeds"]
    table = Table(f"{METHOD_NAMES[method]}: each condition alone, and the two definitions", head)
    for cls in run.classes:
        group = []
        for index, attribute in enumerate(run.attributes):
            first = [header(words(cls), len(run.attributes))] if index == 0 and not single else []
            cells = [_cfrt_cell(run, method, key, bar=True)(cls, attribute) for key in shown]
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
    )
    for method in run.methods:
        cells = [
            (label, _perceptual_cell(run, method, key, "")) for key, label in (("ssim", "SSIM"), ("l1", "L1"))
        ]
        table.groups.append(_by_method(run, method, cells))
    return table


def classifier_table(run: RunArtefacts, split: str) -> Table | None:
    """Accuracy, F1, AUROC per label on one split of the real images; None if that split was not scored."""
    scores = run.classification.get(split)
    if not scores:
        return None
    table = Table(
        f"Classifier on the {'held-out' if split == 'test' else 'validation'} images",
        ["label", "accuracy", "F1", "AUROC", "positives", "images"],
    )
    group = []
    for label, row in scores.items():
        name = "/".join(map(words, run.classes)) if label == "class" else words(label)
        why = f"{name}: one of the two answers does not occur among these images"
        figures = [number(row.get(key), why, bar=True) for key in ("accuracy", "f1", "auroc")]
        # a class has no positives: the images of each class, in the order of its name
        support = row.get("support")
        positives = (
            Cell(" / ".join(f"{n:,}" for n in support.values())) if support else count(row.get("positives"))
        )
        group.append([header(name), *figures, positives, count(row.get("count"))])
    table.groups.append(group)
    return table


def faithfulness_table(run: RunArtefacts) -> Table:
    """Does a prompt say what one gets? Base model against the fine-tuned one."""
    single = len(run.classes) == 1
    head = [*["class"][single:], "attribute", "base: target", "base: neutral"]
    table = Table(
        "Share of images with the attribute under the target prompt (at the strongest swap), "
        "and without it under the neutral prompt",
        [*head, "fine-tuned: target", "fine-tuned: neutral"],
    )
    reasons = {
        "base": "the base model was not traversed in this run",
        "finetuned": "the fine-tuned model was not scored for this in this run",
    }
    for cls in run.classes:
        group = []
        for index, attribute in enumerate(run.attributes):
            first = [header(words(cls), len(run.attributes))] if index == 0 and not single else []
            cells = [
                number(
                    lookup(run.metrics.get("faithfulness"), model, cls, attribute, side),
                    reasons[model],
                    bar=True,
                )
                for model in ("base", "finetuned")
                for side in ("target", "neutral")
            ]
            group.append([*first, header(words(attribute)), *cells])
        table.groups.append(group)
    return table


EDITS = {
    "combination": "several attributes at once",
    "strength": "another strength",
    "window": "only for a while",
    "removal": "from with to without",
}


def edits_table(run: RunArtefacts) -> Table | None:
    """Combinations, strengths, windows and removals: what was asked for, what came; None where there are
    none.
    """
    edits = run.metrics.get("edits") or []
    if not edits:
        return None
    head = ["edit", "class", "attribute", "steps", "strength"]
    table = Table(
        "Edits besides the plain swaps, shares of seeds",
        [*head, "there before", "there after", "all attributes as asked", "others kept", "seeds"],
    )
    for method, name in EDITS.items():
        rows = [edit for edit in edits if edit["method"] == method]
        group = []
        for k, edit in enumerate(rows):
            back = edit["until"] < run.num_inference_steps
            steps = f"{edit['swap_step']} to {edit['until']}" if back else f"from {edit['swap_step']}"
            shares = [
                number(edit[key], "a named attribute has no head, or no score", bar=True)
                for key in ("before", "after", "match", "others_kept")
            ]
            first = [header(name, len(rows))] if k == 0 else []
            named = [header(words(edit["class"])), header(words(edit["attribute"].replace("+", " and ")))]
            middle = [Cell(steps), number(edit["strength"], digits=1)]
            group.append([*first, *named, *middle, *shares, count(edit["n"])])
        if group:
            table.groups.append(group)
    return table


def flip_points_table(run: RunArtefacts) -> Table | None:
    """Where the decision turned, of a traversal that searched for it; None where none did."""
    points = run.metrics.get("flip_points") or {}
    if not points:
        return None
    keys = {"flips": "flips", "never": "never", "already_present": "present before"}
    table = Table(
        "Flip points: the latest swap step at which the attribute is there, found by halving",
        [
            "class",
            "attribute",
            "median flip step",
            *(f"seeds: {label}" for label in keys.values()),
            "not monotone",
        ],
    )
    for cls, by_attribute in points.items():
        table.groups.append(
            [
                [
                    header(words(cls)),
                    header(words(attribute)),
                    number(entry["median"], "no seed flips", digits=0),
                    *(count(entry[key]) for key in keys),
                    count(entry["not_monotone"]),
                ]
                for attribute, entry in by_attribute.items()
            ]
        )
    return table


def curve_table(caption: str, curves: Any, run: RunArtefacts, keys: Mapping[str, str]) -> Table:
    """The numbers behind a chart: a row per class, attribute and quantity, a column per swap step."""
    steps = sorted({int(s) for c in (curves or {}).values() for a in c.values() for s in a}, reverse=True)
    table = Table(caption, ["class", "attribute", "", *map(str, steps)])
    for cls in run.classes:
        group = []
        for attribute in run.attributes:
            for key, label in keys.items():
                values = [lookup(curves, cls, attribute, step, key) for step in steps]
                cells = [number(value, "undefined at this step") for value in values]
                group.append([header(words(cls)), header(words(attribute)), Cell(label), *cells])
        table.groups.append(group)
    return table


def cost_table(run: RunArtefacts) -> Table:
    """Wall time of each stage."""
    table = Table("Wall time of each stage", ["stage", "seconds", "status"])
    group = []
    for stage, manifest in run.manifests.items():
        seconds = number(manifest.get("seconds"), "the stage did not record its time", digits=1)
        group.append([header(stage), seconds, Cell(str(manifest.get("status", "")))])
    table.groups.append(group)
    return table


def mean_of(run: RunArtefacts, tree: str, method: str, key: str) -> float | None:
    """Plain mean of a figure over classes and attributes; None where none of them is defined."""
    values = [lookup(run.metrics.get(tree), method, c, a, key) for c in run.classes for a in run.attributes]
    known = [float(value) for value in values if value is not None and value == value]
    return sum(known) / len(known) if known else None


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


def _cfrt_cell(run: RunArtefacts, method: str, key: str, *, bar: bool = False) -> Callable[[str, str], Cell]:
    def cell(cls: str, attribute: str) -> Cell:
        entry = lookup(run.metrics.get("cfrt"), method, cls, attribute)
        if entry is None:
            return number(
                None, f"{METHOD_NAMES[method]} were not scored for {words(cls)}, {words(attribute)}"
            )
        return number(entry.get(key), lookup(entry, "undefined", key) or "", bar=bar)

    return cell


def _perceptual_cell(run: RunArtefacts, method: str, key: str, why: str) -> Callable[[str, str], Cell]:
    def cell(cls: str, attribute: str) -> Cell:
        value = lookup(run.metrics.get("perceptual"), method, cls, attribute, key)
        return number(value, why or f"no {key.upper()} for {METHOD_NAMES[method]} in this run", digits=3)

    return cell
