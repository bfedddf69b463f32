"""`latentpath phantom`: draw a phantom data set in `dataset.root`."""

from __future__ import annotations

import logging
from pathlib import Path

from latentpath.config.schema import Config
from latentpath.data.phantoms import EXAMPLES, write_chexpert, write_isic2019
from latentpath.errors import UserError
from latentpath.runs.progress import bar

log = logging.getLogger(__name__)


def run(cfg: Config, run_dir: Path) -> float | None:
    """Write `dataset.phantom.count` phantoms in the layout `dataset.layout`, unless they exist already."""
    dataset, phantom = cfg.dataset, cfg.dataset.phantom
    writers = {"isic2019": write_isic2019, "chexpert": write_chexpert}
    if phantom.count < 1 or dataset.layout not in writers:
        raise UserError(
            "this data set is not a phantom. Choose dataset=phantom_isic2019 or dataset=phantom_chexpert."
        )
    root = Path(dataset.root)
    with bar("drawing phantoms", phantom.count) as advance:
        writers[dataset.layout](
            root, count=phantom.count, size=phantom.size, seed=phantom.seed, progress=lambda: advance(1)
        )
    log.info("phantoms: %s", root)
    if (sheet := root / EXAMPLES).is_file():  # phantoms of an earlier version have none
        log.info(
            "picture: %s, phantoms with and without each attribute; a perfect edit changes no more", sheet
        )
    return None
