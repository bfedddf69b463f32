"""The provenance of a run: configuration, git commit and package versions, without machines or people."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from latentpath.config.schema import Config
from latentpath.config.written import written_config
from latentpath.runs.files import Json
from latentpath.runs.masking import mask_config

PACKAGES = ("torch", "lightning", "diffusers", "transformers", "timm", "torchmetrics", "lpips", "hydra-core")


def facts(config: Config | None) -> Json:
    """Return {"config", "git", "versions"}: the configuration without paths and secrets, commit, versions."""
    plain = written_config(config) if config is not None else {}
    return {"config": mask_config(plain), "git": git_state(), "versions": versions()}


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that affect results."""
    found = {"python": platform.python_version()}
    for package in ("latentpath", *PACKAGES):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def git_state(folder: Path = Path(__file__).parent) -> Json:
    """Return {"commit": ..., "dirty": ...} of the repository that tracks `folder`, or None for both.

    Never fails: returns None without git, without a repository, if it belongs to another user, or if git
    takes too long.
    """
    # A git hook of another repository sets GIT_DIR and similar variables.
    env = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    env["GIT_OPTIONAL_LOCKS"] = "0"  # reading the state must not write anything

    def ask(*words: str) -> str:
        done = subprocess.run(
            ["git", *words], cwd=folder, env=env, capture_output=True, text=True, timeout=10, check=True
        )
        return done.stdout.strip()

    try:
        # Fails for an installed package inside another repository.
        ask("ls-files", "--error-unmatch", "__init__.py")
        return {"commit": ask("rev-parse", "HEAD"), "dirty": bool(ask("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return {"commit": None, "dirty": None}
