"""Download the wheels that a GPU machine without network lacks (it has PyTorch, Lightning, transformers)."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

LOCK = Path(__file__).parents[2] / "requirements.lock"
PYTHON = "3.12"  # Python of that machine, on Linux x86-64
# antlr4 is published only as a source archive; pip builds a wheel from it that fits every Python.
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
    """Download the locked versions of PACKAGES into `folder` with pip; return pip's exit status."""
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob("*.whl"):  # two versions of one package would make the installation fail
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
    """Return `name==version` from requirements.lock."""
    found = re.search(rf"^{re.escape(name)}==(\S+)", LOCK.read_text(), re.MULTILINE)
    assert found, f"{LOCK} does not lock {name}"
    return f"{name}=={found[1]}"


def pip() -> list[str]:
    """Return the command for this Python's pip, or for the system's pip if it has none."""
    own = [sys.executable, "-m", "pip"]
    here = subprocess.run([*own, "--version"], capture_output=True).returncode == 0
    return own if here else ["python3", "-m", "pip"]
