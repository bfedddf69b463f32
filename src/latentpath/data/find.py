"""Finds image files by the names in a table, whatever case, suffix or folder they have on disk."""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

from latentpath.data.image_file import DICOM

SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp")
DICOM_SUFFIXES = (".dcm", ".dicom")


class ImageFolder:
    """The image files in a folder and all folders below it; listed when one is not where it is said to be.

    A name is found as a relative path, without regard to case, to the suffix of an image, to backslashes and
    to composed or decomposed accents, at the end of exactly one file's path: `train/7.png` is
    `any/folder/Train/7.JPG` unless there are two of them.
    """

    def __init__(self, folder: Path, *, drop: str = "") -> None:
        """`drop` ends the stem of some files and is no part of their names, such as `_downsampled`."""
        self.folder, self.drop = folder, drop
        self._files: dict[str, list[str]] | None = None

    def find(self, names: Sequence[str]) -> list[str | None]:
        """The path of each name, None where there is no such file or several."""
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
        """Why `find` has no path for a name."""
        found = self._candidates(name)
        if len(found) > 1:
            return f"{len(found)} files are called {name}: {' and '.join(found[:2])}"
        if dicom := self._all().get("." + _key(Path(name).name, self.drop)):
            return f"{dicom[0]} {DICOM}"
        if not os.path.splitext(name)[1]:
            return f"no image {name} in {self.folder}"
        return f"no file {os.path.join(self.folder, name)}"

    def any(self) -> bool:
        """Whether there is an image file at all, DICOM included."""
        return bool(self._all())

    def nearby(self, names: Sequence[str]) -> Path | None:
        """Another folder that holds one of the first names: beside this one, above or below it."""
        above = self.folder.parent
        for folder in (above, *sorted(above.glob("*/")), *sorted(self.folder.glob("*/"))):
            if folder != self.folder and any((folder / name).is_file() for name in names[:3]):
                return folder
        return None

    def _elsewhere(self, name: str) -> str | None:
        found = self._candidates(name)
        return found[0] if len(found) == 1 else None

    def _candidates(self, name: str) -> list[str]:
        """Files that may be meant: of several only the least deep ones, or those of the very suffix."""
        tail, suffix = "/" + _key(name, self.drop), os.path.splitext(name)[1].lower()
        files = self._all().get(tail.rsplit("/", 1)[1], [])
        found = [file for file in files if ("/" + _key(file, self.drop)).endswith(tail)]
        if len(found) > 1:
            least = min(file.count(os.sep) for file in found)
            found = [file for file in found if file.count(os.sep) == least]
            found = [file for file in found if suffix and file.lower().endswith(suffix)] or found
        return found

    def _all(self) -> dict[str, list[str]]:
        """Key of the base name -> its files; keys of DICOM files begin with a full stop."""
        if self._files is None:
            files: dict[str, list[str]] = defaultdict(list)
            for folder, folders, names in os.walk(self.folder, followlinks=True):
                folders.sort()
                for name in sorted(names):
                    suffix = os.path.splitext(name)[1].lower()
                    if suffix in SUFFIXES and not name.startswith("."):
                        files[_key(name, self.drop)].append(os.path.join(folder, name))
                    elif suffix in DICOM_SUFFIXES:
                        files["." + _key(name, self.drop)].append(os.path.join(folder, name))
            self._files = dict(files)
        return self._files


def files_present(paths: Sequence[str]) -> list[bool]:
    """Whether each path is there: by a listing per folder where these hold many, else by a look each."""
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
    return (stem if suffix in (*SUFFIXES, *DICOM_SUFFIXES) else name).removesuffix(drop)


def _without_shared_root(names: Sequence[str]) -> list[str]:
    """Names as relative paths: absolute ones lose the folders that all of them share, on another machine."""
    parts = [name.replace("\\", "/").split("/") for name in names]
    absolute = [part[0] == "" or part[0].endswith(":") for part in parts]
    folders = (part[:-1] for part, is_absolute in zip(parts, absolute, strict=True) if is_absolute)
    levels = zip(*folders, strict=False)
    shared = sum(1 for _ in takewhile(lambda names: len(set(names)) == 1, levels))
    return ["/".join(part[shared * k :]) for part, k in zip(parts, absolute, strict=True)]
