"""Checks of the methods of editing: dials, and methods that do not go together or with other settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

from latentpath.config.methods import INSIDE, MethodsConfig
from latentpath.config.schema import Config
from latentpath.config.templates import check_template
from latentpath.errors import UserError, near


def check_methods(cfg: Config) -> None:
    """Raise UserError for settings of `method` that contradict each other or the rest."""
    method, own = cfg.method, [name.partition(":")[2] for name in cfg.attribute.methods]
    if method.swap is None:
        raise UserError(
            "method does not name swap, with which the others are compared. Add it: method=[swap,...]."
        )
    swept = {f"method.{f.name}.dials": getattr(method, f.name) for f in fields(MethodsConfig)}
    dials = {key: section.dials for key, section in swept.items() if hasattr(section, "dials")}
    for key, values in (dials | {f"attribute.dials.{k}": v for k, v in cfg.attribute.dials.items()}).items():
        if not values or len(set(values)) < len(values):
            raise UserError(f"{key} is {list(values)}: expected one number or several, each once.")
    for name in cfg.attribute.dials:
        if name not in own:
            raise UserError(
                f"attribute.dials: {name!r} is no function of attribute.methods.{near(name, own)}"
            )
    if method.placebo is not None:
        check_placebo(method.placebo.caption, cfg.dataset.captions.without_attributes)
    for name in method.mask.of if method.mask is not None else ():
        if getattr(method, name) is None:
            raise UserError(f"method.mask.of: {name} is not in the sweep; give method=[...,{name},mask].")
    if method.mask is not None and (not method.mask.of or len(set(method.mask.of)) < len(method.mask.of)):
        raise UserError("method.mask.of: expected one method or several, each once.")
    for name in INSIDE:
        if getattr(method, name) is not None and cfg.sampler.compile:
            raise UserError(
                f"method={name} works on activations inside the U-Net, which a compiled U-Net does not "
                "allow. Give sampler.compile=false."
            )
    if method.p2p is not None:
        _check_words(cfg)
    if method.hspace is not None and cfg.sampler.solver == "dpmpp_2m":
        raise UserError(
            "method=hspace takes asymmetric steps, which sampler.solver=dpmpp_2m does not have. Give "
            "sampler=ddim or sampler=euler, or leave out hspace."
        )
    if method.hspace is not None and cfg.sampler.guidance_rescale:
        raise UserError(
            "method=hspace takes asymmetric steps, which sampler.guidance_rescale would distort. Give "
            "sampler.guidance_rescale=0, or leave out hspace."
        )
    if method.sdedit is not None and cfg.inversion.method == "ddpm":
        raise UserError(
            "method=sdedit adds fresh noise to the finished image, so it cannot use the noise that "
            "inversion=ddpm finds. Give inversion=ddim, or leave out one of them."
        )
    if method.offtarget is not None and len(cfg.dataset.attributes) < 2:
        raise UserError(
            "method=offtarget suppresses the other attributes, but dataset.attributes names only one. Give "
            "two or more, or leave out offtarget."
        )


def _check_words(cfg: Config) -> None:
    """Raise UserError for captions without a word in common: prompt-to-prompt could share no attention."""
    captions = cfg.dataset.captions
    for cls in cfg.dataset.classes:
        for name in cfg.attribute.names:
            words = {
                "cls": _words_of(cls, captions.class_names),
                "attributes": _words_of(name, captions.attribute_names),
            }
            neutral = captions.without_attributes.format(**words)
            target = captions.with_attributes.format(**words)
            if not {*neutral.lower().split()} & {*target.lower().split()}:
                raise UserError(
                    f"method=p2p uses the attention to words that both captions have, and {neutral!r} and "
                    f"{target!r} have none in common: leave out p2p, or change dataset.captions."
                )


def _words_of(key: str, names: Mapping[str, str] | None) -> str:
    return (names or {}).get(key, key.replace("_", " "))


def check_placebo(caption: str, neutral: str) -> None:
    """Raise UserError unless `caption` has {neutral} or {cls}, no other field, and differs from `neutral`."""
    key = "method.placebo.caption"
    if not check_template(key, caption, ("neutral", "cls")):
        raise UserError(f"{key} is {caption!r}, expected a text with {{neutral}} or {{cls}}.")
    if caption.strip() in ("{neutral}", neutral.strip()):
        raise UserError(
            f"{key} is the neutral caption itself: say it in other words, such as 'this is {{neutral}}'."
        )
