"""Images that users upload: kept in memory only, under a secret token that only the uploader receives."""

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
UPLOAD_SUFFIXES = (*SUFFIXES, ".dcm", ".dicom")


@dataclass
class Uploads:
    """The latents (c, h, w) of the last `KEPT` uploads, by token. The files themselves are not kept.

    spec: how a file becomes pixels, as in the data set of the run.
    encode: maps an image (3, size, size) in [-1, 1] to its latents.
    """

    spec: ImageSpec
    encode: Callable[[Tensor], Tensor]
    _latents: OrderedDict[str, Tensor] = field(default_factory=OrderedDict)
    _lock: Lock = field(default_factory=Lock)

    def add(self, name: str, content: bytes) -> str:
        """Encode the image in a file called `name` and return its token.

        Raises UserError, which names the file, if latentpath cannot read it as an image.
        """
        latents = self.encode(read_image(InMemory(name, content), self.spec))
        token = secrets.token_urlsafe(16)
        with self._lock:
            self._latents[token] = latents
            if len(self._latents) > KEPT:
                self._latents.popitem(last=False)
        return token

    def __getitem__(self, token: str) -> Tensor:
        """Return the latents (c, h, w) of an upload. Raises UserError if they are no longer kept."""
        with self._lock:
            if token in self._latents:
                self._latents.move_to_end(token)
                return self._latents[token]
        raise UserError("this server no longer has your image: upload it again")
