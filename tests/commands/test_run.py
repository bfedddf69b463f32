"""Tests which stages `run` reuses from another run (`from_run`), and which it makes."""

from typing import Any

import pytest
from omegaconf import OmegaConf

from latentpath.commands import RUN, SLIDERS, function_of, run, slider_of, sliders


@pytest.mark.parametrize(
    ("same", "bisect", "made"),
    [
        ({"classify", "finetune", "traverse"}, False, ["evaluate", "report"]),
        ({"finetune", "traverse"}, False, ["classify", "evaluate", "report"]),  # another judge, same latents
        ({"finetune", "traverse"}, True, ["classify", "traverse", "evaluate", "report"]),  # it led the search
        ({"classify", "traverse"}, False, ["finetune", "traverse", "evaluate", "report"]),
        ({"classify", "finetune"}, False, ["traverse", "evaluate", "report"]),
    ],
)
def test_a_stage_is_taken_with_what_it_is_made_from(monkeypatch, tmp_path, capsys, same, bisect, made):
    cfg: Any = OmegaConf.create(
        {
            "from_run": "other",
            "dry_run": False,
            "dataset": {"phantom": {"count": 0}},
            "timesteps": {"bisect": bisect},
            "method": {"slider": None},
        }
    )
    done = []

    def function_of(command):
        return lambda cfg, run_dir: done.append(command.name)

    monkeypatch.setattr(run, "function_of", function_of)
    monkeypatch.setattr(run, "reusable", lambda run_dir, command, cfg: command.name in same)
    run.run(cfg, tmp_path)
    assert done == made
    stages = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    assert [name for name, *about in stages if about[-3:] != ["(as", "in", "other)"]] == made
    done.clear()
    cfg.from_run = None
    run.run(cfg, tmp_path)
    assert done == [command.name for command in RUN.stages(cfg)]


def test_a_sweep_with_sliders_trains_those_that_are_not_there(monkeypatch, tmp_path):
    cfg: Any = OmegaConf.create(
        {
            "from_run": "other",
            "dry_run": False,
            "dataset": {"phantom": {"count": 0}},
            "timesteps": {"bisect": False},
            "attribute": {"names": ["hair", "ink"]},
            "method": {"slider": {"dials": [1.0]}},
        }
    )
    done = []
    monkeypatch.setattr(run, "function_of", lambda command: lambda cfg, run_dir: done.append(command.name))
    there = {"classify", "finetune", "sliders/hair", "traverse"}
    monkeypatch.setattr(run, "reusable", lambda run_dir, command, cfg: command.name in there)
    run.run(cfg, tmp_path)
    assert done == ["sliders/ink", "traverse", "evaluate", "report"]


def test_a_slider_is_a_call_of_its_command_with_its_attribute(monkeypatch, tmp_path):
    called = []
    monkeypatch.setattr(sliders, "run", lambda *given: called.append(given))
    cfg: Any = "cfg"
    function_of(slider_of("hair"))(cfg, tmp_path)
    function_of(SLIDERS)(cfg, tmp_path)
    assert called == [("cfg", tmp_path, "hair"), ("cfg", tmp_path)]
