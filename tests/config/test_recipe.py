"""A run's configuration is composed again by the overrides that its recipe says."""

from __future__ import annotations

from typing import Any

import pytest
from omegaconf import OmegaConf

from latentpath.config.overrides import resolve
from latentpath.config.recipe import literal, nearest_experiment, of_method, recipe


@pytest.fixture
def composed(compose):
    def plain(*overrides: str) -> Any:
        cfg = compose("run", *overrides)
        resolve(cfg)
        return OmegaConf.to_container(cfg, resolve=False, enum_to_str=True)

    return plain


@pytest.mark.parametrize(
    "overrides",
    [
        ["dataset.root=/data/isic"],
        ["experiment=demo", "method=[swap,placebo,sega]", "method.sega.dials=[3,5.5]", "sampler.seeds=7"],
        ["experiment=leaderboard_phantoms", "attribute.strengths=[0.5]", "inversion=ddpm"],
        [
            "experiment=paper_chexpert",
            r"dataset.root='/a path/it\'s here'",
            "finetune.lr=3e-6",
        ],
        [
            "experiment=demo",
            "plugins=[mine]",
            "attribute.methods=[mine:ramp]",
            "+attribute.dials.ramp=[0.5,1]",
            "dataset.captions.without_attributes=\"{cls}, no 'marks'\"",
        ],
    ],
)
def test_a_recipe_composes_the_same_configuration(composed, overrides):
    wanted = composed(*overrides)
    said = recipe(wanted, nearest_experiment(wanted))
    again = composed(*said)
    wanted["name"] = again["name"]
    assert again == wanted
    assert len(said) <= len(overrides) + 2


def test_a_method_alone_keeps_the_swap_and_the_placebo(composed):
    config = composed("experiment=leaderboard_phantoms")
    again = composed(*recipe(of_method(config, "fcfg"), "leaderboard_phantoms"))
    assert [name for name, section in again["method"].items() if section] == ["swap", "placebo", "fcfg"]
    assert again["method"]["fcfg"] == config["method"]["fcfg"]
    masked = composed(*recipe(of_method(config, "masked-swap"), "leaderboard_phantoms"))
    assert [name for name, section in masked["method"].items() if section] == ["swap", "placebo", "mask"]


@pytest.mark.parametrize(
    "value, text",
    [
        (None, "null"), (True, "true"), (0.5, "0.5"), (3, "3"), ("cpu", "cpu"), ("true", "'true'"),
        ("12", "'12'"),
        (["a", 1, "b c"], "[a,1,'b c']"), ({"a": [1]}, "{a:[1]}"), ("it's", "'it\\'s'"),
    ],
)  # fmt: skip
def test_a_value_is_written_as_hydra_reads_it(value, text):
    assert literal(value) == text
