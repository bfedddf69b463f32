"""Names and paths as users type them: which ones are refused, and how they become files and folders."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING

from latentpath.errors import UserError

if TYPE_CHECKING:
    from latentpath.config.schema import Config

LONGEST_NAME = 200  # bytes of a run's name: most disks allow 255, and temporary files add a few
LONGEST_FILE = 100  # bytes of a file's name that comes from a label
# where `~` means the home folder
PATHS = ("output_dir", "weights_dir", "dataset.root", "model.name", "model.vae", "model.config")


def check_run_name(key: str, name: str) -> None:
    """Raise UserError unless `name` can be the name of one folder in `output_dir`."""
    if not isinstance(name, str):  # OmegaConf lets a list pass as an element of list[str]
        raise UserError(f"{key} has {name!r} where a name is expected.")
    if not name.strip():
        raise UserError(f"{key} is empty: give a run's name, such as {key}=mine.")
    if {"/", "\\"} & set(name) or name in (".", "..") or _unprintable(name):
        raise UserError(
            f"{key} is {name!r}, expected the name of one folder in output_dir, without slashes and control "
            "characters; output_dir=... says where the run lies."
        )
    if (size := len(name.encode())) > LONGEST_NAME:
        raise UserError(f"{key} has {size} bytes, expected at most {LONGEST_NAME}: choose a shorter name.")


def check_label(key: str, name: str) -> None:
    """Raise UserError for the name of a class or an attribute that is blank or has control characters."""
    if not isinstance(name, str) or not name.strip() or _unprintable(name):
        raise UserError(f"{key} has the name {name!r}: expected a name that can be read and printed.")


def _unprintable(name: str) -> bool:
    return any(unicodedata.category(sign) in ("Cc", "Cs") for sign in name)


def file_name(label: str) -> str:
    """Turn the name of a class or an attribute into part of a file name, of at most LONGEST_FILE bytes.

    Letters and digits of all scripts and `_` stay, and a space becomes `-`. If anything else is replaced or
    cut off, a hash of the label is appended, so that different labels give different files.
    """
    name = re.sub(r"\W+", "-", label)
    if name == label.replace(" ", "-") and "-" not in label and len(name.encode()) <= LONGEST_FILE:
        return name
    digest = hashlib.sha256(label.encode()).hexdigest()[:8]
    return name.encode()[: LONGEST_FILE - 9].decode(errors="ignore").strip("-") + f"-{digest}"


def check_place(key: str, place: str) -> None:
    """Raise UserError for a blank path, which would mean the folder in which the command was called."""
    if not str(place).strip():
        raise UserError(f"{key} is blank, expected a folder; {key}=. is the one you are in.")


def run_folder(output_dir: str, name: str) -> str:
    """Return the folder of the run `name`, for `hydra.run.dir`. Raises UserError if no folder can have it."""
    check_run_name("name", str(name))
    check_place("output_dir", str(output_dir))
    return str(Path(at_home(str(output_dir))) / str(name))


def at_home(path: str) -> str:
    """Return `path` with `~` replaced by the home folder."""
    return os.path.expanduser(path)


def expand_home(cfg: Config) -> None:
    """Replace `~` by the home folder in all settings that are paths."""
    from omegaconf import OmegaConf

    for key in PATHS:
        *section, name = key.split(".")
        node = getattr(cfg, section[0]) if section else cfg
        if not OmegaConf.is_missing(node, name) and str(value := getattr(node, name)).startswith("~"):
            setattr(node, name, at_home(value))
