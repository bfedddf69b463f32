"""Tables of the judge's accuracy on real images, and of how well images match their prompts."""

from collections.abc import Callable, Sequence

from latentpath.keys import BASE, FINETUNED, HELD_OUT, LABELLED
from latentpath.report.artefacts import RunArtefacts
from latentpath.report.cells import Cell, Table, count, header, lookup, number
from latentpath.report.pictures import words
from latentpath.report.tables import pair_head, pair_rows
from latentpath.runs.files import Json

RATES = {"auroc": "AUROC", "sensitivity": "sensitivity", "specificity": "specificity"}
COUNTS = ("positives", "negatives", "groups")  # of the held-out images


def classifier_table(classification: Json, classes: Sequence[str], split: str) -> Table | None:
    """Make the table of accuracy, F1 and AUROC per label on one split; None if that split was not scored.

    classification: classify/metrics.json. split: "val" or "test". If the classifier was calibrated, the table
    has the calibration error before and after.
    """
    scores = classification.get(split)
    if not scores:
        return None
    errors = {}
    if any("ece" in row for row in scores.values()):
        errors = {("ece",): "ECE"}
    if any(row.get("uncalibrated") for row in scores.values()):
        errors = {("uncalibrated", "ece"): "ECE before", ("ece",): "ECE after"}
    held_out = classification.get("held_out", {}) if split == "test" else {}
    vae = ["AUROC after the VAE"] if held_out.get("round_trips") else []
    group = []
    for label, row in scores.items():
        name = "/".join(map(words, classes)) if label == "class" else words(label)
        why = f"{name}: one of the two answers does not occur among these images"
        # of two classes, the AUROC is that of the first
        of = classes[0] if label == "class" and len(classes) == 2 else label
        after, before = (lookup(held_out, part, of, "auroc") or {} for part in ("round_trips", "originals"))
        figures = [with_interval(after, why)] if vae else []
        figures.append(with_interval(before | {"value": row.get("auroc")}, why))
        figures += [number(row.get(key), why, bar=True) for key in ("accuracy", "f1")]
        figures += [number(lookup(row, *keys), f"{name}: no labelled images", digits=3) for keys in errors]
        # a class has no positives: the images of each class, in the order of its name
        each = row.get("support")
        positives = Cell(" / ".join(f"{n:,}" for n in each.values())) if each else count(row.get("positives"))
        group.append([header(name), *figures, positives, count(row.get("count"))])
    caption = f"Classifier on the {'held-out' if split == 'test' else 'validation'} images"
    head = ["label", *vae, "AUROC", "accuracy", "F1", *errors.values(), "positives", "images"]
    return Table(caption, head, [group], name=f"classifier_{split}")


def round_trip_table(held_out: Json) -> Table:
    """Make the table of each head on held-out images, as they are and after the VAE.

    held_out: {vae, images, psnr, originals, round_trips}, as `training.held_out.after_round_trip` measures.
    """
    quality = held_out["psnr"]["value"]
    decibels = "" if quality is None else f", PSNR {quality:.1f} dB"
    head = ["label", *(text for rate in RATES.values() for text in (rate, f"{rate} after")), *COUNTS]
    group = []
    for label, before in held_out["originals"].items():
        after = held_out["round_trips"][label]
        rates = [with_interval(row[key], "one answer only") for key in RATES for row in (before, after)]
        group.append([header(words(label)), *rates, *(count(before[key]) for key in COUNTS)])
    caption = f"{held_out['images']:,} held-out images before and after the VAE {held_out['vae']}{decibels}"
    return Table(caption, head, [group])


def cross_validation_table(classification: Json) -> Table | None:
    """Make the table of all images, each judged by layers fitted without its group; None if there is none."""
    found = classification.get("cross_validation")
    if not found:
        return None
    group = []
    for label, row in found["heads"].items():
        why = f"{words(label)}: one of the two answers does not occur among these images"
        rates = [with_interval(row[key], why) for key in RATES]
        group.append([header(words(label)), *rates, *(count(row[key]) for key in COUNTS)])
    return Table(
        f"{found['images']:,} images, each judged by a layer that was fitted without its patient or lesion "
        f"({found['folds']} folds); in brackets 95 % intervals over patients or lesions",
        ["label", *RATES.values(), "positives", "negatives", "patients or lesions"],
        [group],
        name="classifier_cross_validation",
    )


