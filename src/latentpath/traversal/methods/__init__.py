"""The methods of editing, one file each: formula, defaults, source, and cost in rows of the U-Net per node.

A method is a frozen dataclass whose first field is its dial. Called with the prompts of a class and an edit,
it returns the letter of the edited steps. To add one, write the class `Name` in the file name.py here, and
give its settings, whose fields have the same names, in `config/methods.py` and `conf/method/<name>.yaml`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from importlib import import_module
from typing import Any

from latentpath.config.methods import MethodsConfig, dialled
from latentpath.traversal.methods.mask import Mask
from latentpath.traversal.methods.sdedit import Sdedit
from latentpath.traversal.words import Rule, Swap, target

# Name -> dataclass: the file fcfg.py of this folder holds the method `Fcfg`.
METHODS: dict[str, Callable[..., Rule]] = {
    name: getattr(import_module(f"{__name__}.{name}"), name.capitalize()) for name in sorted(dialled())
}


def chosen(settings: MethodsConfig) -> dict[str, dict[float, Swap]]:
    """Return name -> dial -> what the method spells, for each method that has a section in `settings`.

    A masked method, `masked-<name>`, has the threshold as dial, and its own first dial.
    """
    found: dict[str, dict[float, Swap]] = {}
    for name, method in METHODS.items():
        section = getattr(settings, name)
        if section is not None:
            found[name] = {dial: Swap(_made(method, dial, section)) for dial in section.dials}
    if settings.mask is not None:
        for name in settings.mask.of:
            bare = next(iter(found[name].values())) if name in found else Swap(target)
            found[f"masked-{name}"] = {dial: replace(bare, late=Mask(dial)) for dial in settings.mask.dials}
    if settings.sdedit is not None:
        found["sdedit"] = {1.0: Swap(target, late=Sdedit())}
    return found


def _made(method: Any, dial: float, section: object) -> Rule:  # Any: a dataclass
    _, *others = fields(method)
    return method(dial, **{field.name: getattr(section, field.name) for field in others})
