"""Draws images on numbered sheets for a human to label, with a CSV to fill in (read by `human_labels`)."""

from pathlib import Path

import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from latentpath.errors import UserError
from latentpath.keys import FINETUNED
from latentpath.metrics.human_labels import KEY, draw_sample
from latentpath.report.artefacts import RunArtefacts
from latentpath.report.grids import INK, PAPER, fitted
from latentpath.report.human_labels import NUMBER, read_key
from latentpath.runs.files import write_csv, write_image

ACROSS, DOWN, SIDE, TEXT, GAP = 6, 7, 160, 22, 14  # of a sheet: images, and px


def write_sheets(run: RunArtefacts, folder: Path, seeds: int) -> list[Path]:
    """Draw `seeds` seeds of the stored images on sheets in `folder`, with labels.csv and key.csv.

    Existing sheets of the same number of seeds are kept, with their labels. Raises UserError if there are
    sheets of another number of seeds, or if pictures of fewer seeds are stored.
    """
    if (folder / "key.csv").exists():
        if (there := read_key(folder)["seed"].nunique()) == seeds:
            return sorted(folder.glob("sheet_*.png"))
        raise UserError(
            f"to_label={seeds}: {folder} holds sheets of {there} seeds, and perhaps labels of them in "
            "labels.csv. Rename or remove the folder to draw others."
        )
    examples = run.examples[run.examples["model"] == FINETUNED].rename(columns={"position": "swap_step"})
    strong = (examples["method"] == "swap") & examples["swap_step"].isin(run.strong_steps)
    examples = examples[strong | (examples["method"] == "neutral")]
    try:
        sample = draw_sample(examples, seeds)
    except ValueError:
        stored = examples["seed"].nunique()
        raise UserError(
            f"to_label={seeds}: the evaluation stored the images of {stored} seeds. Ask for fewer, or "
            "evaluate with more `examples`."
        ) from None
    files = sample.merge(examples[[*KEY, "file"]], on=KEY, how="left")["file"].tolist()
    each = ACROSS * DOWN
    sheets = []
    for start in range(0, len(files), each):
        sheets.append(folder / f"sheet_{start // each + 1}.png")
        write_image(sheets[-1], _sheet(files[start : start + each], start + 1))
    empty = pd.DataFrame({NUMBER: sample["image"]}).assign(**dict.fromkeys(run.attributes, ""))
    write_csv(folder / "labels.csv", empty)
    write_csv(folder / "key.csv", sample)
    return sheets


def _sheet(files: list[Path], first: int) -> Image.Image:
    """Draw the images in rows, each above its number."""
    font = ImageFont.load_default(17)
    width, height = SIDE + GAP, SIDE + TEXT + GAP
    rows = -(-len(files) // ACROSS)
    sheet = Image.new("RGB", (GAP + ACROSS * width, GAP + rows * height), PAPER)
    pen = ImageDraw.Draw(sheet)
    for place, file in enumerate(files):
        x, y = GAP + place % ACROSS * width, GAP + place // ACROSS * height
        sheet.paste(fitted(file, SIDE), (x, y))
        pen.text((x + SIDE // 2, y + SIDE + 3), str(first + place), INK, font, anchor="ma")
    return sheet
