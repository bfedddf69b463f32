"""The ways of editing, one file each: formula, defaults, source, and cost in rows of the U-Net per node.

A method is a frozen dataclass whose first field is its dial. Called with the prompts of a class and an edit,
it returns the letter of the edited steps. To add one, write it in a file of its own, list it here, and give
its settings in `config/methods.py` and `conf/method/<name>.yaml`; the fields of both have the same names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

from latentpath.config.methods import MethodsConfig
from latentpath.traversal.methods.contrast import Contrast
from latentpath.traversal.methods.fcfg import Fcfg
from latentpath.traversal.methods.hspace import Hspace
from latentpath.traversal.methods.leditspp import Leditspp
from latentpath.traversal.methods.mask import Mask
from latentpath.traversal.methods.offtarget import Offtarget
from latentpath.traversal.methods.ortho import Ortho
from latentpath.traversal.methods.p2p import P2p
from latentpath.traversal.methods.sdedit import Sdedit
from latentpath.traversal.methods.sega import Sega
from latentpath.traversal.methods.slider import Slider
from latentpath.traversal.words import Rule, Swap, target

METHODS: dict[str, Callable[..., Rule]] = {
    "contrast": Contrast,
    "fcfg": Fcfg,
    "hspace": Hspace,
    "leditspp": Leditspp,
    "offtarget": Offtarget,
    "ortho": Ortho,
    "p2p": P2p,
    "sega": Sega,
    "slider": Slider,
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


def _made(method: Any, dial: float, section: object) -> Rule:
    _, *others = fields(method)
    return method(dial, **{field.name: getattr(section, field.name) for field in others})
