"""Writes a small run in the layout of the stages: the scores are made up, the pictures drawn, and the writers
of the stages make of them what they would make of real ones."""

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml
from PIL import Image, ImageChops, ImageDraw

from latentpath.data.captions import CaptionTemplate
from latentpath.evaluation.copies import copies_by_class, copy_table
from latentpath.evaluation.fidelity import fidelity_table
from latentpath.evaluation.latents import named_directions
from latentpath.evaluation.pictures import write_pictures
from latentpath.evaluation.real_images import RealImages
from latentpath.evaluation.scoring import Picture
from latentpath.evaluation.summary import summarise
from latentpath.evaluation.tables import write_tables
from latentpath.keys import FINETUNED, IMAGE_KEY, LATENT_KEY, NULLABLE
from latentpath.metrics import (
    Scored,
    classification_metrics,
    geometry_bands,
    geometry_table,
    image_distances,
    strong_swap_steps,
)
from latentpath.runs.files import write_json, write_parquet
from latentpath.traversal.plan import plan_sweep
from latentpath.traversal.planning import describe

FRAMES = 9
CANARY = "/mnt/secret-ward/patients jane/cohort"  # no part of it but the last name may show anywhere


def make_fake_run(
    run_dir: Path,
    *,
    classes: tuple[str, ...] = ("MEL", "NV"),
    attributes: tuple[str, ...] = ("hair", "gel_bubble", "ink", "ruler"),
    steps: int = 50,
    swap_steps: tuple[int, ...] = (5, 10, 15, 20, 25, 30, 35, 40, 45),
    seeds: int = 24,
    example_seeds: int = 3,
    methods: tuple[str, ...] = ("swap", "bezier", "slerp", "lerp"),
    tsne: bool = True,
    base: bool = True,
    lpips: bool = True,
    examples: bool = True,
    side: int = 64,
    ways: tuple[str, ...] = (),
) -> Path:
    """A finished run up to `evaluate`. `lpips=False`: as on a machine without the network's weights. `ways`:
    ways of editing besides the swap, at two dials each."""
    rng = np.random.default_rng(0)
    plan = plan_sweep(
        CaptionTemplate(
            "a picture of {cls} with {attributes}",
            "a picture of {cls}",
            {cls: cls for cls in classes},
            {attribute: attribute for attribute in attributes},
        ),
        classes=classes,
        attributes=attributes,
        swap_steps=swap_steps,
        num_inference_steps=steps,
        seeds=range(seeds),
    )
    scores = _scores(rng, classes, attributes, steps, swap_steps, seeds, methods, lpips, base, ways)
    _manifests(run_dir, classes, attributes, swap_steps)
    traverse, evaluate = run_dir / "traverse", run_dir / "evaluate"
    stored = scores[scores["frame"].isna() & (scores["model"] == FINETUNED)].reset_index(drop=True)
    index = stored[LATENT_KEY].assign(prompt="p", shard="0.safetensors", row=range(len(stored)))
    latents = rng.normal(size=(len(stored), 6))
    write_parquet(traverse / "index.parquet", index)
    write_json(traverse / "plan.json", describe(plan))
    write_parquet(evaluate / "scores.parquet", scores)
    scored = Scored(scores, attributes, classes, resamples=100)
    strong = strong_swap_steps(swap_steps)
    bands = geometry_bands(pd.concat([geometry_table(stored, latents), image_distances(scores)]))
    named = named_directions(index, lambda rows: latents[rows["row"]])
    figures = write_tables(
        evaluate,
        scored,
        attributes=attributes,
        strong=strong,
        geometry=pd.concat([bands, named], ignore_index=True),
        temperatures=dict.fromkeys(attributes, 2.0),
        held_out=_held_out(np.random.default_rng(1), classes, attributes),
        distances=index[LATENT_KEY].assign(distance=np.linalg.norm(latents, axis=1)),
    )
    _against_data(evaluate / "tables", rng, classes, index)
    metrics = summarise(
        figures,
        scored,
        attributes=attributes,
        num_inference_steps=steps,
        swap_steps=swap_steps,
        strong=strong,
    )
    if not lpips:
        weights = f"{CANARY}/weights/alexnet.pth"
        metrics["notes"].append(f"LPIPS alex: n/a, its weights are missing; put them at {weights}")
    write_json(evaluate / "metrics.json", metrics)
    write_json(run_dir / "classify" / "metrics.json", _classification(rng, classes, attributes))
    if tsne:
        write_parquet(evaluate / "tsne.parquet", _tsne(rng, stored, attributes, steps))
    if examples:
        pictures = _pictures(scores[scores["seed"] < example_seeds], attributes, steps, side)
        write_parquet(evaluate / "examples.parquet", write_pictures(evaluate, pictures))
    return run_dir


