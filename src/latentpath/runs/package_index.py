"""Downloads one file of the package index without installing it or running any of its code."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from latentpath.errors import UserError
from latentpath.runs.downloads import download

# `dependency-metadata` gives uv what it would otherwise build the package for, so nothing of it is run.
_PROJECT = """
[project]
name = "latentpath-weights"
version = "0"
requires-python = ">=3.11"
dependencies = ["{project}=={version}"]

[[tool.uv.dependency-metadata]]
name = "{project}"
version = "{version}"
requires-dist = []
"""


@dataclass(frozen=True)
class Distribution:
    """One file of a project of the package index, a wheel or a source archive, pinned by its SHA-256."""

    project: str
    version: str
    file: str
    sha256: str
    licence: str

    def __str__(self) -> str:
        return f"{self.project} {self.version} from the package index (licence: {self.licence})"


def fetch_distribution(distribution: Distribution, folder: Path) -> Path:
    """Download the file into `folder` and return its path.

    Raises UserError if the index does not have it, ValueError if its hash is wrong, OSError without network.
    """
    file = folder / distribution.file
    download(locate(distribution), file, sha256=distribution.sha256)
    return file


def locate(distribution: Distribution) -> str:
    """Return the URL of the file in the index that this machine is set up for.

    uv is asked, because it knows the settings: UV_DEFAULT_INDEX or PIP_INDEX_URL, uv.toml, else PyPI.
    """
    environment = dict(os.environ)
    if "PIP_INDEX_URL" in environment:
        environment.setdefault("UV_DEFAULT_INDEX", environment["PIP_INDEX_URL"])
    with TemporaryDirectory() as name:
        folder = Path(name).resolve()
        project = _PROJECT.format(project=distribution.project, version=distribution.version)
        (folder / "pyproject.toml").write_text(project)
        done = subprocess.run(
            [_uv(), "lock", "--python", sys.executable, "--color", "never"],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            reason = " ".join(line.strip() for line in done.stderr.splitlines() if "interpreter" not in line)
            raise UserError(f"{distribution} cannot be found: {reason[:400]}")
        locked = tomllib.loads((folder / "uv.lock").read_text())
        for package in locked["package"]:
            for entry in (*package.get("wheels", ()), *filter(None, [package.get("sdist")])):
                url = entry.get("url") or (folder / entry["path"]).resolve().as_uri()
                if url.rpartition("/")[2].partition("#")[0] == distribution.file:
                    return url
    raise UserError(f"{distribution} has no file {distribution.file}")


def _uv() -> str:
    """Return the program uv: of this environment (the extra `pretrained` installs it), else of PATH."""
    own = Path(sys.executable).with_name("uv")
    found = str(own) if own.is_file() else shutil.which("uv")
    if found is None:
        raise UserError("the package index is asked by uv, which is not installed: `pip install uv`")
    return found
