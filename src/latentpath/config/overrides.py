"""Checks command-line overrides before Hydra composes, and suggests near matches for misspelt ones."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, get_type_hints

from latentpath.config.fields import in_words, section_of, settings
from latentpath.config.methods import MethodsConfig
from latentpath.config.schema import Config, conf_dir
from latentpath.errors import UserError, near

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override


def check_launcher(args: list[str]) -> None:
    """Raise UserError for a launcher without -m: Hydra would ignore it and train on the login node."""
    chosen = [arg for arg in args if arg.startswith("hydra/launcher=")]
    if not chosen:
        return
    options = {arg.split("=")[0] for arg in args if arg.startswith("-")}
    if not options & {"-m", "--multirun", "--cfg", "-c", "--info", "-i", "--help", "-h", "--hydra-help"}:
        raise UserError(f"{chosen[0]} needs -m, also for one job: latentpath <command> -m {chosen[0]} ...")
    if chosen[0] != "hydra/launcher=basic" and find_spec("submitit") is None:
        raise UserError(f"{chosen[0]}: not installed (submitit); run `pip install 'latentpath[clusters]'`")


def check_overrides(args: list[str]) -> None:
    """Raise UserError, with a near match, for a misspelt key, group or option."""
    if any(
        arg in ("--config-dir", "-cd", "--config-path", "-cp") or arg.startswith("--config-") for arg in args
    ):
        return  # the user's own config folder may add groups that are unknown here
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import OverrideParseException

    root = conf_dir()
    groups = {path.parent.relative_to(root).as_posix() for path in root.rglob("*.yaml")} - {"."}
    options = [i for i, arg in enumerate(args) if arg.startswith("-")]
    # A word without "=" after an option may be the option's value, as in `--cfg job`.
    words = [a for i, a in enumerate(args) if i not in options and ("=" in a or i - 1 not in options)]
    try:
        overrides = OverridesParser.create().parse_overrides(words)
    except OverrideParseException as error:
        raise UserError(
            f"cannot read {error.override!r} as an override: expected key=value. Put a value with a space, a "
            "comma, an accent or another special character in two kinds of quotes: 'key=\"a, b\"'."
        ) from None
    for override in overrides:
        key = override.key_or_group
        if override.is_delete() or key.startswith("hydra"):
            continue
        if key in groups:
            options = {path.stem for path in (root / key).glob("*.yaml")}
            if key != "method" and not override.is_sweep_override() and isinstance(override.value(), list):
                csv = " Every logger also writes metrics.csv." if key == "logger" else ""
                raise UserError(f"{override.input_line}: {key} takes one option.{csv}")
            for option in _options(override):
                if option not in options:
                    raise UserError(f"{key} has no option {option!r}.{near(option, options)}")
        else:
            _check_key(key, groups)
            if (
                isinstance(override.value(), dict)
                and override.value()
                and not (override.is_add() or override.is_force_add())
            ):
                raise UserError(f"{override.input_line}: names are added to a mapping with +: +{key}={{...}}")
            _check_switch(key, override)
    _check_chosen(overrides)


def _check_switch(key: str, override: Override) -> None:
    """Raise UserError for a number other than 0 and 1 where true or false is expected: OmegaConf takes it."""
    from hydra.core.override_parser.types import ChoiceSweep

    value = override.value()
    values = value.list if isinstance(value, ChoiceSweep) else [value]
    if _types().get(key) == "bool" and any(isinstance(v, int | float) and v not in (0, 1) for v in values):
        raise UserError(f"{override.input_line}: expected {_expected()[key]}.")


def _check_chosen(overrides: list[Override]) -> None:
    """Raise UserError for a method named twice, and for settings of one that `method=[...]` does not name."""
    chosen = {o.key_or_group: _options(o) for o in overrides if o.key_or_group in ("method", "experiment")}
    names = chosen.get("method", [] if "experiment" in chosen else ["swap"])
    if len(set(names)) < len(names):
        raise UserError(f"method=[{','.join(names)}] names one twice.")
    for key in (override.key_or_group for override in overrides):
        first, _, rest = key.partition(".")
        if first == "method" and rest and names and (name := rest.partition(".")[0]) not in names:
            raise UserError(
                f"{key}: this method is not in the sweep; add it, method=[{','.join([*names, name])}]."
            )


def as_typed(args: list[str]) -> list[str]:
    """Put quotes around values that a text setting takes and YAML would turn into numbers or booleans.

    `name=5e10` and `name=2024_01` stay as they were typed. The keys of `class_names={0:benign}` become text.
    """
    return [word for arg in args for word in _typed(arg)]


def _typed(arg: str) -> list[str]:
    key, equals, raw = arg.partition("=")
    kind = _types().get(key.lstrip("+"), "")
    if not equals or key.startswith(("-", "~")) or any(sign in raw for sign in "'\"$()\\"):
        return [arg]
    if kind in ("str", "str | None"):
        return [f"{key}={','.join(map(_quoted, raw.split(',')))}"]
    inner = raw[1:-1]
    if kind == "list[str]" and raw[:1] == "[" and not any(sign in inner for sign in "[]{}"):
        return [f"{key}=[{','.join(map(_quoted, inner.split(',')))}]"]
    if kind == "dict[str, str]" and raw[:1] == "{" and not any(sign in inner for sign in "[]{}"):
        pairs = [pair.partition(":")[::2] for pair in inner.split(",")]
        if any(_quoted(name) != name for name, _ in pairs):
            return [f"++{key.lstrip('+')}.{name.strip()}={_quoted(value.strip())}" for name, value in pairs]
    return [arg]


def _quoted(raw: str) -> str:
    """Put `raw` in quotes if Hydra would read it as a number or a boolean, or could not read its `~`."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    if raw.startswith("~"):
        return f"'{raw}'"
    try:
        value = OverridesParser.create().parse_override(f"key={raw}").value()
    except HydraException:
        return raw
    return f"'{raw.strip()}'" if isinstance(value, bool | int | float) else raw


