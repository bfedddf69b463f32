"""Loads functions of the user's own modules, which the configuration names as `my_module:function`.

A module is imported only if the list `plugins` names it or a package that contains it. Python must be able to
find the module: it is installed, or its folder is in PYTHONPATH.
"""

from __future__ import annotations

import hashlib
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from latentpath.errors import UserError, near

# Settings that may name functions of the user's own modules.
SETTINGS = ("dataset.layout", "classifier.arch", "attribute.methods", "metric.measures")


def is_reference(name: str) -> bool:
    """Return whether `name` refers to a function of a user's module rather than to something built in."""
    return ":" in name


def references(settings: Mapping[str, object]) -> list[tuple[str, str]]:
    """Return pairs (setting, reference) of the flat `settings`: ("dataset.layout", "my_module:read")."""
    found = []
    for key in SETTINGS:
        value = settings.get(key) or []
        names = [value] if isinstance(value, str) or not isinstance(value, Sequence) else value
        found += [(key, str(name)) for name in names if is_reference(str(name))]
    return found


def load(
    setting: str, reference: str, plugins: Sequence[str]
) -> Callable[..., Any]:  # Any: a user wrote the function
    """Load the function `reference` (`module:function`), whose module `plugins` must allow.

    Raises UserError, which names `setting`, if `plugins` does not allow the module (nothing is imported
    then), if the module does not exist or fails on import, or if it does not have the function. If a call of
    the function fails, that is a UserError too, with the line at which it failed.
    """
    _plugin_of(setting, reference, plugins)
    module, _, name = reference.partition(":")
    source = _source(module)
    try:
        loaded = import_module(module)
    except (Exception, SystemExit) as error:
        raise UserError(
            f"{setting}={reference}: importing {source} failed.\n{_where(error, source)}"
        ) from error
    function = getattr(loaded, name, None)
    if not callable(function):
        there = [key for key, value in vars(loaded).items() if callable(value) and not key.startswith("_")]
        choose = near(name, there) if there else " It has none at all."
        raise UserError(f"{setting}={reference}: {source} has no function {name!r}.{choose}")

    @wraps(function)
    def called(*args: object, **options: object) -> object:
        try:
            return function(*args, **options)
        except Exception as error:
            if isinstance(error, UserError | MemoryError) or type(error).__name__ == "OutOfMemoryError":
                raise
            raise UserError(
                f"{setting}={reference}: a call of this function failed.\n{_where(error, source)}"
            ) from error

    return called


def fingerprints(settings: Mapping[str, object], plugins: Sequence[str]) -> dict[str, str]:
    """Map `plugins.<name>` to a hash of its source, for each of the `plugins` that `settings` use.

    A stage stores the hashes with its configuration, so that a stage made by another version of a plugin is
    refused.
    """
    used = {_plugin_of(setting, reference, plugins) for setting, reference in references(settings)}
    return {f"plugins.{name}": _hash(_source(name)) for name in sorted(used)}


def _plugin_of(setting: str, reference: str, plugins: Sequence[str]) -> str:
    """Return the entry of `plugins` that allows `reference`."""
    module, _, name = reference.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), name)):
        raise UserError(f"{setting} is {reference!r}, expected a function of a module: my_module:function.")
    for plugin in plugins:
        if module == plugin or module.startswith(f"{plugin}."):
            return plugin
    raise UserError(
        f"{setting}={reference} names the module {module!r}, which is not in plugins={list(plugins)}. It was "
        f"not imported. If you trust its code, add plugins=[{module}]."
    )


def _source(module: str) -> Path:
    """Return the source file of a module, or __init__.py of a package."""
    try:
        spec = find_spec(module)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        raise UserError(
            f"plugins: Python finds no module {module!r}. Install it, or name its folder in PYTHONPATH: "
            "PYTHONPATH=. latentpath ..."
        )
    if not spec.has_location or spec.origin is None:
        raise UserError(f"plugins: the module {module!r} is not your own file, so it cannot be a plugin.")
    return Path(spec.origin)


def _hash(source: Path) -> str:
    files = sorted(source.parent.rglob("*.py")) if source.name == "__init__.py" else [source]
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(source.parent)}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def _where(error: BaseException, source: Path) -> str:
    """Describe the line of the user's module at which its import failed, and the error."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == str(source)]
    lines = [f"  line {frames[-1].lineno}: {frames[-1].line}"] if frames else []
    return "\n".join(
        [*lines, *(f"  {line}" for line in "".join(traceback.format_exception_only(error)).splitlines())]
    )
