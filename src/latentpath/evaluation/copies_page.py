"""Writes `copies.html`: the generated images most likely to be copies, beside their nearest training images.

The page shows images of patients, so it stays in the run's folder, and no report shows it or links to it.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Hashable
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from jinja2 import Environment, StrictUndefined
from PIL import Image
from torch import Tensor

from latentpath.data.pixels import to_uint8
from latentpath.diffusion.autoencoder import decode
from latentpath.metrics import lpips_distance
from latentpath.runs.files import write_text

if TYPE_CHECKING:
    from lpips import LPIPS

    from latentpath.diffusion.networks import Autoencoder

SHOWN = 8  # training images of each space
NAMES = {"latent": "latents", "judge": "the judge’s features"}
SHORT = {"latent": "latents", "judge": "judge"}
SIDE = 384  # px, at most


def write_copies_page(
    file: Path,
    table: pd.DataFrame,
    latents: Tensor,
    training: Tensor,
    vae: Autoencoder,
    lpips: tuple[str, LPIPS] | None = None,
) -> None:
    """Write the page of `copy_table` as one file with inlined images and without network requests.

    latents (n, c, h, w) are of its generated images, `training` (m, c, h, w) of the latent cache, both scaled
    as `vae` expects: what is shown is decoded from them. lpips: name and model, on the device of `vae`. An
    image of the data is named by its row in the cache, for whoever has the data.
    """
    rows = likeliest(table)
    pairs = rows.drop_duplicates(["generated", "training"])
    mine, theirs = pairs["generated"].tolist(), pairs["training"].tolist()
    generated = decode(vae, latents[mine])  # (pairs, 3, h, w) in [-1, 1]
    nearest = decode(vae, training[theirs])
    distances: list[float | None] = [None] * len(pairs)
    if lpips:
        on_device = [((x + 1) / 2).to(vae.device) for x in (generated, nearest)]
        distances = lpips_distance(lpips[1], *on_device).tolist()
    cards: dict[int, dict[Hashable, Any]] = {}  # Any: columns have many types
    for k, pair in enumerate(pairs.to_dict("records")):
        told = rows[(rows["generated"] == mine[k]) & (rows["training"] == theirs[k])]
        card = cards.setdefault(
            mine[k], {"image": _inline(generated[k]), "matches": [], "flagged_by": [], **pair}
        )
        card["flagged_by"] += [SHORT[space] for space in told.loc[told["flagged"], "space"]]
        card["matches"].append(
            {
                "image": _inline(nearest[k]),
                "row": theirs[k],
                "lpips": distances[k],
                "spaces": told.to_dict("records"),
            }
        )
    template = files("latentpath.evaluation").joinpath("copies.html.j2").read_text(encoding="utf-8")
    page = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    write_text(
        file,
        page.from_string(template).render(
            cards=list(cards.values()),
            names=SHORT,
            lpips=lpips and lpips[0],
            spaces=[
                (NAMES[str(space)], int(rows["flagged"].sum()), rows["q"].min())
                for space, rows in table.groupby("space", sort=False)
            ],
            images=len(latents),
            training=len(training),
        ),
    )


def likeliest(table: pd.DataFrame, shown: int = SHOWN) -> pd.DataFrame:
    """Select the rows of `copy_table` to show.

    From each space it takes the first `shown` training images, each with the generated image that is most
    likely its copy, and that image's rows in all spaces. Images flagged in any space come first, then by best
    rank.
    """
    place = table.groupby("space").cumcount()
    best = place.where(table["flagged"], place + len(table)).groupby(table["generated"]).transform("min")
    first = table.drop_duplicates(["space", "training"]).groupby("space").head(shown)
    rows = table.assign(best=best)[table["generated"].isin(first["generated"])]
    return rows.sort_values(["best", "generated", "score"], ignore_index=True)


def _inline(image: Tensor) -> str:
    """Return a data URI of an image (3, h, w) in [-1, 1], lossless up to SIDE pixels."""
    pixels = to_uint8(image).permute(1, 2, 0).numpy()
    picture, data = Image.fromarray(pixels), BytesIO()
    picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    picture.save(data, "WEBP", lossless=True, method=0, quality=20)
    return f"data:image/webp;base64,{b64encode(data.getvalue()).decode()}"
