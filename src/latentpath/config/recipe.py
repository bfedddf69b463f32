"""The recipe of a run: the overrides that compose its configuration again, from the nearest experiment."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import cast

from latentpath.config.methods import MethodsConfig
from latentpath.config.overrides import resolve
from latentpath.config.schema import Config, conf_dir
from latentpath.config.written import Json

# Settings of a call, which do not belong to what a run is.
OF_A_CALL = ("name", "overwrite", "dry_run", "from_run", "compare", "figures", "to_label")


def recipe(config: Json, experiment: str | None = None) -> list[str]:
    """Return overrides of `latentpath run` that compose `config`, a configuration as a stage wrote it.

    experiment: the name of the experiment to begin with, such as that of `nearest_experiment`; None: without.
    """
    overrides = [f"experiment={experiment}"] if experiment else []
    methods = [field.name for field in fields(MethodsConfig) if config["method"].get(field.name) is not None]
    plain = _composed(overrides)
    if [name for name, section in plain["method"].items() if section is not None] != methods:
        overrides.append(f"method=[{','.join(methods)}]")
        plain = _composed(overrides)
    return [*overrides, *_differences("", plain, config)]


def nearest_experiment(config: Json) -> str | None:
    """Return the experiment of `conf/experiment` that differs least from `config`; None if none helps."""
    names = [None, *(file.stem for file in sorted((conf_dir() / "experiment").glob("*.yaml")))]
    lengths = {
        name: len([*_differences("", _composed([f"experiment={name}"] if name else []), config)])
        for name in names
    }
    return min(names, key=lengths.__getitem__)


def of_method(config: Json, method: str) -> Json:
    """Return `config` with the swap, the placebo if it is there, and `method` as the only methods."""
    bare = method.removeprefix("masked-")
    needed = {"swap", "placebo", bare} | ({"mask"} if bare != method else set())
    sections = {name: section if name in needed else None for name, section in config["method"].items()}
    if mask := sections.get("mask"):
        sections["mask"] = mask | {"of": [bare]}
    attribute = dict(config["attribute"])
    attribute["methods"] = [name for name in attribute["methods"] if name.partition(":")[2] == method]
    attribute["dials"] = {k: v for k, v in dict(attribute["dials"]).items() if k == method}
    return {**config, "method": sections, "attribute": attribute}


def _composed(overrides: list[str]) -> Json:
    """Compose the configuration of `latentpath run` with these overrides, as plain dictionaries."""
    from hydra import compose, initialize_config_dir
    from hydra.core.config_store import ConfigStore
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import OmegaConf

    ConfigStore.instance().store(name="schema", node=Config)
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(Path(conf_dir()).resolve()), version_base="1.3"):
        cfg = compose("run", overrides)
    resolve(cast(Config, cfg))
    return cast(Json, OmegaConf.to_container(cfg, resolve=False, enum_to_str=True))


def _differences(key: str, before: object, after: object) -> Iterator[str]:
    """Yield the overrides that change `before` to `after`, both at `key`."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name, value in after.items():
            inner = f"{key}.{name}" if key else str(name)
            if inner in OF_A_CALL:
                continue
            if name not in before:
                yield f"++{inner}={literal(value)}"
            else:
                yield from _differences(inner, before[name], value)
        yield from (f"~{key}.{name}" for name in before if key and name not in after)
    elif before != after:
        yield f"{key}={literal(after)}"


def literal(value: object) -> str:
    """Return `value` as Hydra's grammar of overrides writes it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{','.join(map(literal, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{k}:{literal(v)}' for k, v in value.items())}}}"
    if isinstance(value, str):
        plain = re.fullmatch(r"[A-Za-z_./][\w./:-]*", value) and value.lower() not in WORDS
        return value if plain else "'" + value.replace("\\'", "\\\\'").replace("'", "\\'") + "'"
    return repr(value)


WORDS = ("null", "true", "false", "inf", "nan")  # values, not texts, unless they are quoted
