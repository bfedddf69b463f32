"""The settings of the methods of editing; each is chosen by its file in conf/method.

A method is swept at every value of `dials`; the column `strength` of an image holds the value. The formula
of each method, in `latentpath.traversal.methods`, says what its dial means.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from latentpath.config.fields import choice, number, section_of

# Methods that change or read activations inside the U-Net, which must not be compiled.
INSIDE = ("slider", "leditspp", "p2p", "hspace")
MASKABLE = ("swap", "contrast", "fcfg", "offtarget", "ortho", "sega", "leditspp", "p2p", "slider", "hspace")
MOST_DIAL = 1000  # for weights of guidance


@dataclass
class MethodConfig:
    """The settings that every method has."""

    swept: bool = False  # set by conf/method/<name>.yaml: a method is swept if `method=[...]` names it


@dataclass
class SwapConfig(MethodConfig):
    """The method of the paper; every sweep has it, because the others are compared with it."""


@dataclass
class PlaceboConfig(MethodConfig):
    """Swaps to the neutral caption in other words: what a swap changes although it asks for nothing."""

    caption: str = "this is {neutral}"  # a paraphrase; {cls} stands for the words of the class


@dataclass
class ContrastConfig(MethodConfig):
    """Settings of the method `contrast` (see `traversal.methods.contrast`)."""

    dials: list[float] = number([7.5], low=0, high=MOST_DIAL)  # guidance away from the neutral caption


@dataclass
class FcfgConfig(MethodConfig):
    """Settings of the method `fcfg` (see `traversal.methods.fcfg`)."""

    dials: list[float] = number([2.5], low=0, high=MOST_DIAL)  # weights of what changes
    w_inv: float = number(1.0, low=0, high=MOST_DIAL)  # weight of what stays


@dataclass
class OfftargetConfig(MethodConfig):
    """Settings of the method `offtarget` (see `traversal.methods.offtarget`)."""

    # weights with which the other attributes are suppressed
    dials: list[float] = number([1.0], low=0, high=MOST_DIAL)


@dataclass
class OrthoConfig(MethodConfig):
    """Settings of the method `ortho` (see `traversal.methods.ortho`)."""

    # weights of the part of the direction that no other attribute shares
    dials: list[float] = number([7.5], low=0, high=MOST_DIAL)


@dataclass
class SegaConfig(MethodConfig):
    """Settings of the method `sega` (see `traversal.methods.sega`)."""

    dials: list[float] = number([5.0], low=0, high=MOST_DIAL)  # weights of the attribute's own direction
    quantile: float = number(0.9, low=0, below=1)  # share of each channel's values that is left unchanged
    momentum: float = number(0.1, low=0, high=10, zero="none")  # weight of earlier steps
    decay: float = number(0.4, low=0, below=1)  # how much of earlier steps is remembered


@dataclass
class LeditsppConfig(MethodConfig):
    """Settings of the method `leditspp` (see `traversal.methods.leditspp`)."""

    dials: list[float] = number([5.0], low=0, high=MOST_DIAL)  # weights of the attribute's own direction
    quantile: float = number(0.9, low=0, below=1)  # share of the pixels that each mask leaves unchanged


@dataclass
class P2pConfig(MethodConfig):
    """Settings of the method `p2p` (see `traversal.methods.p2p`)."""

    dials: list[float] = number([0.8], low=0, high=1)  # shares of the steps with the neutral cross-attention
    self_attention: float = number(0.4, low=0, high=1)  # share of the steps with the neutral self-attention


@dataclass
class SliderConfig(MethodConfig):
    """Settings of the method `slider` (see `traversal.methods.slider`)."""

    dials: list[float] = number([1.0], low=-100, high=100)  # scales of the adapter; 1: as it was trained


@dataclass
class HspaceConfig(MethodConfig):
    """Settings of the method `hspace` (see `traversal.methods.hspace`)."""

    # scales of the direction; 1: what the caption adds
    dials: list[float] = number([1.0], low=-100, high=100)
    # neutral images, used by no sweep, over which the direction is a mean
    seeds: int = number(20, low=1, high=10_000)


@dataclass
class MaskConfig(MethodConfig):
    """Settings of the method `mask` (see `traversal.methods.mask`)."""

    # the methods that are masked; the sweep also has each without a mask
    of: list[str] = choice(["swap"], MASKABLE)
    dials: list[float] = number([0.5], low=0, high=1)  # thresholds; 1: nothing changes


@dataclass
class SdeditConfig(MethodConfig):
    """The swap from the neutral image, noised anew to the level of the swap step; has no dial besides it."""


@dataclass
class MethodsConfig:
    """A section for each method; null where `method=[...]` does not name it, whatever an experiment sets."""

    swap: SwapConfig | None = None
    placebo: PlaceboConfig | None = None
    contrast: ContrastConfig | None = None
    fcfg: FcfgConfig | None = None
    offtarget: OfftargetConfig | None = None
    ortho: OrthoConfig | None = None
    sega: SegaConfig | None = None
    leditspp: LeditsppConfig | None = None
    p2p: P2pConfig | None = None
    slider: SliderConfig | None = None
    hspace: HspaceConfig | None = None
    mask: MaskConfig | None = None
    sdedit: SdeditConfig | None = None


def dialled() -> list[str]:
    """Return the methods that have a dial, without the mask, which is put on other methods."""
    sections = {field.name: section_of(MethodsConfig, field.name) for field in fields(MethodsConfig)}
    return [name for name, kind in sections.items() if name != "mask" and kind and "dials" in _fields(kind)]


def _fields(section: type) -> set[str]:
    return {field.name for field in fields(section)}
