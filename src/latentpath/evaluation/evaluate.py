"""Computes every table and figure of an evaluation from the scores of all images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from latentpath.config.schema import MetricConfig
from latentpath.evaluation.against_data import Data
from latentpath.evaluation.composition import composition
from latentpath.evaluation.latents import axiom_distances, geometry, write_map
from latentpath.evaluation.scoring import Scorer
from latentpath.evaluation.shards import StoredSweep, join_parts
from latentpath.evaluation.summary import summarise
from latentpath.evaluation.tables import write_tables
from latentpath.judge.classifier import Classifier
from latentpath.metrics import Scored, strong_swap_steps
from latentpath.runs.files import Json, write_json
from latentpath.traversal.store import read_flips


def write_figures(
    folder: Path,
    metric: MetricConfig,
    *,
    plan: Json,
    judge: Classifier,
    scorer: Scorer,
    sweeps: Sequence[StoredSweep],
    data: Data | None,
    seed: int,
) -> Json:
    """Write every table and figure under `folder`, and return those of the stage's manifest.

    `plan` is what plan.json holds. `sweeps` are scored, that of the fine-tuned model first. `data` is the
    data set, or None where it is not compared. `seed` is that of the t-SNE map.
    """
    tuned, scores = sweeps[0], join_parts(sweeps, folder)
    if metric.tsne:
        write_map(tuned, folder / "tsne.parquet", random_state=seed)
    scored = Scored(
        scores,
        heads=judge.attributes,
        classes=plan["classes"],
        threshold=metric.threshold,
        resamples=metric.resamples,
    )
    strong = metric.strong_swap_steps or strong_swap_steps(plan["swap_steps"])
    figures = write_tables(
        folder,
        scored,
        attributes=plan["attributes"],
        strong=strong,
        geometry=geometry(tuned, scores),
        flips=read_flips(tuned.folder),
        temperatures=judge.temperatures,
        log_weights=judge.log_weights,
        held_out=data.judged(folder) if data is not None else None,
        distances=axiom_distances(tuned),
        rounds=composition(tuned.folder, scorer, threshold=metric.threshold),
    )
    metrics = summarise(
        figures,
        scored,
        attributes=plan["attributes"],
        num_inference_steps=plan["num_inference_steps"],
        swap_steps=plan["swap_steps"],
        strong=strong,
    )
    if data is not None:
        metrics["notes"] += data.compare(folder, scorer, tuned, metric.features)
    elif metric.against_data:
        metrics["notes"].append(
            "Fidelity and copies of training images are n/a: the data set is not on this machine"
        )
    missing = [net for net, model in scorer.lpips.items() if model is None]
    metrics["notes"] += [
        f"LPIPS ({net}) is n/a: its backbone's weights are not on this machine" for net in missing
    ]
    write_json(folder / "metrics.json", metrics)
    mean = metrics["cfrt_mean"]["swap"]
    kept = ("cfrt_released", "cfrt_strict", "all_strict_low")
    return {key: mean[key] for key in kept} | {"images": len(scores)}
