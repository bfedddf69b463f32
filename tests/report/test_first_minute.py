"""What `latentpath run` prints around its stages: what it will do, and at the end what came out."""

from __future__ import annotations

import shutil

from omegaconf import OmegaConf

from latentpath.commands import RUN, run


def test_it_says_what_it_will_do_and_ends_with_verdict_page_and_next_command(
    monkeypatch, tmp_path, capsys, complete_run
):
    cfg = OmegaConf.create(
        {
            "from_run": None,
            "dataset": {"phantom": {"count": 0}},
            "timesteps": {"bisect": False},
            "method": {"slider": None},
        }
    )
    monkeypatch.setattr(run, "function_of", lambda command: lambda cfg, run_dir: None)
    folder = tmp_path / "run"
    shutil.copytree(complete_run, folder)
    (folder / "report").mkdir(exist_ok=True)
    (folder / "report" / "index.html").touch()
    run.run(cfg, folder)
    printed = capsys.readouterr().out.splitlines()
    told = [line.split()[0] for line in printed[1 : 1 + len(RUN.stages)]]
    assert told == [command.name for command in RUN.stages]
    assert any("(complete, took" in line for line in printed[1 : 1 + len(RUN.stages)])
    words, page, following = printed[-3:]
    assert words.startswith("Verdict: ") and "%" in words and words.endswith(".")
    assert page.endswith(str(folder / "report" / "index.html"))
    assert f"latentpath explore {folder}" in following
