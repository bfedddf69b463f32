"""Finds image files by the names in a table, even if case, suffix or folder differ on disk."""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

from latentpath.data import dicom
from latentpath.data.image_file import SUFFIXES

ALL_SUFFIXES = (*SUFFIXES, *dicom.SUFFIXES)


class ImageFolder:
    """The image files in a folder and all its subfolders, listed only if a file is not at its expected path.

    A name matches a file if it equals the end of the file's path. The comparison ignores case, the image
    suffix, the kind of slash and the composition of accents: `train/7.png` finds `any/folder/Train/7.JPG`.
    A name that matches several files finds none; a DICOM file counts only where there is no other.
    """

    def __init__(self, folder: Path, *, drop: str = "") -> None:
        """Set the folder; `drop` is an ending of file stems to ignore, such as `_downsampled`."""
        self.folder, self.drop = folder, drop
        self._files: dict[str, list[str]] | None = None

    def find(self, names: Sequence[str]) -> list[str | None]:
        """Return the path of each name, or None if there is no such file or more than one."""
        paths = [os.path.join(self.folder, name) for name in names]
        there = files_present(paths)
        if all(there):
            return list(paths)
        tails = _without_shared_root(names)
        return [
            path if is_there else self._elsewhere(tail)
            for path, tail, is_there in zip(paths, tails, there, strict=True)
        ]

    def why_not(self, name: str) -> str:
        """Return the reason why `find` has no path for `name`, in words."""
        found = self._candidates(name)
        if len(found) > 1:
            return f"{len(found)} files are called {name}: {' and '.join(found[:2])}"
        if not os.path.splitext(name)[1]:
            return f"no image {name} in {self.folder}"
        return f"no file {os.path.join(self.folder, name)}"

    def any(self) -> bool:
        """Return whether there is any image file."""
        return bool(self._all())

    def nearby(self, names: Sequence[str]) -> Path | None:
        """Return another folder (beside, above or below this one) that contains one of the first names."""
        above = self.folder.parent
        for folder in (above, *sorted(above.glob("*/")), *sorted(self.folder.glob("*/"))):
            if folder != self.folder and any((folder / name).is_file() for name in names[:3]):
                return folder
        return None

    def _elsewhere(self, name: str) -> str | None:
        found = self._candidates(name)
        return found[0] if len(found) == 1 else None

    def _candidates(self, name: str) -> list[str]:
        """List the files that match a name; prefer the least nested, the same suffix, no DICOM."""
        tail, suffix = "/" + _key(name, self.drop), os.path.splitext(name)[1].lower()
        files = self._all().get(tail.rsplit("/", 1)[1], [])
        found = [file for file in files if ("/" + _key(file, self.drop)).endswith(tail)]
        if len(found) > 1:
            least = min(file.count(os.sep) for file in found)
            found = [file for file in found if file.count(os.sep) == least]
            found = [file for file in found if suffix and file.lower().endswith(suffix)] or found
            found = [file for file in found if not file.lower().endswith(dicom.SUFFIXES)] or found
        return found

    def _all(self) -> dict[str, list[str]]:
        """Map the key of each base name to its files."""
        if self._files is None:
            files: dict[str, list[str]] = defaultdict(list)
            for folder, folders, names in os.walk(self.folder, followlinks=True):
                folders.sort()
                for name in sorted(names):
                    if name.lower().endswith(ALL_SUFFIXES) and not name.startswith("."):
                        files[_key(name, self.drop)].append(os.path.join(folder, name))
            self._files = dict(files)
        return self._files


def files_present(paths: Sequence[str]) -> list[bool]:
    """Return whether each path exists, by listing folders if they hold many of the paths, else one by one."""
    folders: dict[str, set[str]] = {}
    parts = [os.path.split(path) for path in paths]
    for folder, _ in parts:
        folders.setdefault(folder, set())
    if len(paths) < 4 * len(folders):  # CheXpert has about one image a folder
        return [os.path.isfile(path) for path in paths]
    for folder, names in folders.items():
        if os.path.isdir(folder):
            names.update(entry.name for entry in os.scandir(folder))
    return [name in folders[folder] for folder, name in parts]


def _key(name: str, drop: str) -> str:
    name = unicodedata.normalize("NFC", name.replace("\\", "/")).casefold()
    stem, suffix = os.path.splitext(name)
    return (stem if suffix in ALL_SUFFIXES else name).removesuffix(drop)


def _without_shared_root(names: Sequence[str]) -> list[str]:
    """Make names relative: absolute names lose the leading folders that all of them share."""
    parts = [name.replace("\\", "/").split("/") for name in names]
    absolute = [part[0] == "" or part[0].endswith(":") for part in parts]
    folders = (part[:-1] for part, is_absolute in zip(parts, absolute, strict=True) if is_absolute)
    levels = zip(*folders, strict=False)
    shared = sum(1 for _ in takewhile(lambda names: len(set(names)) == 1, levels))
    return ["/".join(part[shared * k :]) for part, k in zip(parts, absolute, strict=True)]
