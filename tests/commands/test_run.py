"""Which stages a job takes from another run, and which it makes."""

from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf

from latentpath.commands import run as command


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
        {"from_run": "other", "dataset": {"phantom": {"count": 0}}, "timesteps": {"bisect": bisect}}
    )
    done = []

    def stage(name):
        return SimpleNamespace(run=lambda cfg, run_dir: done.append(name.rpartition(".")[2]))

    monkeypatch.setattr(command, "import_module", stage)
    monkeypatch.setattr(command, "reusable", lambda run_dir, name, cfg: name in same)
    command.run(cfg, tmp_path)
    assert done == made
    done.clear()
    cfg.from_run = None
    command.run(cfg, tmp_path)
    assert done == list(command.STAGES)
