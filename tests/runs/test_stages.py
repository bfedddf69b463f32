"""A stage is skipped, continued or refused by what its manifest says, and the manifest tells the truth."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from latentpath.commands import COMMANDS, EVALUATE, TRAVERSE
from latentpath.config.schema import Config
from latentpath.errors import UserError
from latentpath.runs import stages
from latentpath.runs.command import Command
from latentpath.runs.files import read_json, write_json
from latentpath.runs.stages import open_stage, stage_dir


def config(*dots: str):
    """The schema's defaults with a data set, and `key=value` on top."""
    return OmegaConf.merge(
        OmegaConf.structured(Config), {"dataset": {"root": "/data"}}, OmegaConf.from_dotlist(list(dots))
    )


def alone(name: str) -> Command:
    """The command as if it read no other stage."""
    return replace(COMMANDS[name], upstream=lambda cfg: ())


FINETUNE, SWEEP = alone("finetune"), alone("traverse")


def make(run_dir: Path, command: Command, cfg=None, **figures) -> Path:
    """Open and seal a stage."""
    with open_stage(run_dir, command, cfg or config()) as stage:
        if not stage.complete:
            (stage.path / "artefact").write_text(command.name)
        stage.figures |= figures
    return run_dir / command.name


def interrupt(run_dir: Path, command: Command, cfg=None) -> Path:
    """Open a stage and fail in it, half of the work done."""
    with (
        pytest.raises(ZeroDivisionError),
        open_stage(run_dir, command, cfg or config()) as stage,
    ):
        (stage.path / "half").write_text("half")
        stage.figures["so_far"] = 1
        raise ZeroDivisionError
    return run_dir / command.name


def manifest(path: Path) -> dict:
    return json.loads((path / "manifest.json").read_text())


def test_a_fresh_stage_is_sealed(tmp_path):
    path = make(tmp_path / "mine", FINETUNE, config("finetune.lr=0.5"), loss=0.25)
    sealed = manifest(path)
    assert (sealed["stage"], sealed["status"], sealed["figures"]) == ("finetune", "complete", {"loss": 0.25})
    assert sealed["config"]["finetune.lr"] == 0.5
    assert "sampler.seeds" not in sealed["config"]
    assert {"python", "torch", "latentpath"} <= sealed["versions"].keys()
    assert isinstance(sealed["seconds"], float)
    written = OmegaConf.load(path / "config.yaml")
    assert (written.finetune.lr, written.sampler.seeds) == (0.5, config().sampler.seeds)
    assert sorted(p.name for p in path.iterdir()) == ["artefact", "config.yaml", "manifest.json"]


def test_complete_work_is_handed_over_with_its_figures(tmp_path):
    path = make(tmp_path, FINETUNE, loss=0.25)
    before = (path / "manifest.json").read_text()
    with open_stage(tmp_path, FINETUNE, config()) as stage:
        assert (stage.complete, stage.figures, stage.path) == (True, {"loss": 0.25}, path)
    assert (path / "manifest.json").read_text() == before


def test_a_failure_leaves_the_stage_started_and_the_next_run_continues(tmp_path):
    path = interrupt(tmp_path, FINETUNE)
    assert manifest(path)["status"] == "started"
    assert manifest(path)["figures"] == {"so_far": 1}
    with open_stage(tmp_path, FINETUNE, config()) as stage:
        assert not stage.complete
        assert (stage.path / "half").read_text() == "half"
    assert manifest(path)["status"] == "complete"


def test_seconds_add_up_over_interruptions(tmp_path, monkeypatch):
    """A clock that goes on by seven at every look: a stage looks at its start and at its end."""
    monkeypatch.setattr(stages.time, "monotonic", count(step=7).__next__)
    path = interrupt(tmp_path, FINETUNE)
    assert manifest(path)["seconds"] == 7
    make(tmp_path, FINETUNE)
    assert manifest(path)["seconds"] == 14


@pytest.mark.parametrize("first", [make, interrupt])
def test_another_configuration_is_refused_with_what_differs(tmp_path, first):
    path = first(tmp_path, FINETUNE, config("finetune.lr=0.5", "seed=1"))
    with pytest.raises(UserError) as caught, open_stage(tmp_path, FINETUNE, config("seed=2")):
        pytest.fail("opened")
    message = str(caught.value)
    assert str(path) in message
    assert "finetune.lr: 0.5 there, 0.0001 now" in message
    assert "seed: 1 there, 2 now" in message
    assert "max_steps" not in message
    assert "overwrite=true" in message
    assert path.exists()


