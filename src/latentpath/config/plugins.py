"""Functions of the user's own modules, which the configuration names as `my_module:function`.

The list `plugins` is the only door: a module is imported only if `plugins` names it, or a package that it
lies in. Python finds it as any other module: it is installed, or its folder is in PYTHONPATH.
"""

from __future__ import annotations

import hashlib
import traceback
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from latentpath.errors import UserError, near

# Settings that may name functions of the user's own modules.
SETTINGS = ("dataset.layout", "classifier.arch", "attribute.methods", "metric.measures")


def is_reference(name: str) -> bool:
    """Does `name` stand for a function of a user's module, and for nothing that the package has itself?"""
    return ":" in name


def references(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The pairs (setting, reference) in `settings`, which is flat: {"dataset.layout": "my_module:read"}."""
    found = []
    for key in SETTINGS:
        value = settings.get(key) or []
        names = [value] if isinstance(value, str) else value
        found += [(key, name) for name in names if is_reference(name)]
    return found


def load(setting: str, reference: str, plugins: Sequence[str]) -> Callable[..., Any]:
    """The function `reference`, `module:function`, whose module is in `plugins` or in a package named there.

    Raises UserError, which names `setting`: for another module, before anything is imported; for a module
    that is not there or fails when it is imported; for a function that it does not have.
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
        raise UserError(f"{setting}={reference}: {source} has no function {name!r}.{near(name, there)}")
    return function


def fingerprints(settings: Mapping[str, Any], plugins: Sequence[str]) -> dict[str, str]:
    """`plugins.<name>` -> a hash of the source, for each of `plugins` that `settings` use.

    A stage keeps it with its configuration, so a stage that an earlier version of a plugin made is refused.
    """
    used = {_plugin_of(setting, reference, plugins) for setting, reference in references(settings)}
    return {f"plugins.{name}": _hash(_source(name)) for name in sorted(used)}


def _plugin_of(setting: str, reference: str, plugins: Sequence[str]) -> str:
    """The one of `plugins` that lets `reference` in."""
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
    """The file of a module; of a package the file __init__.py."""
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
        raise UserError(f"plugins: the module {module!r} is no file of yours, so it cannot be a plugin.")
    return Path(spec.origin)


def _hash(source: Path) -> str:
    files = sorted(source.parent.rglob("*.py")) if source.name == "__init__.py" else [source]
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(source.parent)}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def _where(error: BaseException, source: Path) -> str:
    """The line of the user's module at which its import failed, and the error."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == str(source)]
    lines = [f"  line {frames[-1].lineno}: {frames[-1].line}"] if frames else []
    return "\n".join(
        [*lines, *(f"  {line}" for line in "".join(traceback.format_exception_only(error)).splitlines())]
    )
