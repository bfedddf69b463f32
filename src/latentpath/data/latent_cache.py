"""The VAE run once: posterior moments of every training image, embeddings of every caption, kept on disk."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latentpath.errors import UserError


@dataclass(frozen=True)
class LatentCache:
    """`moments` (n, 2c, h, w) float16, memory-mapped: mean and log-variance of the VAE's posterior, unscaled.

    `prompt_embeds` (captions, length, dim) float32, row 0 the empty prompt; `caption_of[i]` is image i's row
    in it.
    """

    moments: NDArray[np.float16]
    prompt_embeds: Tensor
    caption_of: NDArray[np.int64]


def cache_key(images: NDArray[np.uint8], captions: list[str], identity: dict[str, Any]) -> str:
    """Hash of everything the cache holds: the pixels themselves, the captions, and what encodes them."""
    digest = hashlib.sha256(json.dumps([captions, identity], sort_keys=True).encode())
    for start in range(0, len(images), 256):
        digest.update(np.ascontiguousarray(images[start : start + 256]).data)
    return digest.hexdigest()[:20]


def open_cache(folder: Path) -> LatentCache:
    """Open a cache that `build_cache` has sealed. Raises UserError naming the file when it is damaged."""
    try:
        shape = json.loads((folder / "cache.json").read_text())["moments"]
        moments = np.load(folder / "moments.npy", mmap_mode="r")
        embeds = np.load(folder / "prompt_embeds.npy")
        caption_of = np.load(folder / "caption_of.npy")
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"the latent cache {folder} is damaged ({error}). Delete the folder; it is made anew."
        ) from None
    whole = (
        list(moments.shape) == shape and len(caption_of) == len(moments) and caption_of.max() < len(embeds)
    )
    if not whole:
        raise UserError(
            f"the latent cache {folder} is damaged: moments {moments.shape}, expected {shape}, "
            f"{len(caption_of)} captioned images, {len(embeds)} captions. Delete the folder; it is made anew."
        )
    return LatentCache(moments, torch.from_numpy(embeds), caption_of)


@torch.no_grad()
def build_cache(
    folder: Path,
    *,
    images: NDArray[np.uint8],
    captions: list[str],
    vae: Any,
    encode: Callable[[list[str]], Tensor],
    batch_size: int = 32,
    device: str | torch.device = "cpu",
    on_images: Callable[[int], object] = lambda n: None,
) -> LatentCache:
    """Encode `images` uint8 (n, 3, h, w) and their captions into `folder`, whole or not at all.

    Where another process was faster, its cache is taken: the folder's name says that it holds the same.
    """
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)  # of a killed process that had this number
    temporary.mkdir(parents=True)
    try:
        moments, vae = None, vae.to(device)
        for start in range(0, len(images), batch_size):
            pixels = torch.from_numpy(images[start : start + batch_size]).to(device).float() / 127.5 - 1
            posterior = vae.encode(pixels).latent_dist
            block = torch.cat([posterior.mean, posterior.logvar], dim=1).half().cpu().numpy()
            if moments is None:
                shape = (len(images), *block.shape[1:])
                moments = np.lib.format.open_memmap(temporary / "moments.npy", "w+", np.float16, shape)
            moments[start : start + len(block)] = block
            on_images(len(block))
        if moments is None:
            raise ValueError("no images to encode")
        moments.flush()
        unique = ["", *sorted(set(captions) - {""})]
        row_of = {caption: row for row, caption in enumerate(unique)}
        np.save(temporary / "prompt_embeds.npy", encode(unique).float().cpu().numpy())
        np.save(temporary / "caption_of.npy", np.array([row_of[c] for c in captions], dtype=np.int64))
        (temporary / "cache.json").write_text(
            json.dumps({"moments": list(moments.shape), "captions": unique})
        )
        if not folder.exists():
            temporary.replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return open_cache(folder)
