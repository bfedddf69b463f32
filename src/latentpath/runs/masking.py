"""Masks paths and secrets in everything that a page shows: a path keeps only its last part."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

_ABSOLUTE = re.compile(r"^\s*(?:/|~|[A-Za-z]:[\\/]|\\\\|[A-Za-z][\w+.-]*://)")
# An absolute path within a text: at its start or after a separator, so `train/val` is not masked.
_ABSOLUTE_IN_TEXT = re.compile(
    r"(?<![^\s'\"`(=\[{,;<>|:])"
    r"(?:[A-Za-z][\w+.-]*:/(?=/)|[A-Za-z]:(?=[\\/])|~|\\(?=\\))?"
    r"[\\/][^\s'\"`,;()\[\]{}<>|]+"
)
_PATH_KEY = re.compile(
    r"(?:^|_)(?:root|dir|directory|folder|path|file|cache|home|checkpoint|resume)s?$", re.I
)
_SECRET_KEY = re.compile(r"(?:^|_)(?:api_?key|token|secret|password|credentials?)s?$", re.I)
_IMAGE = re.compile(r"\.(?:png|jpe?g|tiff?|bmp|webp|dcm|dicom|nii|nii\.gz)$", re.I)


def mask_config(value: Any, key: str = "") -> Any:  # Any: nested in any way
    """Return a configuration (dicts, lists, scalars) with paths cut to their last part and secrets hidden.

    A value is a path if its key names one (root, *_dir, *_path, file, ...) or if it is absolute.
    """
    if isinstance(value, dict):
        return {name: mask_config(item, str(name)) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [mask_config(item, key) for item in value]
    if _SECRET_KEY.search(key) and value not in (None, ""):
        return "***"
    if not isinstance(value, str):
        return value
    if _ABSOLUTE.match(value) or (_PATH_KEY.search(key) and re.search(r"[\\/]", value)):
        return _last(value)
    return mask_text(value)


def mask_text(text: str, secret: Sequence[str] = ()) -> str:
    """Return a text with its paths cut to their last part.

    `secret` lists known paths, which may contain spaces.
    """
    for path in sorted(secret, key=len, reverse=True):
        text = text.replace(path, _last(path))
    return _ABSOLUTE_IN_TEXT.sub(lambda match: _last(match.group()), text)


def paths_in(values: Iterable[object]) -> list[str]:
    """Return every absolute path among the nested values, for `mask_text`."""
    found: list[str] = []
    for value in values:
        if isinstance(value, dict):
            found += paths_in(value.values())
        elif isinstance(value, list | tuple):
            found += paths_in(value)
        elif isinstance(value, str | Path) and _ABSOLUTE.match(str(value)) and len(str(value).strip()) > 1:
            found.append(str(value).strip().rstrip("/\\"))
    return list(dict.fromkeys(path for path in found if path))


def _last(path: str) -> str:
    """Shorten '/a/b/c/' to '…/c'; the name of an image file is removed too, as it may identify a patient."""
    stripped = path.strip().rstrip("/\\.:")
    name = re.split(r"[\\/]", stripped)[-1]
    tail = path.strip()[len(stripped) :].replace("/", "").replace("\\", "")  # the sentence's full stop
    return ("…" if not name or _IMAGE.search(name) else f"…/{name}") + tail
