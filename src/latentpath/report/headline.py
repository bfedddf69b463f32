"""The headline of the page: the question, its answer in a few sentences, and tiles with figures."""

from dataclasses import dataclass

from markupsafe import Markup

from latentpath.metrics import figure
from latentpath.metrics.measures import MEASURES, STRONG
from latentpath.report.artefacts import RunArtefacts
from latentpath.report.cells import Cell, Table, header
from latentpath.report.pictures import words
from latentpath.report.tables import figure_cell, lpips_keys

QUESTION = (
    "When the prompt swaps to an attribute along the reverse diffusion, does only that attribute change?"
)


@dataclass(frozen=True)
class Headline:
    """What the page says first."""

    answer: Markup
    literature: Markup  # the figures of other papers: CFRT and LPIPS
    weakest: Markup
    scope: str
    tiles: list[tuple[str, Cell, str, str]]  # label, figure, what it means, what to read it against


def headline(run: RunArtefacts) -> Headline:
    """Return the headline from means over classes and attributes, for swaps on the strong end.

    It begins with figures that are poor if an edit does nothing: the effect, the leak beyond a placebo, the
    selectivity.
    """
    net = next((key for key in lpips_keys(run) if run.figures.value(key) is not None), None)
    kept = "class and other attributes" if len(run.classes) > 1 else "other attributes"
    meanings = {
        "flipped_eligible": "where it was absent, the attribute appears",
        _leak(run): "other decisions that the edit changed"
        + (", less those that a placebo changed" if _leak(run) == "leak" else ""),
        "selectivity": "its score rises most under its own edit, not under others",
        "cfrt_strict": f"moves most under its own swap, {kept} kept",
        "cfrt_released": "head that rises most is the one asked for",
        net or "ssim": "distance to the neutral image"
        if net
        else "likeness to the neutral image (LPIPS: n/a)",
    }
    tiles = [
        (figure(key).label, figure_cell(run, "swap", key)(), what, _against(run, key))
        for key, what in meanings.items()
    ]
    mean = {key: run.figures.value(key) for key in meanings}
    sentences = _sentences(mean)
    return Headline(
        Markup(" ").join(sentences), _literature(run, mean, net), _weakest(run), _scope(run), tiles
    )


def verdict(run: RunArtefacts) -> str:
    """Return the answer in one line of plain text: the effect, and what changed besides."""
    keys = ("flipped_eligible", "leak", "others_changed")
    sentences = _sentences({key: run.figures.value(key) for key in keys})
    return Markup(" ").join(sentences[:2]).striptags() or "n/a: no figure of the swaps is defined."


def means_table(run: RunArtefacts) -> Table:
    """Make the table of the means over classes and attributes, for swaps, with what each figure says."""
    table = Table(
        "Means over classes and attributes, in brackets 95 % intervals over seeds",
        ["figure", "mean", "what it says"],
        name="means",
    )
    keys = ["flipped_eligible", "effectiveness", "leak", "others_changed", "selectivity", "all_strict"]
    keys += ["cfrt_strict", "cfrt_released", "flipped", "class_kept", "others_kept", "mnac"]
    keys += [name for key in MEASURES for name in (key, f"{key}{STRONG}")]
    known = [key for key in keys if run.figures.value(key) is not None]
    table.groups.append(
        [
            [header(figure(key).label), figure_cell(run, "swap", key)(), Cell(figure(key).definition)]
            for key in known
        ]
    )
    return table


def _leak(run: RunArtefacts) -> str:
    return "leak" if "leak" in run.figures.figures else "others_changed"


def _against(run: RunArtefacts, key: str) -> str:
    """Return what to compare a figure with: chance level, related figures, range behind the mean."""
    if key in MEASURES:
        strong = run.figures.value(f"{key}{STRONG}")
        return "" if strong is None else f"on the strong end {strong:.{figure(key).digits}f}"
    values = [run.figures.value(key, c, a) for c in run.classes for a in run.attributes]
    known = [value for value in values if value is not None]
    parts = [f"single pairs {min(known):.2f}–{max(known):.2f}"] if len(known) > 1 else []
    beside = {
        "cfrt_strict": ("chance", run.metrics["chance"]["cfrt_strict"]),
        "cfrt_released": ("under other edits", run.figures.value("released_null")),
        "flipped_eligible": ("of all seeds", run.figures.value("flipped")),
        "leak": ("a placebo changes", run.figures.value("placebo_changed")),
        "selectivity": ("none", 0.0),
    }
    name, value = beside.get(key, ("", None))
    return "; ".join([*([f"{name} {value:.2f}"] if value is not None else []), *parts])