def with_interval(reading: Json, why: str) -> Cell:
    """Return the cell of a share {value, low, high}."""
    return number(reading.get("value"), why, bar=True, ends=(reading.get("low"), reading.get("high")))


def corrections_table(run: RunArtefacts) -> Table | None:
    """Make the table of the judge's errors after the VAE, and of shares of edits corrected for them."""
    if "present_corrected" not in run.figures.figures:
        return None

    def errors(attribute: str | None) -> list[Cell]:
        return [_cell(run, key, None, attribute, HELD_OUT) for key in ("sensitivity", "specificity")]

    def shares(cls: str, attribute: str) -> list[Cell]:
        return [_cell(run, key, cls, attribute, "swap") for key in ("present", "present_corrected")]

    return Table(
        "The judge on held-out images that passed the VAE, as generated images did, and the share of strong "
        "swaps with the attribute: as judged, and corrected for these errors; in brackets 95 % intervals",
        ["attribute", "sensitivity", "specificity", "class", "as judged", "corrected"],
        _by_attribute(run, errors, shares),
        name="judge_errors",
    )


def human_table(run: RunArtefacts) -> Table | None:
    """Make the table of shares by human labels, beside the judge's; None if no image was labelled."""
    if "present_human" not in run.figures.figures:
        return None

    def agreement(attribute: str | None) -> list[Cell]:
        return [_cell(run, "human_agreement", None, attribute, LABELLED)]

    def shares(cls: str | None, attribute: str | None) -> list[Cell]:
        found = run.figures.get("present_human", cls, attribute)
        keys = [(key, way) for way in ("swap", "neutral") for key in ("present", "present_human")]
        cells = [_cell(run, key, cls, attribute, way) for key, way in keys]
        return [*cells, count(found.n if found else None)]

    _, swapped, _, neutral, seeds = shares(None, None)
    mean = [header("all"), *agreement(None), Cell("mean"), Cell(""), swapped, Cell(""), neutral, seeds]
    kinds = ["strong swaps: judge", "strong swaps: human labels", "neutral: judge", "neutral: human labels"]
    return Table(
        "Share of images with the attribute, by the judge alone and with human labels, in brackets 95 % "
        "intervals; and how often the judge agrees with the human",
        ["attribute", "agreement", "class", *kinds, "labelled seeds"],
        [[mean], *_by_attribute(run, agreement, shares)],
        name="human_labels",
    )


def _by_attribute(
    run: RunArtefacts, of_attribute: Callable[[str], list[Cell]], of_class: Callable[[str, str], list[Cell]]
) -> list[list[list[Cell]]]:
    """Return a group for each attribute: its own cells in the first row, and a row for each class."""
    groups = []
    for attribute in run.attributes:
        first = [header(words(attribute)), *of_attribute(attribute)]
        empty = [header(""), *[Cell("")] * (len(first) - 1)]
        rows = [
            [*(empty if k else first), Cell(words(cls)), *of_class(cls, attribute)]
            for k, cls in enumerate(run.classes)
        ]
        groups.append(rows)
    return groups


def _cell(run: RunArtefacts, key: str, cls: str | None, attribute: str | None, method: str) -> Cell:
    found = run.figures.get(key, cls, attribute, method=method)
    if found is None:
        return number(None, "not computed")
    return number(found.value, found.reason, ends=(found.low, found.high))


def faithfulness_table(run: RunArtefacts) -> Table:
    """Make the table of how well images match their prompts, for the base and the fine-tuned model."""
    reasons = {
        BASE: "the base model was not traversed in this run",
        FINETUNED: "the fine-tuned model was not scored for this in this run",
    }

    def row(cls: str, attribute: str) -> list[Cell]:
        cells = []
        for model, reason in reasons.items():
            strongest = min(run.figures.positions("present", model=model), default=None)
            swapped = {"method": "swap", "position": strongest, "model": model}
            target = run.figures.value("present", cls, attribute, **swapped)
            neutral = run.figures.value("absent", cls, attribute, method="neutral", model=model)
            cells += [number(value, reason, bar=True) for value in (target, neutral)]
        return cells

    caption = (
        "Share of images with the attribute under the target prompt (at the strongest swap), "
        "and without it under the neutral prompt"
    )
    names = [f"{model}: {prompt}" for model in ("base", "fine-tuned") for prompt in ("target", "neutral")]
    return Table(caption, [*pair_head(run), *names], pair_rows(run, row), name="faithfulness")
