"""The question, its answer in one sentence with the numbers, and the figures that stand beside it."""

from dataclasses import dataclass

from markupsafe import Markup

from latentpath.report.artefacts import RunArtefacts
from latentpath.report.cells import Cell, lookup, number
from latentpath.report.pictures import words
from latentpath.report.tables import CONDITIONS, chance, lpips_keys, lpips_reason, mean_of

QUESTION = (
    "When the prompt swaps to an attribute along the reverse diffusion, does only that attribute change?"
)


@dataclass(frozen=True)
class Headline:
    answer: Markup
    weakest: Markup
    scope: str
    tiles: list[tuple[str, Cell, str, str]]  # label, figure, what it means, what to read it against


def headline(run: RunArtefacts) -> Headline:
    """Means over classes and attributes, of the swaps on the strong end of the trajectories."""
    nets = lpips_keys(run)
    net = next((key for key in nets if mean_of(run, "perceptual", "swap", key) is not None), nets[0])
    mean = {key: cfrt_mean(run, key) for key in ("flip", "strict", "all_strict", "released")}
    mean |= {
        "lpips": mean_of(run, "perceptual", "swap", net),
        "ssim": mean_of(run, "perceptual", "swap", "ssim"),
    }
    kept = "class and other attributes" if len(run.classes) > 1 else "other attributes"
    says = {
        "flip": ("flip rate", "attribute absent before, present after"),
        "strict": ("CFRT, poster", f"moves most under its own swap, {kept} kept"),
        "all_strict": ("poster and flip", "both: it appears, and nothing else changes"),
        "released": ("CFRT, released", "head that moves most is the one asked for"),
    }
    if mean["all_strict"] is None:
        del says["all_strict"]
    tiles = [
        (name, number(mean[key], _reason(run, key), ends=mean_ends(run, key)), what, _against(run, key))
        for key, (name, what) in says.items()
    ]
    lpips = number(mean["lpips"], lpips_reason(run, net), digits=3)
    tiles += [
        (f"LPIPS {net.removeprefix('lpips_')}", lpips, "distance to the neutral image", ""),
        ("SSIM", number(mean["ssim"], "not in this run"), "likeness to the neutral image", ""),
    ]
    return Headline(_answer(run, mean), _weakest(run), _scope(run), tiles)


def cfrt_mean(run: RunArtefacts, key: str, method: str = "swap") -> float | None:
    """metrics.json's own mean where it has one, else the mean over classes and attributes."""
    own = lookup(run.metrics.get("cfrt_mean"), method, key)
    return float(own) if own is not None else mean_of(run, "cfrt", method, key)


def mean_ends(run: RunArtefacts, key: str, method: str = "swap") -> tuple[float | None, float | None]:
    """The interval of that mean, where the evaluation gives one: those of its parts do not make it."""
    low, high = (lookup(run.metrics.get("cfrt_mean"), method, f"{key}{end}") for end in ("_low", "_high"))
    return low, high


def _against(run: RunArtefacts, key: str) -> str:
    """Chance, and the span of what the mean is taken of."""
    values = [lookup(run.metrics.get("cfrt"), "swap", c, a, key) for c in run.classes for a in run.attributes]
    known = [value for value in values if value is not None]
    parts = [f"single pairs {min(known):.2f}–{max(known):.2f}"] if len(known) > 1 else []
    by_chance = chance(run, key) if key in ("strict", "released") else None
    return "; ".join([*([f"chance {by_chance:.2f}"] if by_chance else []), *parts])


def _answer(run: RunArtefacts, mean: dict[str, float | None]) -> Markup:
    """`mean`: flip, strict, released, lpips, ssim. First whether anything appears at all: what does not flip
    cannot show that only it changed."""
    kept = "class and all other attributes" if len(run.classes) > 1 else "all other attributes"
    clauses = {
        "flip": "the attribute newly appears in <strong>{:.0%}</strong> of the strong edits",
        "strict": "in <strong>{:.0%}</strong> it responds to its own swap more than to any other while "
        f"{kept} stay as they were (CFRT as on the poster)",
        "all_strict": "both in <strong>{:.0%}</strong>",
        "released": "in <strong>{:.0%}</strong> of the trajectories no other attribute’s score moves further "
        "(CFRT as in the released code)",
        "lpips": "the mean LPIPS to the neutral image is <strong>{:.3f}</strong>",
        "ssim": "the mean SSIM to the neutral image is <strong>{:.2f}</strong> (LPIPS: n/a)",
    }
    if mean["lpips"] is not None:
        del clauses["ssim"]
    parts = [Markup(text).format(value) for key, text in clauses.items() if (value := mean[key]) is not None]
    if mean["strict"] is None and mean["released"] is None:
        parts.append(Markup("CFRT is n/a: {}").format(_reason(run, "strict")))
    sentence = Markup("; ").join(parts) + "."
    return sentence[:1].upper() + sentence[1:]


def _weakest(run: RunArtefacts) -> Markup:
    """The pair that fares worst by the strictest definition there is, and its worst condition."""
    key = "strict" if cfrt_mean(run, "strict") is not None else "released"
    scored = [
        (value, cls, attribute)
        for cls in run.classes
        for attribute in run.attributes
        if (value := lookup(run.metrics.get("cfrt"), "swap", cls, attribute, key)) is not None
    ]
    if len(scored) < 2:
        return Markup("")
    value, cls, attribute = min(scored)
    entry = lookup(run.metrics.get("cfrt"), "swap", cls, attribute)
    named = ("dominance_images" if "dominance_images" in entry else "dominance", "class_kept", "others_kept")
    conditions = [(entry[name], CONDITIONS[name]) for name in named if entry.get(name) is not None]
    where = f"{words(attribute)} in {words(cls)}" if len(run.classes) > 1 else words(attribute)
    text = Markup("Least selective is <strong>{}</strong> ({})").format(where, f"{value:.2f}")
    if conditions and key == "strict":
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


def _reason(run: RunArtefacts, key: str) -> str:
    """Why a figure of CFRT is undefined everywhere, in the evaluation's own words."""
    for cls in run.classes:
        for attribute in run.attributes:
            reason = lookup(run.metrics.get("cfrt"), "swap", cls, attribute, "undefined", key)
            if reason:
                return str(reason)
    return "no swaps were scored in this run"
