"""Encodes captioned images (latents and captions) once, into a cache that runs share."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from latentpath.config.choices import OnError
from latentpath.data.images import ImageSpec, ReadImages, read_images
from latentpath.data.latent_cache import LatentCache, build_cache, cache_key, file_digests, open_cache
from latentpath.data.records import ImageTable, Problem, report_problems
from latentpath.diffusion.autoencoder import images_at_once
from latentpath.diffusion.components import BaseModel
from latentpath.errors import UserError
from latentpath.runs.progress import bar
from latentpath.runs.ranks import SINGLE, Rank, shared

log = logging.getLogger(__name__)

DIGESTS = "digests.json"  # in the folder of caches: hashes of the image files that were read before


def cached_latents(
    model: BaseModel,
    table: ImageTable,
    rows: pd.DataFrame,
    spec: ImageSpec,
    *,
    caches: Path,
    device: torch.device | str,
    rank: Rank = SINGLE,
) -> LatentCache:
    """Open the cache of the images `rows` of `table` in the folder `caches`, or build it with `model`.

    Every run with the same images, captions, VAE and text encoder shares one cache. Connected processes build
    it together. Raises UserError for unreadable images if `spec` says so.
    """
    captions, paths = table.captions_of(rows), rows["path"].tolist()
    identity = {"weights": model.fingerprint("vae", "text_encoder", "tokenizer"), **spec.identity}
    digests = file_digests(paths, caches / DIGESTS) if rank.is_zero else []
    folder = caches / shared(cache_key(digests, captions, identity), rank)
    if shared(folder.exists(), rank):
        return _reported(open_cache(folder), rows, spec)

    def read(places: Sequence[int]) -> ReadImages:
        found = read_images(rows.iloc[list(places)], spec)
        if spec.on_error == OnError.fail:
            report_problems(found.unreadable, OnError.fail)
        return found

    encoder = model.prompt_encoder(spec.size)

    def encode(captions: list[str]) -> dict[str, Tensor]:
        found = encoder(captions)
        parts = {"prompt_embeds": found.hidden, "prompt_pooled": found.pooled}
        return {name: part for name, part in parts.items() if part is not None}

    with bar("encoding images", -(-len(rows) // rank.world_size), show=rank.is_zero) as advance:
        cache = build_cache(
            folder,
            captions=captions,
            read=read,
            vae=model.vae(),
            batch_size=images_at_once(spec.size**2),
            on_images=advance,
            device=device,
            encode=encode,
            rank=rank,
        )
    return _reported(cache, rows, spec)


def captioned(table: ImageTable, split: str = "train") -> pd.DataFrame:
    """Select the images of a split whose caption is certainly true (`ImageTable.is_captioned`).

    Raises UserError if no training image is left.
    """
    rows = table.split(split)
    kept = table.is_captioned(rows)
    if split == "train" and not kept.all():
        log.info("%d images without a known attribute are left out of the fine-tune", int((~kept).sum()))
    if split == "train" and not kept.any():
        raise UserError("no training image has a known attribute: there is nothing to caption.")
    return rows[kept].reset_index(drop=True)


def _reported(cache: LatentCache, rows: pd.DataFrame, spec: ImageSpec) -> LatentCache:
    """The cache; its unreadable images are a warning, or a UserError if `spec.on_error` is 'fail'."""
    where = f"the {rows['split'].iloc[0]} split"
    problems = [Problem("unreadable image", where, None, text) for text in cache.unreadable]
    report_problems(problems, spec.on_error)
    return cache
