"""Reads everything that a run wrote to disk into one object; optional parts are None or empty."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from latentpath.config.schema import Config
from latentpath.errors import UserError
from latentpath.keys import IMAGE_KEY, INTERPOLATIONS, trajectories_in
from latentpath.metrics import Scored
from latentpath.metrics.figure_table import COLUMNS, FigureTable
from latentpath.metrics.tables import OF_SEEDS
from latentpath.report.human_labels import read_human_figures
from latentpath.runs.files import Json, read_csv, read_json, read_parquet, read_yaml
from latentpath.runs.masking import mask_config, mask_text, paths_in
from latentpath.runs.stages import stage_dir

STAGES = ("finetune", "classify", "traverse", "evaluate")
NEEDED = {  # of metrics.json
    **dict.fromkeys(("classes", "attributes", "heads", "swap_steps", "strong_swap_steps"), list),
    "threshold": float,
    "num_inference_steps": int,
}
NAMES = ("classes", "attributes", "heads")  # of metrics.json; a name with a slash is no path
_KEY = ["class", "seed", "attribute", "method", "position", "strength", "model"]


@dataclass(frozen=True)
class RunArtefacts:
    """The data of a run for the report; no text in it contains a folder of the machine that made it.

    metrics: evaluate/metrics.json. plan: traverse/plan.json.
    figures: evaluate/figures.parquet, and the figures of human labels.
    examples: one row for each stored picture: class, seed, attribute ('' if neutral), method, position (swap
        step or frame), strength, model, file (Path of a PNG), lpips_map (Path or None), and the classifier's
        prob_<attribute>, class_prob_<class>.
    latents: number of rows in traverse/index.parquet. frames: images of an interpolation.
    configs: stage -> YAML text, paths masked. manifests: stage -> manifest.json.
    of_seeds: evaluate/seeds.parquet (see metrics.tables.cfrt_of_seeds).
    training: finetune/metrics.csv, the losses by step.
    tables: name -> evaluate/tables/<name>.csv, those with rows (see evaluation.tables).
    """

    name: str
    metrics: Json
    figures: FigureTable
    plan: Json
    classification: Json
    examples: pd.DataFrame
    tsne: pd.DataFrame | None
    latents: int | None
    frames: int | None
    manifests: dict[str, Json]
    configs: dict[str, str]
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    of_seeds: pd.DataFrame | None = None
    training: pd.DataFrame | None = None

    @property
    def classes(self) -> list[str]:
        return list(self.metrics["classes"])

    @property
    def attributes(self) -> list[str]:
        return list(self.metrics["attributes"])

    @property
    def heads(self) -> list[str]:
        """The attributes that the classifier judges: the traversed ones first, then the others."""
        return list(dict.fromkeys([*self.attributes, *self.metrics["heads"]]))

    @property
    def threshold(self) -> float:
        """The threshold of the classifier's decisions."""
        return float(self.metrics["threshold"])

    @property
    def swap_steps(self) -> list[int]:
        """The swap steps from late (close to neutral) to early (strongest edit)."""
        return sorted((int(step) for step in self.metrics["swap_steps"]), reverse=True)

    @property
    def strong_steps(self) -> list[int]:
        """The swap steps of the strong end, over which CFRT is computed; late to early."""
        return sorted((int(step) for step in self.metrics["strong_swap_steps"]), reverse=True)

    @property
    def prompts(self) -> list[tuple[str, str]]:
        """The pairs (name, prompt) of all neutral and target prompts."""
        neutral, target = self.plan.get("neutral_prompts") or {}, self.plan.get("target_prompts") or {}
        return [(f"{cls}, neutral", text) for cls, text in neutral.items()] + [
            (key.replace("/", ", ").replace("_", " "), text) for key, text in target.items()
        ]

    @property
    def num_inference_steps(self) -> int:
        return int(self.metrics["num_inference_steps"])

    @property
    def methods(self) -> list[str]:
        """The methods that were scored, swaps first."""
        return trajectories_in(self.figures.methods)

    @property
    def shown_dials(self) -> dict[str, float]:
        """The methods besides the swap, each with the dial whose pictures are shown.

        The dial is that of the point on the front of the method whose effect is nearest to 50 %.
        """
        points = self.tables.get("front_points")
        if points is None:
            return {}
        points = points[points["attribute"].isna() & (points["measure"] == points["measure"].iloc[0])]
        found: dict[str, tuple[bool, float, float]] = {}
        for row in points[points["method"] != "swap"].to_dict("records"):
            rank = (not row["on_front"], abs(row["effect"] - 0.5), row["strength"])
            found[row["method"]] = min(found.get(row["method"], rank), rank)
        return {method: dial for method, (_, _, dial) in found.items()}

    @property
    def seeds(self) -> int:
        """The planned number of seeds per class."""
        return len(self.plan.get("seeds", []))