def _scores(rng, classes, attributes, steps, swap_steps, seeds, methods, lpips, base, ways) -> pd.DataFrame:
    rows = []

    def add(
        cls: str,
        seed: int,
        attribute: str,
        method: str,
        step: Any,
        frame: Any,
        model: str,
        push: float,
        dial: float = 1.0,
    ) -> None:
        row: dict[str, Any] = {
            "class": cls,
            "seed": seed,
            "attribute": attribute,
            "method": method,
            "swap_step": step,
            "until": pd.NA if step is pd.NA else steps,
            "strength": dial,
            "frame": frame,
            "model": model,
        }
        for a in attributes:
            centre = 4 * push - 2.2 if a == attribute else -2.6 + 1.3 * push * (a == attributes[-1])
            row[f"prob_{a}"] = float(1 / (1 + np.exp(-(centre + rng.normal() * 0.7))))
        if len(classes) > 1:
            kept = 1 / (1 + np.exp(-(2.2 - 1.2 * push + rng.normal() * 0.8)))
            row |= {f"class_prob_{c}": kept if c == cls else (1 - kept) / (len(classes) - 1) for c in classes}
        row |= {
            "lpips_alex": 0.1 * push if lpips else np.nan,
            "ssim": 1 - 0.3 * push,
            "l1": 0.05 * push,
            "cosine": 1.0,
        }
        rows.append(row)

    for cls in classes:
        for seed in range(seeds):
            for model in ("finetuned", "base") if base else ("finetuned",):
                add(cls, seed, "", "neutral", steps, pd.NA, model, 0.0)
            for attribute in attributes:
                for step in swap_steps:
                    add(cls, seed, attribute, "swap", step, pd.NA, "finetuned", 1 - step / steps)
                    for way, dial in product(ways, (0.8, 1.0)):
                        push = dial * (1 - step / steps)
                        add(cls, seed, attribute, way, step, pd.NA, "finetuned", push, dial)
                if base:
                    add(cls, seed, attribute, "swap", 0, pd.NA, "base", 0.1)
                for method in set(methods) - {"swap"}:
                    for frame in range(FRAMES) if seed < 3 else ():
                        add(
                            cls,
                            seed,
                            attribute,
                            method,
                            pd.NA,
                            frame,
                            "finetuned",
                            0.9 * frame / (FRAMES - 1),
                        )
    for cls, seed, step in product(classes, range(seeds), swap_steps):
        add(cls, seed, "", "placebo", step, pd.NA, "finetuned", 0.0)
    for cls, seed, attribute in product(classes, range(seeds), attributes):
        add(cls, seed, attribute, "window", min(swap_steps), pd.NA, "finetuned", 0.1)
        rows[-1]["until"] = min(swap_steps) + 2
    table = pd.DataFrame(rows)
    return table.astype(NULLABLE)


def _classification(rng, classes, attributes) -> dict[str, Any]:
    """Of 400 images, on which the made-up classifier is right nine times in ten."""
    count = len(classes) if len(classes) > 1 else 0

    def split() -> dict[str, Any]:
        of_class = torch.from_numpy(rng.integers(0, len(classes), 400))
        present = torch.from_numpy(rng.integers(0, 2, (400, len(attributes)))).float()
        truth = torch.cat([torch.eye(len(classes))[of_class][:, :count], present], dim=1)
        logits = (2 * truth - 1) * torch.from_numpy(rng.normal(1.3, 1, truth.shape))
        names = {"classes": classes, "attributes": attributes}
        return classification_metrics(logits, of_class, present, **names)

    return {"test": split(), "val": split()}


def _held_out(rng, classes, attributes) -> pd.DataFrame:
    """Forty real images a class, of which the made-up judge knows nine in ten."""
    rows = pd.DataFrame(
        {"cls": np.repeat(list(classes), 40), "group": [f"g{i // 2}" for i in range(40 * len(classes))]}
    )
    for attribute in attributes:
        rows[attribute] = rng.integers(0, 2, len(rows)).astype(float)
        right = rng.uniform(size=len(rows)) < 0.9
        rows[f"prob_{attribute}"] = np.where(right, rows[attribute], 1 - rows[attribute]) * 0.8 + 0.1
    return rows


def _against_data(folder: Path, rng, classes, index: pd.DataFrame) -> None:
    generated = pd.DataFrame({"class": np.repeat(list(classes), 9), "attribute": ""})
    real = pd.DataFrame({"cls": np.repeat(list(classes), 20)})
    features = {"judge": rng.normal(size=(len(real), 3)).astype(np.float32)}
    held_out = RealImages(real, np.zeros((len(real), 1), np.float32), features)
    mine = rng.normal(size=(len(generated), 3)).astype(np.float32)
    table = fidelity_table(generated, mine, held_out, "judge", classes=classes, attributes=())
    table.assign(features="judge").to_csv(folder / "fidelity.csv", index=False)
    mine, training, held_out = (rng.normal(size=(n, 3)) for n in (len(index), 60, 9))
    copies = copies_by_class(copy_table(index, {"latent": (mine, training, held_out)}))
    copies.to_csv(folder / "copies_by_class.csv", index=False)


