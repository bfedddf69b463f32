"""Tables of the judge's accuracy on real images, and of how well images match their prompts."""

from collections.abc import Mapping
from typing import Any

from latentpath.keys import BASE, FINETUNED, HELD_OUT, LABELLED
from latentpath.report.artefacts import RunArtefacts
from latentpath.report.cells import Cell, Table, count, header, lookup, number
from latentpath.report.pictures import words
from latentpath.report.tables import pair_head, pair_rows


def classifier_table(run: RunArtefacts, split: str) -> Table | None:
    """Make the table of accuracy, F1 and AUROC per label on one split; None if that split was not scored.

    It includes the calibration error before and after calibration if the run has them.
    """
    scores = run.classification.get(split)
    if not scores:
        return None
    calibrated = any(row.get("uncalibrated") for row in scores.values())
    errors = (
        {("uncalibrated", "ece"): "ECE before", ("ece",): "ECE after"} if calibrated else {("ece",): "ECE"}
    )
    if not any("ece" in row for row in scores.values()):
        errors = {}
    held_out = run.classification.get("held_out", {}) if split == "test" else {}
    vae = ["AUROC after the VAE"] if held_out.get("round_trips") else []
    table = Table(
        f"Classifier on the {'held-out' if split == 'test' else 'validation'} images",
        ["label", *vae, "AUROC", "accuracy", "F1", *errors.values(), "positives", "images"],
        name=f"classifier_{split}",
    )
    group = []
    for label, row in scores.items():
        name = "/".join(map(words, run.classes)) if label == "class" else words(label)
        why = f"{name}: one of the two answers does not occur among these images"
        # of two classes, the AUROC is that of the first
        of = label if label != "class" or len(run.classes) != 2 else run.classes[0]
        ends = lookup(held_out, "originals", of, "auroc") or {}
        figures = [_rate(lookup(held_out, "round_trips", of, "auroc"), why)] if vae else []
        figures.append(_rate({**ends, "value": row.get("auroc")}, why))
        figures += [number(row.get(key), why, bar=True) for key in ("accuracy", "f1")]
        figures += [number(lookup(row, *keys), f"{name}: no labelled images", digits=3) for keys in errors]
        # a class has no positives: the images of each class, in the order of its name
        support = row.get("support")
        positives = (
            Cell(" / ".join(f"{n:,}" for n in support.values())) if support else count(row.get("positives"))
        )
        group.append([header(name), *figures, positives, count(row.get("count"))])
    table.groups.append(group)
    return table


def cross_validation_table(run: RunArtefacts) -> Table | None:
    """Make the table of all images, each judged by layers fitted without its group; None if there is none."""
    found = run.classification.get("cross_validation")
    if not found:
        return None
    table = Table(
        f"{found['images']:,} images, each judged by a layer that was fitted without its patient or lesion "
        f"({found['folds']} folds); in brackets 95 % intervals over patients or lesions",
        ["label", "AUROC", "sensitivity", "specificity", "positives", "negatives", "patients or lesions"],
        name="classifier_cross_validation",
    )
    group = []
    for label, row in found["heads"].items():
        why = f"{words(label)}: one of the two answers does not occur among these images"
        figures = [_rate(row[key], why) for key in ("auroc", "sensitivity", "specificity")]
        counts = [count(row[key]) for key in ("positives", "negatives", "groups")]
        group.append([header(words(label)), *figures, *counts])
    table.groups.append(group)
    return table


def _rate(found: Mapping[str, Any] | None, why: str) -> Cell:
    found = found or {}
    return number(found.get("value"), why, bar=True, ends=(found.get("low"), found.get("high")))


def corrections_table(run: RunArtefacts) -> Table | None:
    """Make the table of the judge's errors after the VAE, and of shares of edits corrected for them."""
    if "present_corrected" not in run.figures.figures:
        return None
    table = Table(
        "The judge on held-out images that passed the VAE, as generated images did, and the share of strong "
        "swaps with the attribute: as judged, and corrected for these errors; in brackets 95 % intervals",
        ["attribute", "sensitivity", "specificity", "class", "as judged", "corrected"],
        name="judge_errors",
    )
    for attribute in run.attributes:
        group = []
        for index, cls in enumerate(run.classes):
            real = [
                _figure_cell(run, key, None, attribute, HELD_OUT) for key in ("sensitivity", "specificity")
            ]
            first = [header(words(attribute)), *real] if index == 0 else [header(""), Cell(""), Cell("")]
            keys = ("present", "present_corrected")
            cells = [_figure_cell(run, key, cls, attribute, "swap") for key in keys]
            group.append([*first, Cell(words(cls)), *cells])
        table.groups.append(group)
    return table


def human_table(run: RunArtefacts) -> Table | None:
    """Make the table of shares by human labels, beside the judge's; None if no image was labelled."""
    if "present_human" not in run.figures.figures:
        return None
    table = Table(
        "Share of images with the attribute, by the judge alone and with human labels, in brackets 95 % "
        "intervals; and how often the judge agrees with the human",
        [
            "attribute",
            "agreement",
            "class",
            "strong swaps: judge",
            "strong swaps: human labels",
            "neutral: judge",
            "neutral: human labels",
            "labelled seeds",
        ],
        name="human_labels",
    )
    mean = [_figure_cell(run, "human_agreement", None, None, LABELLED), Cell("mean"), Cell("")]
    mean += [_figure_cell(run, "present_human", None, None, "swap"), Cell("")]
    mean += [_figure_cell(run, "present_human", None, None, "neutral")]
    found = run.figures.get("present_human")
    table.groups.append([[header("all"), *mean, count(found.n if found else None)]])
    for attribute in run.attributes:
        group = []
        for index, cls in enumerate(run.classes):
            agreement = _figure_cell(run, "human_agreement", None, attribute, LABELLED)
            first = [header(words(attribute)), agreement] if index == 0 else [header(""), Cell("")]
            cells = [
                _figure_cell(run, key, cls, attribute, method)
                for method in ("swap", "neutral")
                for key in ("present", "present_human")
            ]
            found = run.figures.get("present_human", cls, attribute)
            group.append([*first, Cell(words(cls)), *cells, count(found.n if found else None)])
        table.groups.append(group)
    return table


def _figure_cell(run: RunArtefacts, key: str, cls: str | None, attribute: str | None, method: str) -> Cell:
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