def test_overwrite_discards_what_another_configuration_made(tmp_path):
    path = make(tmp_path, FINETUNE, config("seed=1"))
    with open_stage(tmp_path, FINETUNE, config("seed=2", "overwrite=true")) as stage:
        assert not stage.complete
        assert not (path / "artefact").exists()
    assert manifest(path)["config"]["seed"] == 2


def test_overwrite_keeps_what_this_configuration_made(tmp_path):
    make(tmp_path, FINETUNE)
    with open_stage(tmp_path, FINETUNE, config("overwrite=true")) as stage:
        assert stage.complete


@pytest.mark.parametrize(
    "name, indifferent",
    [
        ("traverse", "sampler.batch_size=1"),
        ("traverse", "sampler.shard_seeds=1"),
        ("traverse", "metric.tsne=false"),
        ("finetune", "finetune.log_every=1"),
        ("finetune", "finetune.checkpoint_every=1"),
        ("finetune", "sampler.seeds=99"),
        ("finetune", "name=other"),
        ("classify", "finetune.lr=1"),
        ("classify", "trainer.devices=2"),
        ("evaluate", "timesteps.num_inference_steps=99"),
    ],
)
def test_what_does_not_change_the_result_leaves_it_complete(tmp_path, name, indifferent):
    make(tmp_path, alone(name))
    with open_stage(tmp_path, alone(name), config(indifferent)) as stage:
        assert stage.complete


@pytest.mark.parametrize(
    "name, decisive",
    [
        ("traverse", "sampler.seeds=99"),
        ("traverse", "timesteps.one_step_late=true"),
        ("finetune", "dataset.image_size=32"),
        ("finetune", "model.name=other"),
        ("finetune", "trainer.precision=bf16-mixed"),
        ("classify", "classifier.lr=1"),
        ("evaluate", "metric.threshold=0.4"),
    ],
)
def test_what_changes_the_result_is_refused(tmp_path, name, decisive):
    make(tmp_path, alone(name))
    with (
        pytest.raises(UserError, match=decisive.split("=")[0]),
        open_stage(tmp_path, alone(name), config(decisive)),
    ):
        pytest.fail("opened")


def test_a_missing_upstream_is_named_with_its_command(tmp_path):
    with (
        pytest.raises(UserError, match=r"finetune, which is missing\. Run `latentpath finetune name=mine`"),
        open_stage(tmp_path / "mine", TRAVERSE, config()),
    ):
        pytest.fail("opened")
    assert not (tmp_path / "mine" / "traverse").exists()


def test_an_unfinished_upstream_is_refused(tmp_path):
    interrupt(tmp_path, FINETUNE)
    with (
        pytest.raises(UserError, match="finetune, which was not finished"),
        open_stage(tmp_path, TRAVERSE, config()),
    ):
        pytest.fail("opened")


def test_an_upstream_of_another_configuration_is_refused_with_what_differs(tmp_path):
    make(tmp_path, FINETUNE, config("finetune.max_steps=2"))
    with (
        pytest.raises(UserError, match=r"finetune\.max_steps: 2 there, 500 now"),
        open_stage(tmp_path, TRAVERSE, config()),
    ):
        pytest.fail("opened")


def test_later_stages_do_not_depend_on_where_the_images_are(tmp_path):
    make(tmp_path, FINETUNE)
    with open_stage(tmp_path, TRAVERSE, config("dataset.root=/else")) as stage:
        assert not stage.complete


def test_a_stage_whose_upstream_was_made_anew_is_refused(tmp_path):
    make(tmp_path, FINETUNE)
    make(tmp_path, TRAVERSE)
    anew = config("finetune.lr=0.5", "overwrite=true")
    make(tmp_path, FINETUNE, anew)
    with (
        pytest.raises(UserError, match="finetune was made anew since"),
        open_stage(tmp_path, TRAVERSE, config("finetune.lr=0.5")),
    ):
        pytest.fail("opened")
    with open_stage(tmp_path, TRAVERSE, anew) as stage:
        assert not stage.complete


