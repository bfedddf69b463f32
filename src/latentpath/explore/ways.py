"""The ways of editing that the explorer offers: each spells an edit for any value of its dial."""

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
class Way:
    """A method with its dial.

    spell: dial -> what the edit spells. usual: the dial's usual value. dialled: whether the dial matters.
    origin: the letter of the unedited image.
    """

    spell: Callable[[float], Spell]
    usual: float = 1.0
    dialled: bool = True
    origin: Rule = neutral


def ways_of(cfg: Config, *, sliders: bool = False) -> dict[str, Way]:
    """Return every way of editing by its name, with the settings that the run gave it.

    sliders: whether the run has a slider of each attribute.
    """
    scale = cfg.attribute.strength_by.value == "scale"
    ways = {
        "swap": Way(lambda dial: Swap(Strength(dial, scale))),
        "removal": Way(lambda dial: Swap(neutral, outside=target), dialled=False, origin=target),
    }
    missing = set() if sliders else {"slider"}
    if cfg.sampler.solver == "dpmpp_2m" or cfg.sampler.guidance_rescale:
        missing.add("hspace")  # see `check_methods`
    for name, method in METHODS.items():
        if name not in missing:
            ways[name] = _of_method(method, getattr(cfg.method, name))
    mask = MaskConfig() if cfg.method.mask is None else cfg.method.mask
    for name in mask.of:
        ways[f"masked-{name}"] = _masked(ways[name], mask.dials[0])
    ways["sdedit"] = Way(lambda dial: Swap(target, late=Sdedit()), dialled=False)
    for reference in cfg.attribute.methods:
        name, function = reference.partition(":")[2], load("attribute.methods", reference, cfg.plugins)
        if dials := cfg.attribute.dials.get(name, []):
            ways[name] = Way(lambda dial, f=function, n=name: Own(n, f, dial), usual=dials[0])
        else:
            ways[name] = Way(lambda dial, f=function, n=name: Own(n, f), dialled=False)
    return ways


def _masked(bare: Way, threshold: float) -> Way:
    """A method at its usual dial within a mask, whose threshold is the dial."""
    spell = cast(Swap, bare.spell(bare.usual))
    return Way(lambda dial: replace(spell, late=Mask(dial)), usual=threshold)


def _of_method(method: Any, section: Any) -> Way:  # Any: dataclasses of methods and settings
    """A method with the settings of its section of the configuration, or its usual ones without a section."""
    dial, *others = fields(method)
    settings = {} if section is None else {each.name: getattr(section, each.name) for each in others}
    usual: Any = section.dials[0] if section is not None and section.dials else dial.default  # Any: a number
    return Way(lambda value: Swap(method(value, **settings)), usual=float(usual))
