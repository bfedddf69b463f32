"""Every metric as a pure function of scores, images or latents; each module is loaded on first use."""

# ruff: noqa: F401 (the imports below tell type checkers what __getattr__ finds at run time)

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latentpath.metrics.cfrt import Cfrt, Rate, cfrt_released, cfrt_strict
    from latentpath.metrics.classification import classification_metrics
    from latentpath.metrics.co_change import co_change_table, most_entangled
    from latentpath.metrics.directions import (
        consecutive_cosines,
        curvature,
        direction_cosines,
        geometry_bands,
        geometry_table,
        image_distances,
        latent_distances,
        path_over_chord,
    )
    from latentpath.metrics.edits import edit_table
    from latentpath.metrics.embedding import tsne
    from latentpath.metrics.feature_distances import fidelity, vendi_score
    from latentpath.metrics.figures import Figure
    from latentpath.metrics.flips import flipped, hard_label
    from latentpath.metrics.intervals import Interval, mean_intervals, overall_rate_interval, rate_intervals
    from latentpath.metrics.measures import figure
    from latentpath.metrics.memorisation import Nearest, copies, nearest
    from latentpath.metrics.perceptual import l1, lpips_distance, lpips_maps, lpips_or_none, ssim
    from latentpath.metrics.published import compare_with_published, published_cfrt
    from latentpath.metrics.scored import Scored, strong_frames, strong_swap_steps
    from latentpath.metrics.tables import (
        cfrt_by_position,
        cfrt_means,
        cfrt_of_seeds,
        cfrt_sensitivity,
        cfrt_table,
    )

_MODULES = {
    "cfrt": ("Cfrt", "Rate", "cfrt_released", "cfrt_strict"),
    "scored": ("Scored", "strong_frames", "strong_swap_steps"),
    "tables": (
        "cfrt_by_position",
        "cfrt_means",
        "cfrt_of_seeds",
        "cfrt_sensitivity",
        "cfrt_table",
    ),
    "classification": ("classification_metrics",),
    "co_change": ("co_change_table", "most_entangled"),
    "directions": (
        "consecutive_cosines",
        "curvature",
        "direction_cosines",
        "geometry_bands",
        "geometry_table",
        "image_distances",
        "latent_distances",
        "path_over_chord",
    ),
    "edits": ("edit_table",),
    "embedding": ("tsne",),
    "feature_distances": ("fidelity", "vendi_score"),
    "figures": ("Figure",),
    "measures": ("figure",),
    "flips": ("flipped", "hard_label"),
    "intervals": ("Interval", "mean_intervals", "overall_rate_interval", "rate_intervals"),
    "memorisation": ("Nearest", "copies", "nearest"),
    "published": ("compare_with_published", "published_cfrt"),
    "perceptual": ("l1", "lpips_distance", "lpips_maps", "lpips_or_none", "ssim"),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_HOME)
