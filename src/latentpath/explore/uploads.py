"""Images that users upload: in memory alone, each under a name that only its uploader is told."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock

from torch import Tensor

from latentpath.data.image_file import SUFFIXES
from latentpath.data.images import ImageSpec, read_image
from latentpath.data.source import InMemory
from latentpath.errors import UserError

KEPT = 64  # uploads; the latents of one take 64 kB at 512 px
KINDS = (*SUFFIXES, ".dcm", ".dicom")


@dataclass
class Uploads:
    """The latents (c, h, w) of the last uploads. The files themselves are not kept.

    spec: how a file becomes pixels, as in the run's data set. encode: image (3, size, size) in [-1, 1] -> its
    latents.
    """

    spec: ImageSpec
    encode: Callable[[Tensor], Tensor]
    _latents: OrderedDict[str, Tensor] = field(default_factory=OrderedDict)
    _lock: Lock = field(default_factory=Lock)

    def add(self, name: str, content: bytes) -> str:
        """Keep an image and return the secret word that stands for it.

        Raises UserError, which names the file, if it is no image that latentpath reads.
        """
        latents = self.encode(read_image(InMemory(name, content), self.spec))
        word = secrets.token_urlsafe(16)
        with self._lock:
            self._latents[word] = latents
            if len(self._latents) > KEPT:
                self._latents.popitem(last=False)
        return word

    def __getitem__(self, word: str) -> Tensor:
        """Return the latents (c, h, w) of an upload. Raises UserError for one that is not kept any more."""
        with self._lock:
            if word in self._latents:
                self._latents.move_to_end(word)
                return self._latents[word]
        raise UserError("this server does not have your image any more: upload it again")