@pytest.mark.parametrize("content", ["", '{"stage": "fine', "[]", '{"status": "complete"}'])
def test_a_damaged_manifest_is_named(tmp_path, content):
    path = make(tmp_path, FINETUNE)
    (path / "manifest.json").write_text(content)
    with (
        pytest.raises(UserError, match=str(path / "manifest.json")),
        open_stage(tmp_path, FINETUNE, config()),
    ):
        pytest.fail("opened")


def test_json_is_replaced_whole_or_not_at_all(tmp_path):
    file = tmp_path / "figures.json"
    write_json(file, {"a": 1})
    with pytest.raises(ValueError):
        write_json(file, {"a": float("nan")})  # no JSON, whatever Python's parser says
    assert read_json(file) == {"a": 1}
    assert list(tmp_path.iterdir()) == [file]
    with pytest.raises(UserError, match=r"nothing\.json is missing"):
        read_json(tmp_path / "nothing.json")


def test_a_stage_made_from_an_older_upstream_is_not_read(tmp_path):
    """finetune, traverse, then finetune anew: what traverse made belongs to a model that is gone."""
    run_dir = tmp_path / "mine"
    make(run_dir, FINETUNE)
    make(run_dir, TRAVERSE)
    make(run_dir, FINETUNE, config("finetune.lr=0.5", "overwrite=true"))
    with pytest.raises(UserError, match="traverse was made from an earlier finetune"):
        make(run_dir, replace(EVALUATE, upstream=lambda cfg: (TRAVERSE,)), config("finetune.lr=0.5"))


def test_a_stage_that_was_deleted_and_remade_is_another(tmp_path):
    import shutil

    run_dir = tmp_path / "mine"
    make(run_dir, FINETUNE)
    make(run_dir, TRAVERSE)
    shutil.rmtree(run_dir / "finetune")
    make(run_dir, FINETUNE)
    with pytest.raises(UserError, match="finetune was made anew"):
        make(run_dir, TRAVERSE)


def test_changed_weights_refuse_to_mix_and_are_named(tmp_path):
    with open_stage(tmp_path, SWEEP, config(), weights={"pipeline": "abc"}):
        pass
    with open_stage(tmp_path, SWEEP, config(), weights={"pipeline": "abc"}) as stage:
        assert stage.complete
    with (
        pytest.raises(UserError, match="the weights of pipeline: abc there, def now"),
        open_stage(tmp_path, SWEEP, config(), weights={"pipeline": "def"}),
    ):
        pass


def test_several_processes_share_a_stage_and_the_last_one_seals(tmp_path):
    with open_stage(tmp_path, SWEEP, config(), shared=True) as slow:
        with open_stage(tmp_path, SWEEP, config(), shared=True) as quick:
            quick.left = "one shard"
        made = manifest(quick.path)["made"]
        assert manifest(quick.path)["status"] == "started"
    assert (manifest(slow.path)["status"], manifest(slow.path)["made"]) == ("complete", made)


def test_a_process_that_finishes_early_does_not_reopen_a_sealed_stage(tmp_path):
    with open_stage(tmp_path, SWEEP, config(), shared=True) as early:
        with open_stage(tmp_path, SWEEP, config(), shared=True):
            pass
        early.left = "it looked before the other had finished"
    assert manifest(early.path)["status"] == "complete"


def test_a_stage_is_sought_along_the_runs_that_were_made_from_one_another(tmp_path):
    """A circle of runs ends."""
    where = f"output_dir={tmp_path}"
    make(tmp_path / "first", FINETUNE, config(where, "from_run=second"))
    make(tmp_path / "second", SWEEP, config(where, "from_run=first"))

    def found(stage: str) -> Path:
        return stage_dir(tmp_path / "third", stage, config(where, "from_run=second"))

    assert found("finetune") == tmp_path / "first" / "finetune"
    assert found("traverse") == tmp_path / "second" / "traverse"
    assert found("classify") == tmp_path / "second" / "classify"  # is in none
    of_second = stage_dir(tmp_path / "second", "finetune", config(where, "from_run=second"))
    assert of_second == found("finetune")  # what the sweep that third takes from second was made from
