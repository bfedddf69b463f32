"""Downloads a file whole or not at all, with its hash checked."""

from __future__ import annotations

import hashlib
import urllib.request
from pathlib import Path

from latentpath.runs.files import replacing
from latentpath.runs.progress import bar

TIMEOUT = 10.0  # seconds without an answer
CHUNK = 2**20


def download(url: str, file: Path, *, sha256: str = "") -> None:
    """Download `url` to `file`, which appears only when it is complete.

    sha256: the hexadecimal SHA-256 of the content, or the first digits of it. Raises ValueError if the
    content has another one, OSError if the server does not answer.
    """
    digest = hashlib.sha256()
    with urllib.request.urlopen(url, timeout=TIMEOUT) as answer, replacing(file) as temporary:
        size = int(answer.headers.get("Content-Length") or 0)
        with temporary.open("wb") as out, bar("megabytes", size // CHUNK, show=size > 10 * CHUNK) as advance:
            while chunk := answer.read(CHUNK):
                out.write(chunk)
                digest.update(chunk)
                advance(1)
        if not digest.hexdigest().startswith(sha256):
            raise ValueError(
                f"invalid hash: the SHA-256 of {url} begins with {digest.hexdigest()[:8]}, expected "
                f"{sha256[:8]}. What came is another file, such as the page of a proxy"
            )