def read_run(run_dir: Path) -> RunArtefacts:
    """Read a run's folder. Raises UserError if it was not evaluated, or by an older version."""
    metrics_file, figures_file = (run_dir / "evaluate" / name for name in ("metrics.json", "figures.parquet"))
    if not metrics_file.exists():
        raise UserError(f"no {metrics_file}: run `latentpath evaluate` for this run first")
    metrics = read_json(metrics_file, keys=NEEDED)
    if not figures_file.exists():
        raise UserError(
            f"no {figures_file}: version 0.1.0 evaluated this run, and later versions write their figures "
            "there. Run `latentpath evaluate` with overwrite=true; traversal and classifier stay."
        )
    folders = _folders(run_dir)
    raw_configs = {stage: _yaml(folder / "config.yaml") for stage, folder in folders.items()}
    secret = paths_in([run_dir, run_dir.absolute(), *raw_configs.values()])
    metrics = _masked(metrics, secret) | {key: metrics[key] for key in NAMES}
    examples, frames = _examples(run_dir / "evaluate")
    index = folders["traverse"] / "index.parquet"
    tsne, seeds = (run_dir / "evaluate" / f"{name}.parquet" for name in ("tsne", "seeds"))
    return RunArtefacts(
        name=run_dir.absolute().name,
        metrics=metrics,
        figures=FigureTable(_figures(run_dir, metrics)),
        plan=_masked(_json(folders["traverse"] / "plan.json"), secret),
        classification=_masked(_json(folders["classify"] / "metrics.json"), secret),
        examples=examples,
        tsne=read_parquet(tsne) if tsne.exists() else None,
        latents=len(read_parquet(index, columns=["seed"])) if index.exists() else None,
        frames=frames,
        manifests={
            stage: _masked(manifest, secret)
            for stage, folder in folders.items()
            if (manifest := _json(folder / "manifest.json"))
        },
        configs={
            stage: yaml.safe_dump(mask_config(config), sort_keys=False, allow_unicode=True, width=100)
            for stage, config in raw_configs.items()
            if config
        },
        tables=_tables(run_dir / "evaluate" / "tables"),
        of_seeds=read_parquet(seeds, needs=OF_SEEDS) if seeds.exists() else None,
        training=read_csv(losses) if (losses := folders["finetune"] / "metrics.csv").exists() else None,
    )


def _figures(run_dir: Path, metrics: Json) -> pd.DataFrame:
    """Read the figures of the evaluation, and add those of a human's labels if there are any."""
    figures = read_parquet(run_dir / "evaluate" / "figures.parquet", needs=COLUMNS)
    folder = human_labels_folder(run_dir)
    if not (folder / "labels.csv").exists():
        return figures
    scores = read_parquet(run_dir / "evaluate" / "scores.parquet", needs=IMAGE_KEY)
    scored = Scored(scores, metrics["heads"], metrics["classes"], metrics["threshold"])
    found = read_human_figures(folder, scored, metrics["attributes"], metrics["strong_swap_steps"])
    return figures if found is None else pd.concat([figures, found], ignore_index=True)