def _sentences(mean: dict[str, float | None]) -> list[Markup]:
    """Return the answer as sentences; the effect comes first, as nothing else counts without it."""
    texts = {
        "flipped_eligible": "Where the attribute was absent, it appears in <strong>{:.0%}</strong> of the "
        "strong edits.",
        "leak": "Of the decisions about everything else, the edits change <strong>{:.1%}</strong> more than "
        "a placebo does.",
        "others_changed": "Of the decisions about everything else, the edits change <strong>{:.1%}</strong>.",
        "selectivity": "The selectivity is <strong>{:.2f}</strong>: how much more often the attribute’s "
        "score rises most under its own edit than under others (1: always; 0: no more often).",
    }
    return [_filled(text, value) for key, text in texts.items() if (value := mean.get(key)) is not None]


def _literature(run: RunArtefacts, mean: dict[str, float | None], net: str | None) -> Markup:
    """Return the figures that other papers report, as one sentence."""
    kept = "class and all other attributes" if len(run.classes) > 1 else "all other attributes"
    texts = {
        "cfrt_strict": "<strong>{:.2f}</strong> by the strict definition (an attribute moves more under its "
        f"own edit than under any other, and {kept} stay as they were)",
        "cfrt_released": "<strong>{:.2f}</strong> by the released one (no other attribute’s score rises "
        "further)",
        net or "": "the mean LPIPS to the neutral image is <strong>{:.3f}</strong>",
        "ssim": "the mean SSIM to the neutral image is <strong>{:.2f}</strong> (LPIPS: n/a)",
    }
    parts = [_filled(text, value) for key, text in texts.items() if (value := mean.get(key)) is not None]
    if mean["cfrt_strict"] is None and mean["cfrt_released"] is None:
        why = figure_cell(run, "swap", "cfrt_strict")().reason
        parts.insert(0, Markup("n/a: {}").format(why))
    return Markup("The poster’s figure, CFRT (Classifier Flip Rate along a Trajectory), is {}.").format(
        Markup("; ").join(parts)
    )


def _filled(text: str, value: float) -> Markup:
    """Put a number into a text, with a minus sign in the place of a hyphen."""
    return Markup(str(Markup(text).format(value)).replace(">-", ">−"))


def _weakest(run: RunArtefacts) -> Markup:
    """Name the class and attribute with the lowest CFRT, and its weakest condition."""
    key = "cfrt_strict" if run.figures.value("cfrt_strict") is not None else "cfrt_released"
    scored = [
        (value, cls, attribute)
        for cls in run.classes
        for attribute in run.attributes
        if (value := run.figures.value(key, cls, attribute)) is not None
    ]
    if len(scored) < 2:
        return Markup("")
    value, cls, attribute = min(scored)
    named = ("dominant_images", "class_kept", "others_kept")
    known = {name: run.figures.value(name, cls, attribute) for name in named}
    conditions = [(share, figure(name).label) for name, share in known.items() if share is not None]
    where = f"{words(attribute)} in {words(cls)}" if len(run.classes) > 1 else words(attribute)
    text = Markup("{} is lowest for <strong>{}</strong> ({})").format(
        figure(key).label, where, f"{value:.2f}"
    )
    if conditions and key == "cfrt_strict":
        low, label = min(conditions)
        text += Markup(", whose weakest condition is <em>{}</em> ({})").format(label, f"{low:.2f}")
    return text + "."


def _scope(run: RunArtefacts) -> str:
    parts = [
        _plural(len(run.classes), "class", "classes"),
        _plural(len(run.attributes), "attribute"),
        f"{_plural(len(run.swap_steps), 'swap step')} of {run.num_inference_steps} sampler steps",
    ]
    if run.seeds:
        parts.append(f"{_plural(run.seeds, 'seed')} per class")
    if run.plan.get("inversion"):
        parts.append("from real images, inverted")
    if run.latents:
        parts.append(_plural(run.latents, "image"))
    return " · ".join(parts)


def _plural(n: int, one: str, many: str = "") -> str:
    return f"{n:,} {one if n == 1 else many or one + 's'}"