def _tsne(rng, stored: pd.DataFrame, attributes, steps: int) -> pd.DataFrame:
    table = stored[LATENT_KEY].copy()
    push = 1 - table["swap_step"].astype(float) / steps
    angle = table["attribute"].map({a: 6.3 * k / len(attributes) for k, a in enumerate(attributes)}).fillna(0)
    centre = table["class"].astype("category").cat.codes * 14
    table["x"] = centre + 9 * push * np.cos(angle) + rng.normal(size=len(table)) * 1.6
    table["y"] = 9 * push * np.sin(angle) + rng.normal(size=len(table)) * 1.6
    return table


def _pictures(rows: pd.DataFrame, attributes, steps: int, side: int) -> list[Picture]:
    found = []
    for row in rows.to_dict("records"):
        key = {name: None if row[name] is pd.NA else row[name] for name in IMAGE_KEY}
        if row["method"] in ("neutral", "placebo", "window"):
            push = 0.0
        elif row["model"] == "base":
            push = 0.05
        elif pd.isna(row["frame"]):
            push = row["strength"] * (1 - row["swap_step"] / steps)
        else:
            push = 0.9 * row["frame"] / (FRAMES - 1)
        kind = attributes.index(row["attribute"]) if row["attribute"] else 0
        picture = _draw(row["class"], row["seed"], kind, push, side)
        lpips_map = None
        if row["method"] == "swap" and row["lpips_alex"] == row["lpips_alex"]:
            plain = _draw(row["class"], row["seed"], kind, 0.0, side)
            lpips_map = _tensor(ImageChops.difference(picture, plain).convert("L"))
        found.append(Picture(key, _tensor(picture).permute(2, 0, 1), lpips_map))
    return found


def _tensor(image: Image.Image) -> torch.Tensor:
    """Values in [0, 1]."""
    return torch.from_numpy(np.asarray(image, dtype=np.float32) / 255)


def _draw(cls: str, seed: int, kind: int, push: float, side: int) -> Image.Image:
    """A blob on skin; attribute `kind` laid over it with opacity `push`."""
    rng = np.random.default_rng(seed + 100 * len(cls))
    x, y = np.meshgrid(*[np.linspace(-1, 1, side)] * 2)
    cx, cy, radius = *rng.uniform(-0.15, 0.15, 2), rng.uniform(0.4, 0.6)
    wobble = 0.12 * np.sin(np.arctan2(y - cy, x - cx) * (3 if len(cls) > 2 else 1) + seed)
    inside = 1 / (1 + np.exp((np.hypot(x - cx, y - cy) - radius - wobble) * 18))
    skin, lesion = np.array([225, 178, 150]), np.array([110, 66, 44]) + rng.uniform(-20, 20, 3)
    pixels = skin + (lesion - skin) * inside[..., None] + rng.normal(size=(side, side, 1)) * 3
    image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    over = image.copy()
    pen = ImageDraw.Draw(over)
    for k in range(7):
        at = rng.uniform(0, side, 4)
        if kind % 4 == 0:
            pen.line(list(at), fill=(45, 30, 25), width=max(side // 64, 1))
        elif kind % 4 == 1:
            r = side / 16 + at[2] / 20
            pen.ellipse(
                [at[0] - r, at[1] - r, at[0] + r, at[1] + r],
                outline=(250, 245, 240),
                width=max(side // 48, 1),
            )
        elif kind % 4 == 2:
            pen.rectangle([0, 0, side * 0.22, side], fill=(82, 60, 150))
        else:
            pen.line(
                [k * side / 7, side * 0.86, k * side / 7, side], fill=(30, 30, 30), width=max(side // 64, 1)
            )
    return Image.blend(image, over, min(max(1.3 * push, 0.0), 1.0))


def _manifests(run_dir: Path, classes, attributes, swap_steps) -> None:
    config = {
        "name": "demo",
        "seed": 0,
        "dataset": {
            "layout": "isic2019",
            "root": CANARY,
            "classes": list(classes),
            "attributes": list(attributes),
        },
        "model": {"base": "stable-diffusion-v1-5/stable-diffusion-v1-5"},
        "classifier": {"weights_path": "relative/ward7/efficientnet.safetensors"},
        "timesteps": {"num_inference_steps": 50, "swap_steps": list(swap_steps)},
        "logger": {"wandb": {"api_key": "canary-token-123"}},
    }
    for stage, seconds in (
        ("finetune", 1234.5),
        ("classify", 321.0),
        ("traverse", 645.2),
        ("evaluate", 98.7),
    ):
        folder = run_dir / stage
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
        manifest = {
            "stage": stage,
            "status": "complete",
            "fingerprint": "0" * 16,
            "config": {"dataset.root": CANARY},
            "upstream": {},
            "seconds": seconds,
            "figures": {},
            "versions": {"python": "3.11.9", "torch": "2.15.0"},
        }
        write_json(folder / "manifest.json", manifest)
