"""Hostile values for every key of the schema: each is accepted, or refused in one message with status 2."""

from __future__ import annotations

import itertools
import math
from copy import deepcopy
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints

import pytest
from omegaconf import OmegaConf

from latentpath.commands import TRAVERSE
from latentpath.config.checks import check
from latentpath.config.overrides import has_no_value, resolve
from latentpath.config.schema import Config
from latentpath.errors import UserError

NUMBERS = ("nan", "inf", "-inf", "-1", "0", "1e308", "1000000000", "9223372036854775808", "0.5", "abc")
OTHERS = ("null", "[]", "{}", "true", "'${nothing.here}'", "'${oc.env:LATENTPATH_NOT_THERE}'", "''", "???")
TEXTS = ("nonsense", "../x", "'[/b]'", "5e10", "[1,2]")
# The command that the key is for, so that its checks run.
COMMAND_OF = {"finetune": "finetune", "classifier": "classify", "metric": "evaluate", "dataset": "classify"}


def keys_of(node: type = Config, prefix: str = "") -> list[tuple[str, Any]]:
    """Every leaf of the schema with its type: ("finetune.lr", float), ..."""
    types = get_type_hints(node)
    leaves = []
    for field in fields(node):
        kind, key = types[field.name], f"{prefix}{field.name}"
        leaves += keys_of(kind, f"{key}.") if is_dataclass(kind) else [(key, kind)]
    return leaves


def attacks() -> list[tuple[str, str]]:
    pairs = []
    for key, kind in keys_of():
        name = str(kind)
        values = NUMBERS if "int" in name or "float" in name else TEXTS
        if "list" in name:
            values = [f"[{value}]" for value in values]
        pairs += itertools.product([key], [*values, *OTHERS])
    return pairs


def attack(cli, calls, key: str, value: str) -> str | None:
    """What is wrong with the answer to `key=value`, or None."""
    calls.clear()
    command = COMMAND_OF.get(key.split(".")[0], "traverse")
    words = [command, "experiment=demo", "dataset.root=data", f"{key}={value}"]
    try:
        ended = cli(*words)
    except BaseException as error:  # what a user would see as a traceback
        return f"{' '.join(words)}: {type(error).__name__}: {error}"
    if ended.status == 0 and calls:
        accepted = OmegaConf.select(calls[0][0], key)
        flat = accepted if OmegaConf.is_list(accepted) else [accepted]
        if any(isinstance(number, float) and not math.isfinite(number) for number in flat):
            return f"{' '.join(words)}: accepted, though not finite"
        return None
    if ended.status != 2 or not ended.is_plain:
        return f"{' '.join(words)}: status {ended.status}: {ended.err[-300:]}"
    return None if ended.err.startswith("latentpath: ") else f"{' '.join(words)}: says {ended.err[:200]!r}"


def test_a_key_without_a_value_is_named_with_what_to_give(compose, tried):
    """`???` for every key: nothing may look at a value before this is said."""
    faults, composed = [], compose("traverse", "experiment=demo", "dataset.root=data")
    for key, _ in keys_of():
        cfg = deepcopy(composed)
        OmegaConf.update(cfg, key, "???")
        try:
            resolve(cfg)
            check(cfg, reads_images=TRAVERSE.reads_images)
            said = ""
        except UserError as error:
            said = str(error)
        if said != has_no_value(key) and key != "dataset.root":  # which this command does not read
            faults.append(f"{key}: {said}")
    tried("configurations", len(keys_of()))
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("key", ["name", "inversion.method", "dataset.attributes"])
def test_a_key_without_a_value_is_named_on_the_command_line(cli, calls, tried, key):
    """The folder of the run, a check and an interpolation need these values first."""
    ended = cli("traverse", "experiment=demo", "dataset.root=data", f"{key}=???")
    assert (ended.status, ended.err) == (2, f"latentpath: {has_no_value(key)}\n")
    tried("configurations", 1)


def test_some_values_for_some_keys(cli, calls, rng, tried):
    chosen = rng.sample(attacks(), 40)
    faults = [fault for pair in chosen if (fault := attack(cli, calls, *pair))]
    tried("configurations", len(chosen))
    assert not faults, "\n".join(faults)


CODE = (
    "name='${oc.eval:1}'",
    "+_target_=os.system",
    "++model._target_=os.system",
    "model.name='!!python/object/apply:os.mkdir [executed]'",
    'logger.project=\'${__import__("os").mkdir("executed")}\'',
)


@pytest.mark.parametrize("override", CODE)
def test_a_configuration_runs_no_code(cli, calls, tried, tmp_path, override):
    """Sections of the schema are never instantiated; what `plugins` and `hydra.*` name is the user's own."""
    ended = cli("report", "experiment=demo", override)
    assert ended.status in (0, 2) and ended.is_plain, ended.err
    assert not (tmp_path / "executed").exists()
    tried("configurations", 1)


@pytest.mark.hostile
@pytest.mark.parametrize("section", sorted({key.split(".")[0] for key, _ in keys_of()}))
def test_any_value_for_any_key(cli, calls, rng, tried, section, values):
    """A random share of all pairs of a key and a value; another seed takes others."""
    pairs = [pair for pair in attacks() if pair[0].split(".")[0] == section]
    pairs = rng.sample(pairs, min(len(pairs), math.ceil(values * len(pairs) / len(attacks()))))
    faults = [fault for pair in pairs if (fault := attack(cli, calls, *pair))]
    tried("configurations", len(pairs))
    assert not faults, f"{len(faults)} of {len(pairs)}:\n" + "\n".join(faults)
