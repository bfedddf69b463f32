"""Fetch the wheels that a GPU machine with PyTorch, Lightning and transformers, but no network, lacks."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

LOCK = Path(__file__).parents[2] / "requirements.lock"
PYTHON = "3.12"  # of that machine, on Linux x86-64
# antlr4 is published as a source archive only, which pip turns into a wheel that suits every Python.
BUILT = ("antlr4-python3-runtime",)
PACKAGES = (
    "diffusers",
    "hydra-core",
    "importlib-metadata",
    "lpips",
    "omegaconf",
    "opentsne",
    "torch-fidelity",
    *BUILT,
)
PLATFORMS = (
    "manylinux_2_28_x86_64",
    "manylinux_2_27_x86_64",
    "manylinux_2_17_x86_64",
    "manylinux2014_x86_64",
)


def fetch_wheels(folder: Path) -> int:
    """Download the locked versions of PACKAGES into `folder`, by pip; returns pip's exit status."""
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob("*.whl"):  # two versions of one package would stop the whole install
        stale.unlink()
    ready = [locked(name) for name in PACKAGES if name not in BUILT]
    target = ["--python-version", PYTHON, "--implementation", "cp"]
    target += [word for platform in PLATFORMS for word in ("--platform", platform)]
    quietly = ["--quiet", "--no-deps"]
    commands = [
        ["download", *quietly, "--only-binary=:all:", *target, "--dest", str(folder), *ready],
        ["wheel", *quietly, "--wheel-dir", str(folder), *map(locked, BUILT)],
    ]
    for words in commands:
        status = subprocess.run([*pip(), *words]).returncode
        if status:
            return status
    files = sorted(folder.glob("*.whl"))
    megabytes = sum(file.stat().st_size for file in files) / 1e6
    print(*(file.name for file in files), f"{megabytes:.1f} MB in {folder}", sep="\n")
    return 0


def locked(name: str) -> str:
    """`name==version` as requirements.lock has it."""
    found = re.search(rf"^{re.escape(name)}==(\S+)", LOCK.read_text(), re.MULTILINE)
    assert found, f"{LOCK} does not lock {name}"
    return f"{name}=={found[1]}"


def pip() -> list[str]:
    """This Python's pip if it has one, else that of the system's Python."""
    own = [sys.executable, "-m", "pip"]
    here = subprocess.run([*own, "--version"], capture_output=True).returncode == 0
    return own if here else ["python3", "-m", "pip"]
