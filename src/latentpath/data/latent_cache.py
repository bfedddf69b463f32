"""A cache on disk: the VAE's posterior moments of each training image, the embeddings of each caption."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latentpath.data.images import ReadImages
from latentpath.data.pixels import to_model_range
from latentpath.errors import UserError
from latentpath.runs.arrays import new_array, save_array
from latentpath.runs.digests import check_seal, digest_of, digests_below, sealed
from latentpath.runs.files import make_folder, write_json, write_text
from latentpath.runs.ranks import SINGLE, Rank, barrier, shared
from latentpath.runs.temporary import remove, remove_abandoned, temporary_beside

READ_AT_ONCE = 256  # images in memory at once; at 512 px they take 200 MB

Read = Callable[[Sequence[int]], ReadImages]


@dataclass(frozen=True)
class LatentCache:
    """An open latent cache.

    moments: (n, 2c, h, w) float16, memory-mapped; mean and log-variance of the VAE's posterior, unscaled.
    prompt_embeds: (captions, length, dim) float32; row 0 is the empty prompt.
    prompt_pooled: (captions, dim) float32, of SDXL alone.
    caption_of: (n,); the row of each image's caption in `prompt_embeds`.
    unreadable: one message per image that was left out.
    image_of: (n,); the position of each among all images that were given, the unreadable ones included.
    """

    moments: NDArray[np.float16]
    prompt_embeds: Tensor
    caption_of: NDArray[np.int64]
    unreadable: tuple[str, ...] = ()
    folder: Path | None = None
    image_of: NDArray[np.int64] = field(default_factory=lambda: np.arange(0))  # empty: not recorded
    prompt_pooled: Tensor | None = None

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle only the folder, so that a spawned process maps the files instead of copying the latents."""
        if self.folder is not None:
            return map_cache, (self.folder,)
        parts = (self.moments, self.prompt_embeds, self.caption_of, self.unreadable)
        return LatentCache, (*parts, None, self.image_of, self.prompt_pooled)


def cache_key(digests: list[str], captions: list[str], identity: Mapping[str, object]) -> str:
    """Hash all that determines the cache: image contents, captions, and the `identity` of the encoders."""
    content = json.dumps([digests, captions, identity], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:20]


def file_digests(paths: Sequence[str], memo: Path) -> list[str]:
    """Return the SHA-256 of every file's content in order, "" for files that cannot be read.

    `memo` is a JSON file that stores digests by path, size and modification time; this function updates it.
    Without it every start would read the whole data set, which can take an hour for hundreds of gigabytes.
    What a killed process has left in the folder of `memo`, also of a cache there, is removed.
    """
    remove_abandoned(memo.parent)
    known = _read_memo(memo)

    def entry(path: str) -> list[int | str]:
        try:
            stat = os.stat(path)
            stamp = [stat.st_size, stat.st_mtime_ns]
            if (old := known.get(path)) and old[:2] == stamp:
                return old
            with open(path, "rb") as file:
                return [*stamp, hashlib.file_digest(file, "sha256").hexdigest()]
        except OSError:
            return [0, 0, ""]

    with ThreadPoolExecutor() as pool:
        entries = dict(zip(paths, pool.map(entry, paths), strict=True))
    if known | entries != known:
        write_text(memo, json.dumps(known | entries))
    return [str(entries[path][2]) for path in paths]


def _read_memo(file: Path) -> dict[str, list[int | str]]:
    """Read {path: [size, modification time, digest]} as `file_digests` wrote it, without damaged entries."""
    try:
        memo = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    entries = memo.items() if isinstance(memo, dict) else ()
    return {
        path: entry
        for path, entry in entries
        if isinstance(entry, list) and [*map(type, entry)] == [int, int, str]
    }


def open_cache(folder: Path) -> LatentCache:
    """Open a complete cache that `build_cache` made. Raises UserError if any byte of it has changed."""
    try:
        record = json.loads((folder / "cache.json").read_text())
        check_seal(record)
        for name, digest in record.get("files", {}).items():  # version 0.1.0 has none
            if digest_of(folder / name) != digest:
                raise ValueError(f"the bytes of {name} are not those that were written")
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError(
            f"the latent cache {folder} is damaged ({error}). Delete the folder; it is made anew."
        ) from None
    return map_cache(folder)


def map_cache(folder: Path) -> LatentCache:
    """Map a complete cache into memory without reading all of it. Raises UserError if it cannot be used."""
    try:
        record = json.loads((folder / "cache.json").read_text())
        shape, unreadable = record["moments"], tuple(record["unreadable"])
        moments = np.load(folder / "moments.npy", mmap_mode="r")
        embeds = np.load(folder / "prompt_embeds.npy")
        pooled = torch.from_numpy(np.load(folder / "prompt_pooled.npy")) if record.get("pooled") else None
        caption_of = np.load(folder / "caption_of.npy")
        images = folder / "image_of.npy"
        # Version 0.1.0 wrote no such file; if no image was unreadable, it is 0, 1, 2, ...
        image_of = np.load(images) if images.exists() else np.arange(0 if unreadable else len(moments))
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"the latent cache {folder} is damaged ({error}). Delete the folder; it is made anew."
        ) from None
    whole = list(moments.shape) == shape and len(moments) and caption_of.shape == moments.shape[:1]
    if not (whole and embeds.ndim == 3 and 0 <= caption_of.min() <= caption_of.max() < len(embeds)):
        raise UserError(
            f"the latent cache {folder} is damaged: moments {moments.shape}, expected {shape}, "
            f"{len(caption_of)} captioned images, {len(embeds)} captions. Delete the folder; it is made anew."
        )
    prompts = torch.from_numpy(embeds)
    return LatentCache(moments, prompts, caption_of, unreadable, folder, image_of, pooled)


