"""Every number of the schema has bounds, every list of names its choices; a broken rule is one sentence."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, cast

import pytest
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from latentpath.config.checks import check
from latentpath.config.fields import Bounds, Choices, number, rule_of, settings
from latentpath.config.methods import MethodsConfig
from latentpath.config.overrides import resolve
from latentpath.config.schema import Config
from latentpath.errors import UserError

LEAVES = [(key, kind, rule_of(field)) for key, kind, field in settings(Config)]
NUMBERS = {key: (kind, rule) for key, kind, rule in LEAVES if "int" in str(kind) or "float" in str(kind)}
SINGLE = [key for key, (kind, _) in NUMBERS.items() if "dict" not in str(kind)]  # not mappings of numbers
NAMES = {key: (kind, rule) for key, kind, rule in LEAVES if isinstance(rule, Choices)}


def test_every_number_of_the_schema_has_a_lowest_and_a_highest_value():
    def is_bound(rule: Any) -> bool:
        return (
            isinstance(rule, Bounds)
            and (rule.low is not None) != (rule.above is not None)
            and (rule.high is not None) != (rule.below is not None)
        )

    assert len(NUMBERS) > 50
    assert [key for key, (_, rule) in NUMBERS.items() if not is_bound(rule)] == []


def as_value(kind: Any, value: Any) -> str:
    return (
        f"[[{value},{value}]]"
        if "list[list" in str(kind)
        else f"[{value}]"
        if "list" in str(kind)
        else str(value)
    )


@pytest.fixture(scope="module")
def broken(compose):
    """`broken("finetune.lr=-1")`: what `check` says of a configuration with this override, or ""."""
    every = ",".join(field.name for field in fields(MethodsConfig))
    whole = compose("run", "dataset.root=x", f"method=[{every}]")

    def say(override: str) -> str:
        try:
            cfg = OmegaConf.merge(whole, OmegaConf.from_dotlist([override]))
            check(cast(Config, cfg))
        except (UserError, OmegaConfBaseException) as error:
            return str(error)
        return ""

    return say


@pytest.mark.parametrize("key", SINGLE)
def test_a_number_outside_its_bounds_is_refused_with_the_key_and_the_bounds(broken, key):
    kind, rule = NUMBERS[key]
    whole = "float" not in str(kind)
    ends = (
        rule.low if rule.low is not None else rule.above,
        rule.high if rule.high is not None else rule.below,
    )
    lower = ends[0] - 1 if rule.low is not None else ends[0]
    higher = ends[1] + 1 if rule.high is not None else ends[1]
    for value in (lower, higher, *(() if whole else ("nan", "inf", "-inf"))):
        message = broken(f"{key}={as_value(kind, value)}")
        assert message.startswith(f"{key} is ")
        assert message.endswith(f", expected {rule}.")


def test_numbers_of_a_mapping_have_bounds(compose):
    with pytest.raises(
        UserError, match=r"attribute\.dials is 2000\.0, expected a number from -1,000 to 1,000"
    ):
        check(compose("run", "dataset.root=x", "+attribute.dials.ramp=[0.5,2000]"))
    with pytest.raises(UserError, match=r"attribute\.dials: 'ramp' is no function of attribute\.methods"):
        check(compose("run", "dataset.root=x", "+attribute.dials.ramp=[0.5]"))


@pytest.mark.parametrize("key", SINGLE)
def test_a_whole_number_takes_neither_nan_nor_a_fraction(broken, key):
    kind, _ = NUMBERS[key]
    if "float" not in str(kind):
        for value in ("nan", "inf", "0.5"):
            assert broken(f"{key}={as_value(kind, value)}"), value


@pytest.mark.parametrize("key", NAMES)
def test_a_name_that_is_no_choice_is_refused_with_the_nearest(broken, key):
    kind, rule = NAMES[key]
    misspelt = rule.names[-1] + "x"
    assert (
        broken(f"{key}={as_value(kind, misspelt)}")
        == f"{key} is {misspelt!r}. Did you mean {rule.names[-1]!r}?"
    )


@pytest.mark.parametrize(
    "override, sentence",
    {
        "finetune.lr=-1": "finetune.lr is -1.0, expected a number above 0 to 1.",
        "finetune.lr=nan": "finetune.lr is nan, expected a number above 0 to 1.",
        "seed=4294967296": "seed is 4294967296, expected a number from 0 to 2^32 - 1.",
        "sampler.first_seed=9223372036854775807": "sampler.first_seed is 9223372036854775807, "
        "expected a number from 0 to 2^62.",
        "dataset.image_size=1000000": "dataset.image_size is 1000000, expected a number from 8 to 4,096.",
        "metric.resamples=1000000000": "metric.resamples is 1000000000, expected a number from 1 to 100,000.",
        "timesteps.num_inference_steps=2000": "timesteps.num_inference_steps is 2000, "
        "expected a number from 1 to 1,000.",
        "sampler.batch_size=large": "sampler.batch_size is 'large', "
        "expected a number from 1 to 65,536, or auto.",
        "classifier.patience=-1": "classifier.patience is -1, "
        "expected a number from 0 (never stop) to 100,000.",
        "trainer.strategy=nonsense": "trainer.strategy is 'nonsense'. Choose from: auto, ddp, "
        "ddp_find_unused_parameters_true.",
        "trainer.precision=bf16": "trainer.precision is 'bf16'. Did you mean 'bf16-true'?",
        "attribute.strengths=[0.5,inf]": "attribute.strengths is inf, expected a number from -100 to 100.",
        "dataset.val_fraction=0.8": "dataset.val_fraction 0.8 and dataset.test_fraction 0.2: both together "
        "leave no training images, expected a sum below 1.",
        "dataset.isic.absent=0.9": "dataset.isic.absent is 0.9 and dataset.isic.present 0.9: "
        "expected absent < present.",
        "dataset.attributes=[hair,hair]": "dataset.attributes is ['hair', 'hair']: expected each entry once.",
        "dataset.attributes=[hair,' ']": "dataset.attributes has the name ' ': expected a name that can be "
        "read and printed.",
        "dataset.attributes=[hair,group]": "dataset.attributes: 'group' is a name that tables need for every "
        "data set, whatever it shows. Give the attribute another name.",
    }.items(),
)
def test_bounds_read_as_a_sentence(broken, override, sentence):
    assert broken(override) == sentence


@pytest.mark.parametrize(
    "override",
    [
        "sampler.batch_size=auto",
        "sampler.batch_size=65536",
        "seed=4294967295",
        "finetune.lr=1",
        "dataset.val_fraction=0",
        "metric.strong_swap_steps=null",
        "inversion.method=null",
    ],
)
def test_what_lies_within_the_bounds_is_taken(broken, override):
    assert broken(override) == ""


def test_the_default_of_a_list_is_not_shared():
    from dataclasses import dataclass

    @dataclass
    class Section:
        steps: list[int] = number([1], low=0, high=9)

    Section().steps.append(2)
    assert Section().steps == [1]


def test_only_the_methods_that_are_named_are_swept_whatever_dials_an_experiment_gives(compose):
    named = compose("traverse", "experiment=leaderboard_phantoms", "method=[swap,mask]")
    whole = compose("traverse", "experiment=leaderboard_phantoms")
    for cfg in (named, whole):
        resolve(cfg)
    assert [name for name, section in named.method.items() if section is not None] == ["swap", "mask"]
    assert list(named.method.mask.dials) == [0.2, 0.3, 0.5]
    assert list(whole.method.sega.dials) == [3, 5, 8]


def test_a_gpu_finds_the_fast_settings_by_itself_and_each_can_be_set(compose):
    cfg = compose("run", "trainer=gpu", "dataset.root=x", "sampler.attention=flash")
    assert (cfg.sampler.batch_size, cfg.sampler.attention) == ("auto", "flash")
    assert (cfg.sampler.compile, cfg.finetune.compile, cfg.metric.vae_precision) == (None, None, "bf16-true")
    cfg = compose("run", "trainer=ddp", "trainer.devices=4", "dataset.root=x")
    assert (cfg.trainer.devices, cfg.trainer.strategy, cfg.sampler.batch_size) == (4, "ddp", "auto")
