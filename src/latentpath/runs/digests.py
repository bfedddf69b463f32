"""SHA-256 digests of finished files: kept in the record that seals them, and compared when a file is read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

MANIFEST = "manifest.json"
SEAL = "sha256"  # the key of a record that holds the digest of all its other keys
# What later stages read. Cards (.md) may be edited, checkpoints (.ckpt) have checksums of their own, and the
# folders of trackers are theirs.
TRACKERS = ("wandb", "tensorboard")
ENDINGS = (".csv", ".json", ".npy", ".parquet", ".png", ".safetensors", ".txt", ".yaml")


def sealed(record: Mapping[str, object]) -> dict[str, object]:
    """Return the record with the digest of its content, so that a change of any value shows."""
    return {**record, SEAL: _digest_of_record(record)}


def check_seal(record: Mapping[str, object]) -> None:
    """Raise ValueError if a value of a `sealed` record has changed; a record without a seal passes."""
    if SEAL in record and record[SEAL] != _digest_of_record(record):
        raise ValueError("its values are not those that were written")


def digests_below(folder: Path) -> dict[str, str]:
    """Return the digest of each file below `folder` that later stages read, by its path within `folder`."""
    names = (path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file())
    names = [name for name in names if name.suffix in ENDINGS and name.name != MANIFEST]
    names = [name for name in names if name.parts[0] not in TRACKERS and not _is_hidden(name)]
    with ThreadPoolExecutor() as pool:
        digests = pool.map(digest_of, (folder / name for name in names))
    return {name.as_posix(): digest for name, digest in zip(names, digests, strict=True)}


def digest_of(file: Path) -> str:
    """Return the SHA-256 of a file, read once for each state of it that this process sees."""
    stat = file.stat()
    return _read_digest(file, (stat.st_ino, stat.st_size, stat.st_mtime_ns))


def check_digest(file: Path) -> None:
    """Raise ValueError if `file` is not as it was when the manifest of its stage was sealed.

    A file outside of a finished stage, or of a stage of version 0.1.0, has no digest to compare with.
    """
    folder = next((folder for folder in file.parents if (folder / MANIFEST).is_file()), None)
    if folder is None or file.name == MANIFEST:
        return
    stat = (folder / MANIFEST).stat()
    expected = _digests_in(folder / MANIFEST, (stat.st_ino, stat.st_size, stat.st_mtime_ns))
    name = file.relative_to(folder).as_posix()
    if name in expected and digest_of(file) != expected[name]:
        raise ValueError("its bytes are not those that were written")


@lru_cache(maxsize=100_000)
def _read_digest(file: Path, state: tuple[int, int, int]) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


@lru_cache(maxsize=100)
def _digests_in(manifest: Path, state: tuple[int, int, int]) -> dict[str, str]:
    """Return the digests of a manifest; {} if it is damaged, which reading the manifest itself reports."""
    try:
        return dict(json.loads(manifest.read_text(encoding="utf-8"))["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _digest_of_record(record: Mapping[str, object]) -> str:
    rest = json.loads(json.dumps({key: value for key, value in record.items() if key != SEAL}))
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _is_hidden(name: Path) -> bool:
    return any(part.startswith(".") for part in name.parts)
