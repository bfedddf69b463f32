"""The files around the package that a forge, an archive or a container builder reads."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

import latentpath

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("[!c]*.yml"))  # not config.yml


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):.*## ", text_of("Makefile"), re.MULTILINE))


def test_every_file_names_the_same_version():
    released = re.findall(r"^## (\d+\.\d+\.\d+) - \d{4}-\d\d-\d\d$", text_of("CHANGELOG.md"), re.MULTILINE)
    named = {
        "pyproject.toml": tomllib.loads(text_of("pyproject.toml"))["project"]["version"],
        "CITATION.cff": yaml.safe_load(text_of("CITATION.cff"))["version"],
        ".zenodo.json": json.loads(text_of(".zenodo.json"))["version"],
        "CHANGELOG.md": released[0],
    }
    assert named == dict.fromkeys(named, latentpath.__version__)
    assert released == sorted(released, key=lambda name: [int(n) for n in name.split(".")], reverse=True)


def test_the_paper_can_be_found():
    article, *_ = yaml.safe_load(text_of("CITATION.cff"))["references"]
    assert article["identifiers"][0]["value"] == "arXiv:2503.23623"
    assert json.loads(text_of(".zenodo.json"))["related_identifiers"][0]["identifier"] == "arXiv:2503.23623"


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_a_workflow_calls_targets_that_exist_and_may_not_write(file):
    workflow = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert workflow["permissions"] == {"contents": "read"}
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    called = {
        word
        for step in steps
        for line in re.findall(r"make ([^\n$]+)", step.get("run", ""))
        for word in line.split()
        if "=" not in word
    }
    assert called <= make_targets()
    assert all("@" in step["uses"] for step in steps if "uses" in step)


def test_ci_covers_the_pythons_and_systems_that_the_package_names():
    project = tomllib.loads(text_of("pyproject.toml"))["project"]
    named = {c.rsplit(" ", 1)[1] for c in project["classifiers"] if re.search(r":: Python :: 3\.\d", c)}
    matrix = yaml.safe_load(text_of(".github/workflows/ci.yml"))["jobs"]["test"]["strategy"]["matrix"]
    assert set(matrix["python"]) == named
    assert {name.split("-")[0] for name in matrix["os"]} == {"ubuntu", "macos"}


@pytest.mark.parametrize("file", FORMS, ids=lambda file: file.name)
def test_an_issue_form_asks_something(file):
    form = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert {"name", "description", "body"} <= set(form)
    assert any(field["type"] != "markdown" for field in form["body"])
    assert all("label" in field["attributes"] for field in form["body"] if field["type"] != "markdown")


def instructions() -> list[tuple[str, str]]:
    """The (instruction, rest) pairs of the Dockerfile, continued lines joined."""
    lines = re.sub(r"\\\n\s*", "", re.sub(r"^\s*#.*\n", "", text_of("Dockerfile"), flags=re.MULTILINE))
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines.splitlines() if line.strip()]


def test_the_container_runs_latentpath_as_a_plain_user():
    words = dict(instructions())  # the last of each instruction
    assert {word for word, _ in instructions()} <= set(
        ["FROM", "RUN", "COPY", "USER", "WORKDIR", "ENV", "VOLUME", "ENTRYPOINT", "CMD"]
    )
    assert words["USER"].split(":")[0] not in ("root", "0")
    assert json.loads(words["ENTRYPOINT"]) == ["latentpath"]
    assert "cuda" in words["FROM"]


def test_the_container_copies_files_that_exist_and_that_the_ignore_file_lets_through():
    let_through = {line[1:] for line in text_of(".dockerignore").splitlines() if line.startswith("!")}
    for word, rest in instructions():
        if word == "COPY":
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists()
                assert source in let_through


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="hadolint is not installed")
def test_hadolint_finds_nothing():
    done = subprocess.run(["hadolint", str(ROOT / "Dockerfile")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_conda_environment_installs_the_lock():
    environment = yaml.safe_load(text_of("environment.yml"))
    (pip,) = (item["pip"] for item in environment["dependencies"] if isinstance(item, dict))
    assert pip == ["--requirement requirements.lock"]
