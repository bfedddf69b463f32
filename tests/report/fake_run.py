"""Writes a small made-up run in the layout of the stages: plausible numbers, drawn pictures."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from PIL import Image, ImageChops, ImageDraw

from latentpath.evaluation.against_data import fidelity_table
from latentpath.evaluation.tables import write_tables
from latentpath.metrics import Scored

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
    tables: bool = True,
) -> Path:
    """A finished run up to `evaluate`. `lpips=False`: as on a machine without the network's weights."""
    rng = np.random.default_rng(0)
    latents = _scores(rng, classes, attributes, steps, swap_steps, seeds, methods, lpips, base)
    _manifests(run_dir, classes, attributes, swap_steps)
    traverse, evaluate = run_dir / "traverse", run_dir / "evaluate"
    stored = latents[(latents["frame"].isna()) & (latents["model"] == "finetuned")]
    index = stored[["class", "seed", "attribute", "swap_step"]].assign(
        prompt="p", shard="0.safetensors", row=0
    )
    index.to_parquet(traverse / "index.parquet")
    _json(
        traverse / "plan.json",
        {
            "num_inference_steps": steps,
            "swap_steps": list(swap_steps),
            "classes": list(classes),
            "attributes": list(attributes),
            "seeds": list(range(seeds)),
            "neutral_prompts": {cls: f"an image with {cls} without artefacts" for cls in classes},
            "target_prompts": {
                f"{c}/{a}": f"an image with {c} showing {a}" for c in classes for a in attributes
            },
            "unet_calls": len(classes)
            * seeds
            * (steps + len(attributes) * sum(steps - step for step in swap_steps)),
        },
    )
    latents.to_parquet(evaluate / "scores.parquet")
    _json(
        evaluate / "metrics.json",
        _metrics(rng, classes, attributes, steps, swap_steps, seeds, methods, lpips, base),
    )
    _json(run_dir / "classify" / "metrics.json", _classification(rng, classes, attributes))
    if tables:
        write_tables(
            evaluate / "tables",
            Scored(latents.assign(until=steps, strength=1.0), attributes, classes, resamples=100),
            strong=sorted(swap_steps)[:3],
            geometry=_geometry(rng, classes, attributes, swap_steps, seeds),
            temperatures=dict.fromkeys(attributes, 2.0),
        )
        _against_data(evaluate / "tables", rng, classes)
    if tsne:
        _tsne(rng, stored, attributes, steps).to_parquet(evaluate / "tsne.parquet")
    if examples:
        _examples(evaluate / "examples", latents[latents["seed"] < example_seeds], attributes, steps, side)
    return run_dir


def _scores(rng, classes, attributes, steps, swap_steps, seeds, methods, lpips, base) -> pd.DataFrame:
    rows = []

    def add(
        cls: str, seed: int, attribute: str, method: str, step: Any, frame: Any, model: str, push: float
    ) -> None:
        row: dict[str, Any] = {
            "class": cls,
            "seed": seed,
            "attribute": attribute,
            "method": method,
            "swap_step": step,
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
    table = pd.DataFrame(rows)
    return table.astype({"swap_step": "Int64", "frame": "Int64"})


def _metrics(rng, classes, attributes, steps, swap_steps, seeds, methods, lpips, base) -> dict[str, Any]:
    single = len(attributes) == 1

    def tree(make: Any) -> dict[str, Any]:
        return {cls: {attribute: make(cls, attribute) for attribute in attributes} for cls in classes}

    def share(low: float = 0.5, high: float = 1.0) -> float:
        return float(rng.uniform(low, high))

    def cfrt(cls: str, attribute: str) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "released": share(0.7),
            "strict": share(0.4, 0.9),
            "flip": share(0.7),
            "dominance": share(0.7),
            "class_kept": share(0.7),
            "others_kept": share(0.5),
            "dominance_images": share(0.6),
            "already_present": share(0.0, 0.1),
            "all_strict": share(0.3, 0.5),
        }
        entry |= {
            f"{figure}{end}": min(max(value + move, 0.0), 1.0)
            for figure, value in entry.items()
            for end, move in (("_low", -0.13), ("_high", 0.11))
        }
        entry |= {
            "count": seeds,
            "undefined": {},
        }
        if single:
            undefined = ("released", "strict", "dominance", "others_kept", "dominance_images", "all_strict")
            entry |= dict.fromkeys(undefined)
            entry["undefined"] |= dict.fromkeys(undefined, "only one attribute: no other to compare with")
        if len(classes) == 1:
            entry["class_kept"] = None
            entry["undefined"]["class_kept"] = "single class: nothing to keep"
        return entry

    def perceptual(cls: str, attribute: str) -> dict[str, Any]:
        return {
            "lpips_alex": share(0.04, 0.2) if lpips else None,
            "ssim": share(0.8, 0.97),
            "l1": share(0.01, 0.06),
        }

    def flip_curve(cls: str, attribute: str) -> dict[str, Any]:
        top = share(0.8)
        return {
            str(step): {
                "rate": min(1.0, max(0.0, top / (1 + np.exp((step - 25) / 5)) + 0.02)),
                "prob": min(1.0, max(0.0, 0.9 * top / (1 + np.exp((step - 25) / 7)) + 0.05)),
                "others": 0.07 + 0.06 * (1 - step / steps),
            }
            for step in swap_steps
        }

    def cosine(cls: str, attribute: str) -> dict[str, Any]:
        bend = share(0.3, 0.9)
        order = sorted(swap_steps)
        n = max(len(order) - 1, 1)
        return {
            str(step): {"strongest": 1 - bend * (k / n) ** 0.8, "weakest": 1 - bend * ((n - k) / n) ** 0.8}
            for k, step in enumerate(order)
        }

    def faithful(low: float, high: float) -> Any:
        return tree(lambda cls, attribute: {"target": share(low, high), "neutral": share(0.9)})

    all_cfrt = {method: tree(cfrt) for method in methods}
    means = {
        method: {
            key: _mean([entry[key] for by_class in all_cfrt[method].values() for entry in by_class.values()])
            for key in ("released", "strict")
        }
        for method in methods
    }
    weights = f"{CANARY}/weights/alexnet.pth"
    return {
        "attributes": list(attributes),
        "classes": list(classes),
        "num_inference_steps": steps,
        "swap_steps": list(swap_steps),
        "strong_swap_steps": sorted(swap_steps)[:3],
        "cfrt": all_cfrt,
        "cfrt_mean": means,
        "perceptual": {method: tree(perceptual) for method in methods},
        "flip_curve": tree(flip_curve),
        "cosine": tree(cosine),
        "faithfulness": {"finetuned": faithful(0.8, 1.0)} | ({"base": faithful(0.0, 0.2)} if base else {}),
        "notes": [] if lpips else [f"LPIPS alex: n/a, its weights are missing; put them at {weights}"],
    }


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _classification(rng, classes, attributes) -> dict[str, Any]:
    labels = (["class"] if len(classes) > 1 else []) + list(attributes)

    def rows() -> dict[str, Any]:
        return {
            label: {
                "accuracy": float(rng.uniform(0.85, 0.98)),
                "f1": float(rng.uniform(0.75, 0.95)),
                "auroc": float(rng.uniform(0.9, 0.99)),
                "positives": int(rng.integers(40, 200)),
                "count": 1600,
            }
            for label in labels
        }

    return {"test": rows(), "val": rows()}


