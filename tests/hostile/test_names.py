"""Secrets of the environment, and names that no file system, page or table likes."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

SECRET = "s3cr3t-of-the-environment"
RUN_NAMES = (
    "../../../elsewhere", "..", ".", "/tmp/x", "a/b", "a\\b", "", " ", "x" * 300, "tab\tname", "C:", "~",
    "line\nbreak", "<script>", "[/b]", "%s%d", "😀", "名前", "name.", "-m", "con", "x" * 200,
)  # fmt: skip


def written(folder: Path) -> str:
    files = [file for file in folder.rglob("*") if file.is_file()]
    return "\n".join(file.read_bytes().decode(errors="replace") for file in files)


def test_a_secret_of_the_environment_is_written_nowhere(compose, monkeypatch, tmp_path, tried):
    from latentpath.commands import CLASSIFY
    from latentpath.config.schema import LoggerConfig
    from latentpath.runs.stages import open_stage
    from latentpath.runs.tracking import build_loggers

    monkeypatch.setenv("HOSTILE_SECRET", SECRET)
    cfg = compose("classify", "dataset.root=${oc.env:HOSTILE_SECRET}", "logger.project=p-${dataset.root}")
    assert cfg.dataset.root == SECRET
    with open_stage(tmp_path / "run", CLASSIFY, cfg) as stage:
        build_loggers(LoggerConfig(), stage.path, "mine", config=cfg)
    text = written(tmp_path)
    assert SECRET not in text
    assert "${oc.env:HOSTILE_SECRET}" in text
    saved = OmegaConf.load(tmp_path / "run" / "classify" / "config.yaml")
    assert saved.dataset.root == SECRET, "the saved configuration still composes"
    monkeypatch.setenv("HOSTILE_SECRET", "another")
    from latentpath.errors import UserError

    with pytest.raises(UserError, match=r"dataset.root"), open_stage(tmp_path / "run", CLASSIFY, cfg):
        pass
    tried("names", 1)


def test_a_run_stays_in_its_folder_whatever_its_name(cli, calls, tmp_path, tried):
    faults = []
    for name in RUN_NAMES:
        calls.clear()
        quoted = "name='" + name.replace("\\", "\\\\") + "'"
        ended = cli("report", "experiment=demo", quoted, f"output_dir={tmp_path / 'out'}")
        if ended.status == 0 and calls:
            folder = Path(calls[0][1]).resolve()
            if folder.parent != (tmp_path / "out").resolve():
                faults.append(f"{name!r}: made {folder}")
        elif ended.status != 2 or not ended.is_plain or not ended.err.startswith("latentpath: "):
            faults.append(f"{name!r}: status {ended.status}: {ended.err[-200:]}")
    tried("names", len(RUN_NAMES))
    assert not faults, "\n".join(faults)
