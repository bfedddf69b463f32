"""Writes the model card of a fine-tuned pipeline: README.md in the format of the Hugging Face hub.

The fine-tune writes the card, and evaluation adds its figures. A card holds counts of the data and the
configuration, but no paths, no identifiers and no images.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from latentpath.config.schema import Config
from latentpath.config.written import written_config
from latentpath.data.records import ImageTable
from latentpath.metrics.figure_table import FigureTable
from latentpath.metrics.figures import FIGURES
from latentpath.report.cells import lookup
from latentpath.runs.files import Json, write_text
from latentpath.runs.masking import mask_config
from latentpath.runs.provenance import versions

log = logging.getLogger(__name__)

FILE = "README.md"
# The licence of a data set that latentpath knows by its layout; others are for the owner to state.
LICENCES = {
    "isic2019": "CC BY-NC 4.0",
    "chexpert": "Stanford University Dataset Research Use Agreement",
}
UNKNOWN = "not known to latentpath: state it here before the model leaves the house"
SECTIONS = (("seed",), ("model",), ("finetune",), ("trainer", "precision"))
SECTIONS += (("dataset", "image_size"), ("dataset", "captions"))
HEADLINE = ("selectivity", "flipped", "cfrt_released", "cfrt_strict")
NOT_EVALUATED = "Not evaluated yet. `latentpath evaluate` adds the figures here."
_EVALUATION = re.compile(r"(?<=\n## Evaluation\n\n).*?(?=\n\n## )", re.DOTALL)


def write_card(pipeline: Path, cfg: Config, table: ImageTable, *, base: Path) -> None:
    """Write the card into the folder `pipeline`, without an evaluation.

    `base` is the folder of the base model, whose card names its licence; it need not exist.
    """
    rows = table.split("train")
    licence = _licence_of(base)
    config = mask_config(written_config(cfg))
    data = LICENCES.get(cfg.dataset.layout, UNKNOWN)
    if cfg.dataset.phantom.count:
        data = "none needed: the images are drawn"
    metadata = {
        "library_name": "diffusers",
        "pipeline_tag": "text-to-image",
        "license": licence or "other",
        "language": ["en"],
        "tags": ["latentpath", "medical-imaging", "stable-diffusion", "stable-diffusion-diffusers"],
    }
    if re.fullmatch(r"[\w.-]+/[\w.-]+", cfg.model.name) and not Path(cfg.model.name).exists():
        metadata["base_model"] = cfg.model.name
    if licence is None:
        metadata |= {"license_name": "see-base-model-and-data"}
    body = _filled(
        "card.md.j2",
        name=config["name"],
        base=config["model"]["name"],
        images=len(rows),
        groups=rows["group"].nunique(),
        counts=_counts(table, rows),
        prompts=_prompts(table),
        evaluation=NOT_EVALUATED,
        base_licence=licence or UNKNOWN,
        data_licence=data,
        settings=yaml.safe_dump(_chosen(config), sort_keys=False).rstrip(),
        versions=versions(),
    )
    write_text(pipeline / FILE, _joined(metadata, body))


def add_evaluation(pipeline: Path, figures: FigureTable, *, judge: Mapping[str, Json]) -> None:
    """Put the figures into the card of the folder `pipeline`, in the place of an earlier evaluation.

    judge: the judge's figures on held-out groups, output -> {"accuracy", "auroc"}. Without a card it does
    nothing, and one that does not begin with settings in YAML stays as it is.
    """
    if not (pipeline / FILE).is_file():
        return
    try:
        _, front, body = (pipeline / FILE).read_text(encoding="utf-8").split("---\n", 2)
        metadata = dict(yaml.safe_load(front))
    except (OSError, ValueError, TypeError, yaml.YAMLError) as error:  # damaged, or rewritten by hand
        log.warning("%s stays without the figures: it does not begin with settings in YAML (%s)", FILE, error)
        return
    readings = {key: figures.get(key) for key in HEADLINE}
    metrics = [
        {"type": key, "name": FIGURES[key].label, "value": round(reading.value, 4)}
        for key, reading in readings.items()
        if reading is not None and reading.value is not None
    ]
    if metrics:
        result = {
            "task": {"type": "text-to-image"},
            "dataset": {"type": "generated", "name": "images that the model generated"},
            "metrics": metrics,
        }
        metadata["model-index"] = [{"name": pipeline.parents[1].name, "results": [result]}]
    labelled = {FIGURES[key].label: reading for key, reading in readings.items()}
    heads = {head: {"count": ""} | of_head for head, of_head in judge.items()}
    text = _filled("card_evaluation.md.j2", readings=labelled, judge=heads).rstrip()
    write_text(pipeline / FILE, _joined(metadata, _EVALUATION.sub(lambda _: text, body)))


def _counts(table: ImageTable, rows: pd.DataFrame) -> dict[str, int]:
    """Return the number of images of each class and with each attribute."""
    of_classes = {f"class {cls}": int((rows["cls"] == cls).sum()) for cls in table.classes}
    return of_classes | {name: int((rows[name] == 1).sum()) for name in table.attributes}


def _prompts(table: ImageTable) -> list[str]:
    """Return the neutral prompt of each class, and the prompt of each attribute for the first class."""
    neutral = [table.captions.caption(cls) for cls in table.classes]
    return neutral + [table.captions.caption(table.classes[0], [name]) for name in table.attributes]


def _joined(metadata: Json, body: str) -> str:
    return f"---\n{yaml.safe_dump(metadata, sort_keys=False)}---\n{body}"


def _chosen(config: Json) -> Json:
    """Return the SECTIONS of a configuration, flat where they are one value."""
    return {".".join(parts): lookup(config, *parts) for parts in SECTIONS}


def _licence_of(base: Path) -> str | None:
    """Return the licence in the card of a base model's folder, or None if there is none."""
    try:
        front = (base / FILE).read_text(encoding="utf-8").split("---\n", 2)[1]
        return str(yaml.safe_load(front)["license"])
    except (OSError, ValueError, IndexError, yaml.YAMLError, KeyError, TypeError):
        return None


def _filled(template: str, **content: object) -> str:
    """Fill a template of Markdown; its filter `hundredths` writes 0.25, or a text for None."""
    environment = Environment(
        loader=PackageLoader("latentpath", "report"),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
    )
    environment.filters["hundredths"] = lambda value, none="": none if value is None else f"{value:.2f}"
    return environment.get_template(template).render(**content)
