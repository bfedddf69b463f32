"""Tests which stages `run` reuses from another run (`from_run`), and which it makes."""

import pytest
from omegaconf import OmegaConf

from latentpath.commands import RUN, run


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
def test_a_stage_is_taken_with_what_it_is_made_from(monkeypatch, tmp_path, same, bisect, made):
    cfg = OmegaConf.create(
        {
            "from_run": "other",
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
    done.clear()
    cfg.from_run = None
    run.run(cfg, tmp_path)
    assert done == [command.name for command in RUN.stages]