def _against_data(folder: Path, rng, classes) -> None:
    generated = pd.DataFrame({"class": np.repeat(list(classes), 9), "attribute": ""})
    features = {cls: rng.normal(size=(9, 3)).astype(np.float32) for cls in classes}
    table = fidelity_table(generated, np.concatenate(list(features.values())), features, classes)
    table.to_csv(folder / "fidelity.csv", index=False)
    scores = rng.uniform(0.55, 0.95, len(generated))
    copies = generated.assign(training=0, distance=1.0, score=scores, flagged=scores < 0.5)
    copies.to_csv(folder / "copies.csv", index=False)


def _geometry(rng, classes, attributes, swap_steps, seeds) -> pd.DataFrame:
    rows = []
    for cls in classes:
        for attribute in attributes:
            for figure in ("cosine_strongest", "cosine_weakest", "cosine_next", "distance", "l1"):
                for step in swap_steps:
                    mean = float(rng.uniform(0.2, 0.9)) * (9 if figure == "distance" else 1)
                    rows.append((cls, attribute, figure, step, mean))
            rows += [
                (cls, attribute, "path_over_chord", None, 1.4),
                (cls, attribute, "curvature", None, 52.0),
            ]
    table = pd.DataFrame(rows, columns=["class", "attribute", "figure", "swap_step", "mean"])
    table = table.astype({"swap_step": "Int64"})
    ends = {"low": 0.95, "high": 1.05, "q10": 0.8, "q50": 1.0, "q90": 1.2}
    return table.assign(**{name: table["mean"] * k for name, k in ends.items()}, n=seeds)


def _tsne(rng, stored: pd.DataFrame, attributes, steps: int) -> pd.DataFrame:
    table = stored[["class", "seed", "attribute", "swap_step"]].copy()
    push = 1 - table["swap_step"].astype(float) / steps
    angle = table["attribute"].map({a: 6.3 * k / len(attributes) for k, a in enumerate(attributes)}).fillna(0)
    centre = table["class"].astype("category").cat.codes * 14
    table["x"] = centre + 9 * push * np.cos(angle) + rng.normal(size=len(table)) * 1.6
    table["y"] = 9 * push * np.sin(angle) + rng.normal(size=len(table)) * 1.6
    return table


def _examples(folder: Path, rows: pd.DataFrame, attributes, steps: int, side: int) -> None:
    folder.mkdir(parents=True)
    keys = ["class", "seed", "attribute", "method", "swap_step", "frame", "model"]
    table = rows[keys].copy()
    rows = rows[[*keys, "lpips_alex"]]
    files, maps = [], []
    folder.with_name("lpips_maps").mkdir()
    for row in rows.to_dict("records"):
        position = row["swap_step"] if row["method"] in ("neutral", "swap") else row["frame"]
        if row["method"] == "neutral":
            push = 0.0
        elif row["model"] == "base":
            push = 0.05
        elif row["method"] == "swap":
            push = 1 - position / steps
        else:
            push = 0.9 * position / (FRAMES - 1)
        name = f"{row['class']}_{row['seed']}_{row['attribute'] or 'neutral'}_{row['method']}_{position}"
        name = f"{name}{'_base' if row['model'] == 'base' else ''}.png"
        kind = attributes.index(row["attribute"]) if row["attribute"] else 0
        picture = _draw(row["class"], row["seed"], kind, push, side)
        picture.save(folder / name)
        files.append(name)
        mapped = row["method"] == "swap" and row["lpips_alex"] == row["lpips_alex"]
        maps.append(name if mapped else None)
        if mapped:
            plain = _draw(row["class"], row["seed"], kind, 0.0, side)
            ImageChops.difference(picture, plain).convert("L").save(folder.with_name("lpips_maps") / name)
    table.assign(file=files, lpips_map=maps).to_parquet(folder.parent / "examples.parquet")


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
        _json(folder / "manifest.json", manifest)


def _json(file: Path, content: Any) -> None:
    file.write_text(json.dumps(content, indent=1))
