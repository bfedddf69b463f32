"""Latent traversal of fine-tuned diffusion models, and whether anything else changes.

    import latentpath as lp

    model = lp.load_model("phantom-sd")          # or a fine-tuned pipeline's folder, or a hub id
    plan = lp.plan_sweep(captions, ...)          # classes x edits x seeds, as a prefix tree
    leaves, latents = lp.walk(plan, lp.build_sampler(plan, model, image_size=64), cls=..., seeds=plan.seeds)
    images = lp.decode(model.vae(), latents)
    scores = lp.score(leaves, latents, vae=model.vae(), classifier=lp.load_classifier(folder))

Each name is imported when it is first used, so that `import latentpath` is instant.
"""

# ruff: noqa: F401 (the imports below tell type checkers what __getattr__ finds at run time)

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from latentpath.data.captions import CaptionTemplate
    from latentpath.diffusion.autoencoder import decode, encode
    from latentpath.diffusion.components import BaseModel as load_model
    from latentpath.errors import UserError
    from latentpath.evaluation.scoring import score
    from latentpath.judge.classifier import load_classifier
    from latentpath.metrics.scored import Scored
    from latentpath.metrics.tables import cfrt_table
    from latentpath.traversal.engine import walk
    from latentpath.traversal.interpolate import interpolate
    from latentpath.traversal.plan import plan_sweep
    from latentpath.traversal.sampling import build_sampler

_HOME = {
    "CaptionTemplate": "data.captions.CaptionTemplate",
    "Scored": "metrics.scored.Scored",
    "UserError": "errors.UserError",
    "build_sampler": "traversal.sampling.build_sampler",
    "cfrt_table": "metrics.tables.cfrt_table",
    "decode": "diffusion.autoencoder.decode",
    "encode": "diffusion.autoencoder.encode",
    "interpolate": "traversal.interpolate.interpolate",
    "load_classifier": "judge.classifier.load_classifier",
    "load_model": "diffusion.components.BaseModel",
    "plan_sweep": "traversal.plan.plan_sweep",
    "score": "evaluation.scoring.score",
    "walk": "traversal.engine.walk",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = f"{__name__}.{_HOME[name]}".rpartition(".")
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted([*_HOME, "__version__"])