@torch.no_grad()
def build_cache(
    folder: Path,
    *,
    captions: list[str],
    read: Read,
    vae: Any,  # Any: of diffusers, which is imported late
    encode: Callable[[list[str]], dict[str, Tensor]],
    batch_size: int = 32,
    device: str | torch.device = "cpu",
    on_images: Callable[[int], object] = lambda n: None,
    rank: Rank = SINGLE,
) -> LatentCache:
    """Encode images and captions into a cache in `folder`, which appears only when it is complete.

    read: reads the images at these positions in `captions`. encode: returns `prompt_embeds` of captions and,
    for SDXL, `prompt_pooled`. Each of the `rank.world_size` processes encodes every n-th image. If another
    job finishes first, its cache is used: folders with the same name (the cache key) have the same content.
    Raises UserError if no image can be read.
    """
    temporary = shared(temporary_beside(folder), rank)
    try:
        if rank.is_zero:
            make_folder(temporary)
        barrier(rank)
        mine = range(rank.index, len(captions), rank.world_size)
        _encode_part(
            temporary / f"part{rank.index}", mine, read, vae.to(device), batch_size, device, on_images
        )
        barrier(rank)
        if rank.is_zero:
            kept, unreadable = _join_parts(temporary, rank.world_size)
            unique = ["", *sorted({captions[i] for i in kept} - {""})]
            row_of = {caption: row for row, caption in enumerate(unique)}
            prompts = encode(unique)
            for name, rows in prompts.items():
                save_array(temporary / f"{name}.npy", rows.float().cpu().numpy())
            caption_of = np.array([row_of[captions[i]] for i in kept], dtype=np.int64)
            save_array(temporary / "caption_of.npy", caption_of)
            save_array(temporary / "image_of.npy", kept)
            shape = np.load(temporary / "moments.npy", mmap_mode="r").shape
            record = {"moments": shape, "captions": unique, "unreadable": unreadable}
            record["pooled"] = "prompt_pooled" in prompts
            record["files"] = digests_below(temporary)
            write_json(temporary / "cache.json", sealed(record))
            if not folder.exists():
                temporary.replace(folder)
        barrier(rank)
    finally:
        if rank.is_zero:
            remove(temporary)
    return map_cache(folder)


def _encode_part(
    part: Path,
    places: range,
    read: Read,
    vae: Any,  # Any: of diffusers, which is imported late
    batch_size: int,
    device: str | torch.device,
    on_images: Callable[[int], object],
) -> None:
    """Write the moments of the readable images at `places` to `part`.npy, and their positions beside it."""
    moments, kept, unreadable = None, [], []
    for start in range(0, len(places), READ_AT_ONCE):
        block = places[start : start + READ_AT_ONCE]
        images, read_ones, problems = read(block)
        unreadable += [problem.message for problem in problems]
        for first in range(0, len(images), batch_size):
            pixels = to_model_range(torch.from_numpy(images[first : first + batch_size]).to(device))
            posterior = vae.encode(pixels).latent_dist
            encoded = torch.cat([posterior.mean, posterior.logvar], dim=1).half().cpu().numpy()
            if moments is None:
                shape = (len(places), *encoded.shape[1:])
                moments = new_array(Path(f"{part}.npy"), np.float16, shape)
            moments[len(kept) : len(kept) + len(encoded)] = encoded
            kept += [block[k] for k in read_ones[first : first + len(encoded)]]
        on_images(len(block))
    if moments is not None:
        moments.flush()
    save_array(Path(f"{part}.kept.npy"), np.array(kept, dtype=np.int64))
    write_text(Path(f"{part}.unreadable.json"), json.dumps(unreadable))


def _join_parts(folder: Path, count: int) -> tuple[NDArray[np.int64], list[str]]:
    """Join all parts into moments.npy; return the positions of its images, and why others are unreadable."""
    notes = (json.loads((folder / f"part{k}.unreadable.json").read_text()) for k in range(count))
    unreadable = [text for note in notes for text in note]
    kepts = [np.load(folder / f"part{k}.kept.npy") for k in range(count)]
    kept = np.concatenate(kepts)
    if len(kept) == 0:
        first = f": {unreadable[0]}" if unreadable else ""
        raise UserError(f"none of the {len(unreadable):,} images can be read{first}")
    parts = {k: np.load(folder / f"part{k}.npy", mmap_mode="r") for k in range(count) if len(kepts[k])}
    row = np.empty(len(kept), np.int64)  # row of the concatenated parts -> its row in moments.npy
    row[np.argsort(kept)] = np.arange(len(kept))
    shape = (len(kept), *next(iter(parts.values())).shape[1:])
    moments = new_array(folder / "moments.npy", np.float16, shape)
    begin = 0
    for k, part in parts.items():
        for start in range(0, len(kepts[k]), READ_AT_ONCE):
            stop = min(start + READ_AT_ONCE, len(kepts[k]))
            moments[row[begin + start : begin + stop]] = part[start:stop]
        begin += len(kepts[k])
    moments.flush()
    for file in folder.glob("part*"):
        file.unlink()
    return np.sort(kept), unreadable