@cache
def _types() -> dict[str, str]:
    """Map each key of the schema to its type in words, such as `str | None`."""
    return {key: kind.__name__ if isinstance(kind, type) else str(kind) for key, kind, _ in settings(Config)}


@cache
def _expected() -> dict[str, str]:
    """Map each key of the schema to the values that it takes, in words."""
    return {key: in_words(kind, field, key) for key, kind, field in settings(Config)}


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turn errors of Hydra and OmegaConf about a value or an interpolation into a UserError of one sentence.

    Hydra would print a longer message and exit with status 1. HYDRA_FULL_ERROR=1 still shows the traceback.
    """
    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        yield
        return
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    os.environ["HYDRA_FULL_ERROR"] = "1"  # makes Hydra raise its errors instead of printing them
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        raise plainly(error) from None
    except AssertionError as error:  # of OmegaConf, for a key below a section that is null
        raise UserError(
            f"an override sets a key that does not exist ({error}): does method=[...] name the method whose "
            "settings are given?"
        ) from None
    finally:
        del os.environ["HYDRA_FULL_ERROR"]


def resolve(cfg: Config) -> None:
    """Drop the methods that are not swept; raise UserError for the first key that cannot be resolved.

    An experiment may give dials to a method that `method=[...]` on the command line does not name.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        for field in fields(MethodsConfig):
            section = getattr(cfg.method, field.name)
            if section is not None and not section.swept:
                setattr(cfg.method, field.name, None)
        OmegaConf.to_container(cfg, resolve=True)
    except OmegaConfBaseException as error:
        raise plainly(error) from None


def plainly(error: Exception) -> UserError:
    """Convert an error of Hydra or OmegaConf about a value into one sentence that names the key."""
    if (own := next((cause for cause in _chain(error) if isinstance(cause, UserError)), None)) is not None:
        return own  # of our own resolvers
    causes = [str(cause) for cause in (error, error.__cause__) if cause is not None]
    if missing := re.search(r"Missing mandatory value: ([\w.]+)", " ".join(causes)):
        return UserError(has_no_value(missing[1].removesuffix(".")))
    lines = [_first_sentence(cause) for cause in causes if cause.strip()]
    message = ": ".join(dict.fromkeys(lines)).removeprefix("Error merging override ")
    key = getattr(error, "full_key", None)
    if (refused := _refused(error)) is not None:
        return refused
    if variable := re.search(r"Environment variable '(.+?)' not found", message):
        return UserError(
            f"{key} needs the environment variable {variable[1]}, which is not set: set it first."
        )
    if other := re.search(r"Interpolation key '(.+?)' not found", message):
        return UserError(f"{key} refers to ${{{other[1]}}}, but the configuration has no such key.")
    return UserError(f"{key}: {message}." if key and key not in message else f"{message}.")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the error and what it was raised from, as far as it goes."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _refused(error: Exception) -> UserError | None:
    """Say which values a setting takes, if `error` is of an override with a value of another type."""
    from omegaconf.errors import ConfigTypeError, ValidationError

    _, _, override = str(error).partition("Error merging override ")
    key = override.partition("=")[0].lstrip("+")
    words = _expected().get(key) or _expected().get(key.rpartition(".")[0])  # names in a mapping are free
    if not isinstance(error.__cause__, ConfigTypeError | ValidationError) or words is None:
        return None
    return UserError(f"{override}: expected {words}.")


def has_no_value(key: str) -> str:
    """Return the message for a key whose value is `???`."""
    return f"{key} is ???, which says that it has no value yet. Give it one: {key}=..."


def _first_sentence(message: str) -> str:
    """Return the first line of a message, and the next one if the first ends with a colon."""
    first, *rest = [line.strip().removesuffix(".") for line in message.strip().splitlines()]
    return f"{first} {rest[0]}" if first.endswith(":") and rest else first


def _options(override: Override) -> list[str]:
    """Return the options that an override of a group names: one, several in a sweep, none for glob(...)."""
    from hydra.core.override_parser.types import ValueType

    if override.value_type is ValueType.GLOB_CHOICE_SWEEP:
        return []
    if override.is_interval_sweep():
        raise UserError(
            f"{override.input_line}: expected options of this config group by their names, not an interval."
        )
    if override.is_sweep_override():
        return list(override.sweep_string_iterator())
    value = override.value()
    return [
        "null" if option is None else str(option)
        for option in (value if isinstance(value, list) else [value])
    ]


def _check_key(key: str, groups: set[str]) -> None:
    """Walk the schema along `key`; raise UserError at the first part that it does not have."""
    node: type | None = Config
    for depth, part in enumerate(key.split(".")):
        if node is None:
            return  # below a free dictionary, such as captions.class_names
        names = {f.name for f in fields(node)} | (groups if depth == 0 else set())
        if part not in names:
            above = ".".join(key.split(".")[:depth]) or "the configuration"
            raise UserError(f"{key}: {above} has no key {part!r}.{near(part, names)}")
        node = section_of(node, part) if part in get_type_hints(node) else None
