"""The methods that the explorer offers: each gives the letters of an edit for any value of its dial."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, cast

from latentpath.config.methods import MaskConfig
from latentpath.config.plugins import load
from latentpath.config.schema import Config
from latentpath.traversal.methods import METHODS
from latentpath.traversal.methods.mask import Mask
from latentpath.traversal.methods.own import Own
from latentpath.traversal.methods.sdedit import Sdedit
from latentpath.traversal.methods.strength import Strength
from latentpath.traversal.words import Rule, Spell, Swap, neutral, target


@dataclass(frozen=True)
class Method:
    """A method of editing with its dial.

    spell: dial -> the `Spell` of the edit, which gives its letters (`traversal.words`).
    default: the value of the dial that the page shows first.
    has_dial: whether the dial changes anything.
    origin: the letter of the unedited image.
    """

    spell: Callable[[float], Spell]
    default: float = 1.0
    has_dial: bool = True
    origin: Rule = neutral


def methods_of(cfg: Config, *, sliders: bool = False) -> dict[str, Method]:
    """Return every method that the run can use, by its name, with the settings of the run.

    sliders: whether the run has a slider for each attribute.
    """
    scale = cfg.attribute.strength_by.value == "scale"
    found = {
        "swap": Method(lambda dial: Swap(Strength(dial, scale))),
        "removal": Method(lambda dial: Swap(neutral, outside=target), has_dial=False, origin=target),
    }
    missing = set() if sliders else {"slider"}
    if cfg.sampler.solver == "dpmpp_2m" or cfg.sampler.guidance_rescale:
        missing.add("hspace")  # see `check_methods`
    for name, spelling in METHODS.items():
        if name not in missing:
            found[name] = _configured(spelling, getattr(cfg.method, name))
    mask = MaskConfig() if cfg.method.mask is None else cfg.method.mask
    for name in mask.of:
        found[f"masked-{name}"] = _masked(found[name], mask.dials[0])
    found["sdedit"] = Method(lambda dial: Swap(target, late=Sdedit()), has_dial=False)
    for reference in cfg.attribute.methods:
        name, function = reference.partition(":")[2], load("attribute.methods", reference, cfg.plugins)
        if dials := cfg.attribute.dials.get(name, []):
            found[name] = Method(lambda dial, f=function, n=name: Own(n, f, dial), default=dials[0])
        else:
            found[name] = Method(lambda dial, f=function, n=name: Own(n, f), has_dial=False)
    return found


def _masked(bare: Method, threshold: float) -> Method:
    """Return a method that is applied at its default dial within a mask, whose threshold is the new dial."""
    spell = cast(Swap, bare.spell(bare.default))
    return Method(lambda dial: replace(spell, late=Mask(dial)), default=threshold)


def _configured(spelling: Any, section: Any) -> Method:  # Any: dataclasses of methods and of their settings
    """Return a method with the settings in its section of the configuration; None: with its defaults."""
    dial, *others = fields(spelling)
    settings = {} if section is None else {each.name: getattr(section, each.name) for each in others}
    default = section.dials[0] if section is not None and section.dials else cast(float, dial.default)
    return Method(lambda value: Swap(spelling(value, **settings)), default=float(default))
