"""Writes the report of a run: one self-contained index.html from its artefacts."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from pathlib import Path

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from latentpath.metrics.measures import definition, figure
from latentpath.report.artefacts import STAGES, RunArtefacts, read_run
from latentpath.report.co_change import entangled_pairs
from latentpath.report.contents import every_table, page_charts, page_tables
from latentpath.report.encode import data_uri
from latentpath.report.export import write_table_files
from latentpath.report.fronts import front_charts
from latentpath.report.headline import QUESTION, headline
from latentpath.report.latent_map import latent_map
from latentpath.report.outcomes import class_matches
from latentpath.report.pictures import Gallery, Grid, Picture, within_bytes, words
from latentpath.report.slider import explorer, payload, script_hash
from latentpath.report.tables import METHOD_NAMES
from latentpath.runs.figure_style import colour_variables
from latentpath.runs.files import Json, write_text

# Bytes of the pictures outside the slider; with slider, charts and tables the page stays below 15 MB.
TRAJECTORY_BYTES = 2_200_000
INTERPOLATION_BYTES = 1_300_000
BASE_BYTES = 500_000
MAX_SEEDS = 6  # seeds per class, if the bytes allow


def write_report(run_dir: Path, out: Path) -> Path:
    """Write `out`/index.html and tables/*.csv, *.tex from the artefacts in `run_dir`; return the page.

    The page opens from disk and makes no network requests. It names no folder and no image of the data set.
    Raises UserError if the run has no evaluate/metrics.json.
    """
    run = read_run(run_dir)
    page = out / "index.html"
    write_text(page, _render(run, Gallery(run)))
    write_table_files(every_table(page_tables(run)), out / "tables")
    return page


def _render(run: RunArtefacts, gallery: Gallery) -> str:
    encode = cache(data_uri)
    mapped, explored, tables = latent_map(run), explorer(run, gallery), page_tables(run)
    steps = explored["tracks"][0]["steps"] if explored else []
    return fill(
        "template.html.j2",
        payload(every_table(tables), explorer=explored, map=mapped.data(run, steps) if mapped else None),
        run=run,
        uri=encode,
        question=QUESTION,
        headline=headline(run),
        explored=bool(explored),
        **_pictures(run, gallery, encode),
        **tables,
        pairs=entangled_pairs(run, gallery),
        class_matches=class_matches(run),
        **page_charts(run),
        front_charts=front_charts(run),
        tsne=mapped.chart if mapped else None,
        configs=_distinct_configs(run),
        cost=_cost(run),
    )


def fill(template: str, payload: Markup, **content: object) -> str:
    """Fill a template with `content`, the style, the script and its data; all other text is escaped."""
    names = (template, "macros.html.j2", "style.css")
    sources = {name: _resource(name) for name in names}
    sources["style.css"] = colour_variables() + sources["style.css"]
    environment = Environment(
        loader=DictLoader(sources),
        autoescape=lambda name: name != "style.css",
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {
        "words": words,
        "label": lambda key: figure(key).label,
        "meaning": lambda key: figure(key).definition,
        "definition": definition,
    }
    script = "\n" + "\n".join(_resource(name) for name in ("slider.js", "map.js", "copy.js"))
    return environment.get_template(template).render(
        made=datetime.now(UTC).strftime("%-d %B %Y"),
        script=Markup(script),
        script_hash=Markup(script_hash(script)),
        payload=payload,
        **content,
    )


def _pictures(run: RunArtefacts, gallery: Gallery, encode: Callable[[Path, Path | None, bool], str]) -> Json:
    def size(picture: Picture) -> int:
        return len(encode(picture.file, picture.against, picture.inverted))

    seeds = {cls: gallery.seeds(cls)[:MAX_SEEDS] for cls in run.classes}
    rounds = [
        (cls, grid)
        for k in range(MAX_SEEDS)
        for cls in run.classes
        if k < len(seeds[cls]) and (grid := gallery.trajectories(cls, seeds[cls][k])).rows
    ]
    shown = within_bytes([grid for _, grid in rounds], TRAJECTORY_BYTES, size)
    trajectories: dict[str, list[Grid]] = {}
    for cls, grid in rounds[: len(shown)]:
        trajectories.setdefault(cls, []).append(grid)

    strips = [
        (method, grid)
        for method in run.methods
        if method != "swap"
        for cls in run.classes
        if (grid := gallery.interpolations(cls, method)).rows
    ]
    fitting = within_bytes([grid for _, grid in strips], INTERPOLATION_BYTES, size)
    interpolations: dict[str, list[Grid]] = {}
    for method, grid in strips[: len(fitting)]:
        interpolations.setdefault(METHOD_NAMES[method], []).append(grid)

    base = [grid for cls in run.classes if (grid := gallery.base_against_finetuned(cls))]
    return {
        "trajectories": trajectories,
        "interpolations": interpolations,
        "base_pictures": within_bytes(base, BASE_BYTES, size),
    }


def _distinct_configs(run: RunArtefacts) -> list[tuple[str, str]]:
    """Return pairs (stages, YAML), one per distinct configuration."""
    stages_of: dict[str, list[str]] = {}
    for stage, text in run.configs.items():
        stages_of.setdefault(text, []).append(stage)
    return [(", ".join(stages), text) for text, stages in stages_of.items()]


def _cost(run: RunArtefacts) -> Json:
    """Return wall times, U-Net calls, and the calls that the shared trunk saves."""
    recorded = (
        run.manifests.get("traverse", {}).get("figures", {}).get("unet_calls", run.plan.get("unet_calls"))
    )
    versions: dict[str, dict[str, str]] = {}
    for stage in STAGES:
        for package, number in run.manifests.get(stage, {}).get("versions", {}).items():
            versions.setdefault(package, {})[stage] = str(number)
    return {
        "tree": run.plan.get("calls_per_seed"),
        "alone": run.plan.get("plain_calls_per_seed"),
        "recorded": recorded if isinstance(recorded, int | float) else None,
        "versions": [
            (package, ", ".join(dict.fromkeys(by_stage.values()))) for package, by_stage in versions.items()
        ],
    }


def _resource(name: str) -> str:
    return files("latentpath.report").joinpath(name).read_text(encoding="utf-8")
