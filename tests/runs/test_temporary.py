"""What a killed process leaves under a temporary name is removed, and what may yet be finished stays."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from socket import gethostname

import pytest

from latentpath.runs import temporary
from latentpath.runs.temporary import remove, remove_abandoned, remove_abandoned_beside, temporary_beside


@pytest.fixture(params=["node7", "node7.cluster.example", gethostname()])
def host(request, monkeypatch) -> str:
    """The name of this machine."""
    monkeypatch.setattr(temporary, "gethostname", lambda: request.param)
    return request.param


@pytest.fixture(scope="module")
def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def left_by(process: int, path: Path, monkeypatch) -> Path:
    """The temporary folder, with a file in it, that `process` made for `path`."""
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: process)
        folder = temporary_beside(path)
    folder.mkdir()
    (folder / "part").write_bytes(b"half")
    return folder


@pytest.mark.parametrize("writer", ["dead", "this one"])
def test_files_that_a_dead_process_left_are_removed(tmp_path, host, dead_process, writer, monkeypatch):
    """A process that asks is not writing, so what has its number is from a dead one of the same number."""
    process = dead_process if writer == "dead" else os.getpid()
    (tmp_path / "deep").mkdir()
    for path in (
        tmp_path / "cache",
        tmp_path / "deep" / ("x" * 200),
        tmp_path / "deep" / "MEL-000001-000001",
    ):
        left_by(process, path, monkeypatch)
    remove_abandoned(tmp_path)
    assert [path.name for path in tmp_path.rglob("*")] == ["deep"]


@pytest.mark.parametrize("writer", ["living", "of another user", "elsewhere", "nameless"])
def test_temporary_files_of_living_processes_stay(tmp_path, host, dead_process, writer, monkeypatch):
    left = left_by(os.getppid() if writer == "living" else dead_process, tmp_path / "cache", monkeypatch)
    if writer == "of another user":
        monkeypatch.setattr(os, "kill", lambda *_: (_ for _ in ()).throw(PermissionError()))
    if writer == "elsewhere":
        monkeypatch.setattr(temporary, "gethostname", lambda: f"y{host}")
    if writer == "nameless":
        left = left.rename(tmp_path / f".cache.{host}.tmp")
    remove_abandoned(tmp_path)
    remove_abandoned_beside(tmp_path / "cache")
    assert (left / "part").read_bytes() == b"half"


def test_beside_a_path_nothing_else_is_touched(tmp_path, dead_process, monkeypatch):
    own, other = (left_by(dead_process, tmp_path / name, monkeypatch) for name in ("phantoms", "others"))
    below = tmp_path / "data"
    below.mkdir()
    deep = left_by(dead_process, below / "phantoms", monkeypatch)
    remove_abandoned_beside(tmp_path / "phantoms")
    assert (own.exists(), other.exists(), deep.exists()) == (False, True, True)


def test_removing_a_link_keeps_its_target(tmp_path):
    """A stage on another disk, to which a link leads, is not emptied by overwrite=true."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").touch()
    (tmp_path / "finetune").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "to_nothing").symlink_to(tmp_path / "absent")
    for name in ("finetune", "to_nothing", "absent"):
        remove(tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere"]
    assert (tmp_path / "elsewhere" / "file").exists()
