"""Writes trajectories as labelled PNG files, for viewing without the page."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from latentpath.config.names import file_name
from latentpath.report.artefacts import read_run
from latentpath.report.encode import open_picture
from latentpath.report.pictures import Gallery, Grid, words
from latentpath.runs.files import write_image

TILE, GAP, HEAD, TITLE, MARGIN = 128, 4, 24, 30, 14  # px
INK, SOFT, PAPER = "#1d2125", "#5b646d", "#ffffff"


def write_grids(run_dir: Path, out: Path, *, seeds: int = 6) -> list[Path]:
    """Write out/overview.png and out/trajectory_<class>_<attribute>.png (one row per seed); return the files.

    The overview: a row per attribute, neutral and then swaps from late to early, for one seed of each class
    (two seeds where there is one class). Nothing is written where the evaluation stored no pictures.
    """
    run = read_run(run_dir)
    gallery = Gallery(run)
    written = []
    for cls in run.classes:
        for attribute in run.attributes:
            grid = gallery.trajectory_seeds(cls, attribute, seeds=seeds)
            if grid.rows:
                written.append(out / f"trajectory_{file_name(cls)}_{file_name(attribute)}.png")
                write_image(written[-1], _draw([grid], [f"{words(cls)}: {words(attribute)}"]))
    overview = _overview(gallery, run.classes)
    if overview is not None:
        written.insert(0, out / "overview.png")
        write_image(written[0], overview)
    return written


def _overview(gallery: Gallery, classes: Sequence[str]) -> Image.Image | None:
    """Draw blocks side by side, six images wide, so that a README shows them at a readable size."""
    each = 2 if len(classes) == 1 else 1
    chosen = [(cls, seed) for cls in classes[:2] for seed in gallery.seeds(cls)[:each]]
    blocks = [
        (grid, words(cls))
        for cls, seed in chosen
        if (grid := gallery.trajectories(cls, seed, columns=6, change=False)).rows
    ]
    if not blocks:
        return None
    return _draw([grid for grid, _ in blocks], [f"{name}, {grid.caption}" for grid, name in blocks])


def _draw(blocks: Sequence[Grid], titles: Sequence[str]) -> Image.Image:
    """Draw grids side by side with one column of row labels and a gap after each grid's first column."""
    font, bold = ImageFont.load_default(17), ImageFont.load_default(19)
    labels = [row.label for row in blocks[0].rows]
    left = MARGIN + max(int(font.getlength(label)) for label in labels) + 12
    widths = [len(grid.columns) * (TILE + GAP) + 2 * GAP for grid in blocks]
    width = left + sum(widths) + 4 * GAP * (len(blocks) - 1) + MARGIN
    top = MARGIN + TITLE + HEAD
    height = top + max(len(grid.rows) for grid in blocks) * (TILE + GAP) + MARGIN - GAP
    image = Image.new("RGB", (width, height), PAPER)
    pen = ImageDraw.Draw(image)
    for index, label in enumerate(labels):
        pen.text((MARGIN, top + index * (TILE + GAP) + TILE // 2), label, INK, font, anchor="lm")
    x0 = left
    for grid, title, block_width in zip(blocks, titles, widths, strict=True):
        pen.text((x0, MARGIN), title, INK, bold)
        for column, name in enumerate(grid.columns):
            x = x0 + column * (TILE + GAP) + (2 * GAP if column else 0)
            head = f"swap at {name}" if column == 1 and name.isdigit() else name
            pen.text((x + TILE // 2, top - 6), head, SOFT, font, anchor="md")
            for index, row in enumerate(grid.rows):
                picture = row.pictures[column]
                if picture is not None:
                    image.paste(fitted(picture.file, TILE), (x, top + index * (TILE + GAP)))
        x0 += block_width + 4 * GAP
    return image


def fitted(file: Path, side: int) -> Image.Image:
    """Return an image at `side` pixels: small images by whole factors, large images by LANCZOS."""
    image = open_picture(file)
    small = max(image.size) <= side
    method = Image.Resampling.NEAREST if small and side % image.width == 0 else Image.Resampling.LANCZOS
    return image.resize((side, side), method).convert("RGB")
