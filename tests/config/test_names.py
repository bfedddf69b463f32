"""Names and paths as users type them: refused in one sentence, or taken exactly as typed."""

from __future__ import annotations

from pathlib import Path

import pytest

from latentpath.config.names import (
    LONGEST_FILE,
    check_label,
    check_run_name,
    expand_home,
    file_name,
    run_folder,
)
from latentpath.config.overrides import as_typed
from latentpath.errors import UserError


@pytest.mark.parametrize("name", ["", " ", ".", "..", "../x", "a/b", "a\\b", "a\nb", "\0", "é" * 101])
def test_a_name_that_is_no_folder_of_its_own_is_refused(name):
    with pytest.raises(UserError, match=r"^name "):
        check_run_name("name", name)
    with pytest.raises(UserError, match=r"^name "):
        run_folder("outputs", name)


@pytest.mark.parametrize("name", ["mine", "a b", "...", "5e10", "é" * 100, "研究"])
def test_other_names_are_taken(name):
    check_run_name("from_run", name)
    assert run_folder("outputs", name) == f"outputs/{name}"


@pytest.mark.parametrize("label", ["", "  ", "a\x00", "\t", "a\x1b[31m"])
def test_a_label_that_cannot_be_printed_is_refused(label):
    with pytest.raises(UserError, match=r"^dataset\.attributes "):
        check_label("dataset.attributes", label)


def test_different_labels_give_different_files_within_the_folder():
    labels = [
        *("hair", "a b", "a-b", "a_b", "a/b", "a//b", "../../z", "[/b]", "<script>", "a", "A "),
        *("毛发", "标尺", "🙂", "🙃", "🙂" * 200, "x" * 200, "x" * 201, "..", ".", "-", "--"),
    ]
    names = [file_name(label) for label in labels]
    assert len(set(names)) == len(labels)
    assert all(Path(name).name == name and 0 < len(name.encode()) <= LONGEST_FILE for name in names)
    assert [file_name(label) for label in ("hair", "Pleural Effusion", "gel_bubble", "毛发")] == [
        *("hair", "Pleural-Effusion", "gel_bubble", "毛发")
    ]


def test_home_is_expanded_in_every_path_and_nowhere_else(compose, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    keys = ("output_dir", "weights_dir", "dataset.root", "model.name", "model.vae")
    cfg = compose("run", *as_typed([f"{key}=~/x" for key in keys]), "sampler.negative_prompt='~ 5 mm'")
    expand_home(cfg)
    assert [cfg.output_dir, cfg.weights_dir, cfg.dataset.root, cfg.model.name, cfg.model.vae] == [
        "/home/me/x"
    ] * 5
    assert cfg.sampler.negative_prompt == "~ 5 mm"
    assert run_folder("~/x", "mine") == "/home/me/x/mine"


@pytest.mark.parametrize(
    "typed, meant",
    [
        ("name=5e10", ["name='5e10'"]),
        ("name=2024_01", ["name='2024_01'"]),
        ("name=true", ["name='true'"]),
        ("name=mine", ["name=mine"]),
        ("name='5e10'", ["name='5e10'"]),
        ("name=1e3,1e4", ["name='1e3','1e4'"]),
        ("from_run=7", ["from_run='7'"]),
        ("seed=7", ["seed=7"]),
        ("sampler.batch_size=7", ["sampler.batch_size=7"]),
        ("dataset.classes=[0,1]", ["dataset.classes=['0','1']"]),
        (
            "dataset.captions.class_names={0:benign,1:malignant}",
            ["++dataset.captions.class_names.0=benign", "++dataset.captions.class_names.1=malignant"],
        ),
        ("dataset.captions.class_names={MEL:melanoma}", ["dataset.captions.class_names={MEL:melanoma}"]),
        ("--cfg", ["--cfg"]),
    ],
)
def test_text_stays_as_it_was_typed(typed, meant):
    assert as_typed([typed]) == meant


def test_text_reaches_the_configuration_as_it_was_typed(compose):
    words = as_typed(["name=5e10", "dataset.classes=[0,1e3]", "dataset.captions.class_names={0:benign}"])
    cfg = compose("run", *words)
    assert (cfg.name, list(cfg.dataset.classes), cfg.dataset.captions.class_names["0"]) == (
        "5e10",
        ["0", "1e3"],
        "benign",
    )
