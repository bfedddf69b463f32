"""The registry of distances between an edited image and its unedited image: LPIPS, SSIM, L1.

A new measure is a function in a file of this room and a line here: it is then computed for every image, and
scores.parquet, figures.parquet, the tables and the page have it. A measure of the user's own is a function of
a plugin, which stands in the registry while `own_measures` is open.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING

from latentpath.config.plugins import load
from latentpath.errors import UserError
from latentpath.keys import IMAGE_KEY
from latentpath.metrics.figures import FIGURES, Figure

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Measure(Figure):
    """A distance or similarity of two images.

    function   '<module of metrics>.<name>', which is loaded when it is needed, or the function itself: of
               images (n, 3, h, w) and a reference (1 or n, 3, h, w), both in [0, 1], that returns (n,)
    net        for LPIPS the backbone, whose loaded network is the function's first argument
    """

    function: str | Callable[..., Tensor] = ""
    net: str = ""

    def load(self, networks: Mapping[str, object]) -> Callable[..., Tensor] | None:
        """Return the function, or None if it needs a network whose weights are missing."""
        if not isinstance(self.function, str):
            return self.function
        module, name = self.function.split(".")
        compute = getattr(import_module(f"latentpath.metrics.{module}"), name)
        if not self.net:
            return compute
        network = networks.get(self.net)
        return None if network is None else partial(compute, network)


STRONG = "_strong"  # behind a measure's key: its mean over the strong end, over which CFRT is computed
LPIPS_NETS = ("alex", "squeeze", "vgg")
MEASURES: dict[str, Measure] = {
    measure.key: measure
    for measure in (
        *(
            Measure(
                f"lpips_{net}",
                f"LPIPS {net}",
                f"Distance to the neutral image as the features of the network {net} see it; 0 is the same.",
                "lower",
                (0.0, float("inf")),
                digits=3,
                function="perceptual.lpips_distance",
                net=net,
            )
            for net in LPIPS_NETS
        ),
        Measure(
            "ssim",
            "SSIM",
            "Structural similarity to the neutral image; 1 is the same.",
            "higher",
            (-1.0, 1.0),
            digits=3,
            function="perceptual.ssim",
        ),
        Measure(
            "l1",
            "L1",
            "Mean absolute difference of pixels, which lie in [0, 1], to the neutral image; 0 is the same.",
            "lower",
            digits=3,
            function="perceptual.l1",
        ),
    )
}


def image_measures(networks: Mapping[str, object]) -> dict[str, Callable[..., Tensor] | None]:
    """Map each column of the scores to its function of (images, reference), or None if weights are missing.

    networks: LPIPS backbone -> its network or None; a backbone that is not named is left out.
    """
    wanted = [m for m in MEASURES.values() if not m.net or m.net in networks]
    return {measure.key: measure.load(networks) for measure in wanted}


@contextmanager
def own_measures(references: Iterable[str], plugins: Sequence[str]) -> Iterator[None]:
    """Add the functions `references` of the modules `plugins` to MEASURES within the block, by their names.

    A function takes images (n, 3, h, w) and a reference (1, 3, h, w) with values in [0, 1], and returns (n,).
    The first line of its docstring is the measure's definition. Raises UserError for a name that another
    column of the scores has.
    """
    own = {}
    for reference in references:
        key = reference.partition(":")[2]
        if key in (*MEASURES, *FIGURES, *IMAGE_KEY, "cosine") or key.startswith(("prob_", "class_prob_")):
            raise UserError(f"`measures`: {key!r} is a column of the scores already; rename the function.")
        function = load("metric.measures", reference, plugins)
        definition = (function.__doc__ or f"{reference}.").strip().splitlines()[0]
        compute = partial(_one_value_each, reference, function)
        own[key] = Measure(
            key, key.replace("_", " "), definition, range=(-math.inf, math.inf), digits=3, function=compute
        )
    MEASURES.update(own)
    try:
        yield
    finally:
        for key in own:
            del MEASURES[key]


def _one_value_each(
    reference: str, function: Callable[..., Tensor], images: Tensor, origin: Tensor
) -> Tensor:
    values = function(images, origin)
    if tuple(getattr(values, "shape", ())) != (len(images),):
        raise UserError(
            f"{reference} returned {getattr(values, 'shape', values)!r}, expected one value an image: "
            f"({len(images)},)"
        )
    return values


def measures_in(columns: Iterable[object]) -> list[str]:
    """Return the measures among the columns of a table of scores."""
    there = set(columns)
    return [key for key in MEASURES if key in there]


def figure(key: str) -> Figure:
    """Return the figure with this key, including image distances. Raises KeyError for an unknown key."""
    if key.endswith(STRONG) and key not in MEASURES:
        whole = MEASURES[key.removesuffix(STRONG)]
        return replace(whole, key=key, label=f"{whole.label}, strong end")
    return FIGURES[key] if key in FIGURES else MEASURES[key]


def definition(label: str) -> str:
    """Return the definition of the figure with this label or heading, or '' if there is none."""
    known: Iterable[Figure] = (*FIGURES.values(), *MEASURES.values())
    return next((each.definition for each in known if label in (each.label, each.heading)), "")
