"""Encodes trajectories as contact sheets, one WebP per class, seed and path, within a byte budget."""

from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO

from PIL import Image

from latentpath.report.encode import open_picture
from latentpath.report.pictures import Picture

# (side in px at most, WebP quality), from the finest to the coarsest that is still worth looking at.
SETTINGS = (
    (256, 90),
    (192, 88),
    (160, 85),
    (128, 85),
    (128, 75),
    (96, 80),
    (64, 88),
    (64, 78),
    (64, 65),
)


@dataclass(frozen=True)
class Sheet:
    """Images in rows of equal length; None marks a missing image."""

    rows: list[list[Picture | None]]


def encode_sheets(sheets: Sequence[Sheet], budget: int) -> Iterator[tuple[int, str]]:
    """Yield (side of a tile, data URI) of the first sheets that together fit into `budget` bytes.

    The setting is the finest one with which all sheets should fit, estimated from a few of them. If even the
    coarsest is too large, the sheets that fit are yielded. No tile is enlarged.
    """
    if not sheets:
        return
    some = [sheets[k] for k in sorted({0, len(sheets) // 3, 2 * len(sheets) // 3, len(sheets) - 1})]
    stored = max(max(p.size) for sheet in some if (p := _first(sheet)))
    settings = [(side, quality) for side, quality in SETTINGS if side <= stored]
    if stored < SETTINGS[0][0] and stored not in (side for side, _ in settings):
        settings = [(stored, 88), (stored, 75), *settings]
    boards = [_board(sheet, settings[0][0]) for sheet in some]

    def fit(side: int, quality: int) -> bool:
        scaled = (_scaled(board, side, settings[0][0]) for board in boards)
        return sum(len(_encode(board, quality)) for board in scaled) / len(some) * len(sheets) <= budget

    side, quality = next((setting for setting in settings if fit(*setting)), settings[-1])
    for sheet in sheets:
        uri = _encode(_board(sheet, side), quality)
        budget -= len(uri)
        if budget < 0:
            return
        yield side, uri


def _first(sheet: Sheet) -> Image.Image | None:
    picture = next((p for row in sheet.rows for p in row if p), None)
    return open_picture(picture.file) if picture else None


def _board(sheet: Sheet, side: int) -> Image.Image:
    board = Image.new("RGB", (side * max(map(len, sheet.rows)), side * len(sheet.rows)))
    for y, row in enumerate(sheet.rows):
        for x, picture in enumerate(row):
            if picture:
                tile = open_picture(picture.file).convert("RGB")
                if tile.size != (side, side):
                    tile = tile.resize((side, side), Image.Resampling.LANCZOS)
                board.paste(tile, (x * side, y * side))
    return board


def _scaled(board: Image.Image, side: int, before: int) -> Image.Image:
    size = (board.width * side // before, board.height * side // before)
    return board if side == before else board.resize(size, Image.Resampling.LANCZOS)


def _encode(board: Image.Image, quality: int) -> str:
    data = BytesIO()
    board.save(data, "WEBP", quality=quality, method=2)
    return f"data:image/webp;base64,{b64encode(data.getvalue()).decode()}"
