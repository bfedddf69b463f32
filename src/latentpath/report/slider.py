"""Makes the data of the page's script: images and probabilities, points of the map, tables as text."""

import hashlib
import json
from base64 import b64encode
from collections.abc import Iterable, Sequence

from markupsafe import Markup

from latentpath.keys import INTERPOLATIONS
from latentpath.report.artefacts import RunArtefacts
from latentpath.report.cells import Table
from latentpath.report.export import to_csv, to_latex
from latentpath.report.pictures import Gallery, thinned, words
from latentpath.report.sprites import Sheet, encode_sheets
from latentpath.report.tables import METHOD_NAMES
from latentpath.runs.files import Json

MAX_SEEDS, MAX_POSITIONS = 64, 50
SLIDER_BYTES = 9_500_000  # of its pictures in base64
SHARE = 0.55  # of the bytes, for the swaps; the other paths share the rest equally


def explorer(run: RunArtefacts, gallery: Gallery, budget: int = SLIDER_BYTES) -> Json:
    """Return the data of the trajectory slider, or {} if no images are stored.

    A track is a path from neutral to an attribute: the swaps, another method, or an interpolation.
    tracks: [{name, labels, descriptions}], with a label and a description for each position.
    sheets: [{class, seed, track, side, uri, lone, probs}]; lone: the neutral tile is alone in the last row.
    probs: by attribute and position the probabilities of `heads` and then of the classes, in per mille; null
    where there is no picture.
    """
    tracks, places = _tracks(run, gallery)
    heads, sheets = run.heads, []
    for t, (method, positions) in enumerate(places):
        there = {cls: [gallery.seeds(cls, a, method) for a in run.attributes] for cls in run.classes}
        wanted = [
            (c, seed)
            for seed in gallery.all_seeds()[:MAX_SEEDS]
            for c, cls in enumerate(run.classes)
            if any(seed in seeds for seeds in there[cls])
        ]
        made = [_sheet(run, gallery, heads, run.classes[c], seed, method, positions) for c, seed in wanted]
        share = budget / (len(places) - t) if t else budget * (SHARE if len(places) > 1 else 1)
        encoded = encode_sheets([sheet for sheet, _ in made], int(share))
        for (c, seed), (_, probs), (side, uri) in zip(wanted, made, encoded, strict=False):
            budget -= len(uri)
            key = {"class": c, "seed": seed, "track": t, "side": side, "lone": _by_step(method)}
            sheets.append(key | {"uri": uri, "probs": probs})
    if not sheets:
        return {}
    return {
        "threshold": run.threshold,
        "classes": [words(c) for c in run.classes],
        "attributes": [words(a) for a in run.attributes],
        "heads": [words(h) for h in heads],
        "deciding": _decides(run),
        "tracks": tracks,
        "sheets": sheets,
    }


def payload(tables: Iterable[Table], **parts: Json | None) -> Markup:
    """Return the data of the page as JSON: the tables to copy, and `parts`. It cannot end its element."""
    copies = {t.name: {"LaTeX": to_latex(t), "CSV": to_csv(t)} for t in tables if t.name}
    content = {"copies": copies} | {name: part for name, part in parts.items() if part}
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)


def script_hash(script: str) -> str:
    """Return the hash source with which a Content-Security-Policy allows only this script."""
    return f"sha256-{b64encode(hashlib.sha256(script.encode()).digest()).decode()}"


def _tracks(run: RunArtefacts, gallery: Gallery) -> tuple[list[Json], list[tuple[str, list[int]]]]:
    """Return the tracks with labels of each position, and (method, positions after neutral)."""
    steps = thinned(gallery.steps(), MAX_POSITIONS)
    if not steps:
        return [], []
    descriptions = ["neutral, no swap", *(f"swap at step {step}" for step in steps)]
    track = {
        "name": METHOD_NAMES["swap"],
        "labels": ["neutral", *map(str, steps)],
        "descriptions": descriptions,
    }
    tracks, places = [track | {"steps": [run.num_inference_steps, *steps]}], [("swap", steps)]
    for method, dial in run.shown_dials.items():
        if steps := thinned(gallery.steps(method), MAX_POSITIONS):
            name = words(method) if dial == 1 else f"{words(method)}, {dial:g}"
            descriptions = ["neutral, no edit", *(f"{name} from step {step}" for step in steps)]
            tracks.append(
                {"name": name, "labels": ["neutral", *map(str, steps)], "descriptions": descriptions}
            )
            places.append((method, steps))
    for method in run.methods:
        if method != "swap" and (frames := thinned(gallery.positions(method), MAX_POSITIONS)):
            last = max((run.frames or frames[-1] + 1) - 1, 1)
            labels = [f"{frame / last:.2f}" for frame in frames]
            descriptions = [f"{METHOD_NAMES[method]} at t = {label}" for label in labels]
            tracks.append({"name": METHOD_NAMES[method], "labels": labels, "descriptions": descriptions})
            places.append((method, frames))
    return tracks, places


def _sheet(
    run: RunArtefacts,
    gallery: Gallery,
    heads: Sequence[str],
    cls: str,
    seed: int,
    method: str,
    places: list[int],
) -> tuple[Sheet, list[list[list[int | None] | None]]]:
    columns = [f"prob_{h}" for h in heads] + [f"class_prob_{c}" for c in run.classes if _decides(run)]

    def scores(attribute: str, position: int | None) -> list[int | None] | None:
        found = [gallery.score(cls, seed, attribute, position, column, method) for column in columns]
        return [None if p is None else round(1000 * p) for p in found]

    rows, probs, lone = [], [], _by_step(method)
    neutral = gallery.neutral(cls, seed, run.attributes[0]) if lone else None
    for attribute in run.attributes:
        row = [gallery.edit(cls, seed, attribute, method, position) for position in places]
        rows.append(row)
        known = [scores(attribute, p) if picture else None for p, picture in zip(places, row, strict=True)]
        first = [scores("", None) if neutral else None] if lone else []
        probs.append([*first, *known])
    return Sheet([*rows, *[[neutral]] * lone]), probs


def _by_step(method: str) -> bool:
    """Whether the images of a method have swap steps; its neutral image then has a row of its own."""
    return method not in INTERPOLATIONS


def _decides(run: RunArtefacts) -> bool:
    return len(run.classes) > 1 and all(f"class_prob_{c}" in run.examples for c in run.classes)