def human_labels_folder(run_dir: Path) -> Path:
    """Return the folder of a run's human labels: its own, else that of the run given as `from_run`."""
    return stage_dir(run_dir, "human_labels", _where(run_dir))


def _folders(run_dir: Path) -> dict[str, Path]:
    """Map each stage to its folder, which may belong to another run (`from_run`)."""
    return {stage: stage_dir(run_dir, stage, _where(run_dir)) for stage in STAGES}


def _where(run_dir: Path) -> Config:
    config = _yaml(run_dir / "evaluate" / "config.yaml")
    return Config(from_run=config.get("from_run"), output_dir=config.get("output_dir", "."))


def _examples(folder: Path) -> tuple[pd.DataFrame, int | None]:
    """Read the stored images with their scores, and the number of frames of an interpolation."""
    listing = folder / "examples.parquet"
    if not listing.exists():
        return pd.DataFrame(columns=[*_KEY, "file", "lpips_map"]), None
    table = _positioned(read_parquet(listing, needs=[*IMAGE_KEY, "file", "lpips_map"]))
    found = pd.DataFrame(
        {
            "file": _found(folder / "examples", table["file"]),
            "lpips_map": _found(folder / "lpips_maps", table["lpips_map"]),
        },
        index=table.index,
        dtype=object,
    )
    table = table[_KEY].join(found)
    table = table[table["file"].notna()]
    scores_file = folder / "scores.parquet"
    scores = _positioned(read_parquet(scores_file, needs=IMAGE_KEY))
    scores = scores[scores["seed"].isin(table["seed"])]
    heads = [name for name in scores.columns if str(name).startswith(("prob_", "class_prob_"))]
    table = table.merge(scores[[*_KEY, *heads]].drop_duplicates(_KEY), on=_KEY, how="left")
    frames = scores.loc[scores["method"].isin(INTERPOLATIONS), "position"]
    return table, int(frames.max()) + 1 if len(frames) else None


def _tables(folder: Path) -> dict[str, pd.DataFrame]:
    """Read the tables; names of classes and attributes stay text even if they look like numbers or NaN."""
    names = {"class": str, "attribute": str, "head": str}
    kept = {
        file.stem: read_csv(file, dtype=names, keep_default_na=False, na_values=[""])
        for file in sorted(folder.glob("*.csv"))
    }
    return {name: table for name, table in kept.items() if len(table)}


def _found(folder: Path, names: Iterable[object]) -> list[Path | None]:
    """Return the existing files with these names in the folder, or None for missing ones."""
    files = [folder / Path(name).name if isinstance(name, str) else None for name in names]
    return [file if file and file.exists() else None for file in files]


def _positioned(table: pd.DataFrame) -> pd.DataFrame:
    """Add `position` (swap step or frame), and convert classes and seeds to plain types."""
    position = table["swap_step"].astype("float64").fillna(table["frame"].astype("float64"))
    numbers = {"position": position.astype(int), "strength": table["strength"].fillna(1.0)}
    return table.assign(**numbers).astype({"class": str, "seed": int})


def _json(file: Path) -> Json:
    """Return the object in a JSON file, or {} without the file. Raises UserError if it is damaged."""
    return read_json(file) if file.exists() else {}


def _yaml(file: Path) -> Json:
    """Return the mapping in a YAML file, or {} without the file. Raises UserError if it is damaged."""
    return read_yaml(file) if file.exists() else {}


def _masked(value: Any, secret: Sequence[str]) -> Any:  # Any: nested in any way
    """Mask every text in a JSON value; keys (classes, attributes, numbers) stay unchanged."""
    if isinstance(value, dict):
        return {key: _masked(item, secret) for key, item in value.items()}
    if isinstance(value, list):
        return [_masked(item, secret) for item in value]
    return mask_text(value, secret) if isinstance(value, str) else value
