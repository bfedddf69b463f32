"""What `latentpath run` prints around its stages: what it will do, and at the end what came out."""

from __future__ import annotations

import json
import shutil

from omegaconf import OmegaConf

from latentpath.commands import RUN, run


def test_it_says_what_it_will_do_and_ends_with_verdict_page_and_next_command(
    monkeypatch, tmp_path, capsys, complete_run
):
    cfg = OmegaConf.create(
        {
            "from_run": None,
            "dry_run": False,
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
    stages = RUN.stages(cfg)
    told = [line.split()[0] for line in printed[1 : 1 + len(stages)]]
    assert told == [command.name for command in stages]
    assert any("(complete, took" in line for line in printed[1 : 1 + len(stages)])
    words, page, following = printed[-3:]
    assert words.startswith("Verdict: ") and "%" in words and words.endswith(".")
    assert page.endswith(str(folder / "report" / "index.html"))
    assert f"latentpath explore {folder}" in following


def test_a_stage_that_is_still_to_come_tells_how_long_it_took_in_the_last_run(tmp_path, complete_run):
    folder = shutil.copytree(complete_run, tmp_path / "earlier")
    manifest = folder / "evaluate" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"seconds": 12.3}))
    assert run._took(folder, "evaluate") == " (complete, took 12 s)"
    assert run._took(tmp_path / "new", "evaluate") == " (took 12 s in run earlier)"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"status": "running"}))
    assert run._took(tmp_path / "new", "evaluate") == ""
    manifest.write_text("{")
    assert run._took(tmp_path / "new", "evaluate") == ""


def test_a_dry_run_names_the_stages_and_calls_none_but_the_one_that_tells_the_cost(
    monkeypatch, tmp_path, compose
):
    called = []
    monkeypatch.setattr(run, "function_of", lambda command: lambda cfg, run_dir: called.append(command.name))
    run.run(compose("run", "experiment=demo", "dry_run=true"), tmp_path / "run")
    assert called == ["traverse"]
