"""Collects all tables and charts of a run, by their names in the template, for the page and for files."""

from latentpath.report.artefacts import RunArtefacts
from latentpath.report.cells import Table
from latentpath.report.charts import Chart
from latentpath.report.co_change import co_change_chart, co_change_tables
from latentpath.report.data_tables import copies_table, fidelity_table
from latentpath.report.edit_tables import (
    commutativity_table,
    composition_table,
    cost_table,
    edits_table,
    flip_points_table,
    reversibility_table,
)
from latentpath.report.figures import (
    curve_numbers,
    direction_curves,
    distance_curves,
    flip_curves,
    geometry_table,
)
from latentpath.report.fronts import front_charts, front_table
from latentpath.report.headline import means_table
from latentpath.report.judge_tables import (
    classifier_table,
    corrections_table,
    cross_validation_table,
    faithfulness_table,
    human_table,
)
from latentpath.report.latent_map import latent_map
from latentpath.report.loss_curves import loss_curves
from latentpath.report.outcomes import outcomes_table
from latentpath.report.sensitivity import calibration_table, sensitivity_curves
from latentpath.report.tables import companions_table, conditions_table, main_table

PageTables = dict[str, Table | list[Table] | None]  # by their names in the template


def page_tables(run: RunArtefacts) -> PageTables:
    """Return {name: table, list of tables, or None if the run does not have it}."""
    spline = [method for method in run.methods if method in ("swap", "bezier")]
    rest = [method for method in run.methods if method not in spline]
    return {
        "means": means_table(run),
        "main": main_table(run, spline or ["swap"]),
        "main_rest": main_table(run, rest, name="cfrt_lpips_others") if rest else None,
        "conditions": [conditions_table(run, method) for method in run.methods or ["swap"]],
        "calibration": calibration_table(run),
        "edits": edits_table(run),
        "reversibility": reversibility_table(run),
        "commutativity": commutativity_table(run),
        "composition": composition_table(run),
        "outcomes": outcomes_table(run),
        "fronts": front_table(run),
        "co_change": co_change_tables(run),
        "flip_points": flip_points_table(run),
        "flip_numbers": curve_numbers(flip_curves(run), "Flip curves in numbers"),
        "direction_numbers": curve_numbers(direction_curves(run), "Cosines in numbers"),
        "geometry": geometry_table(run),
        "classifier": classifier_table(run.classification, run.classes, "test"),
        "classifier_val": classifier_table(run.classification, run.classes, "val"),
        "cross_validation": cross_validation_table(run.classification),
        "judge_errors": corrections_table(run),
        "human_labels": human_table(run),
        "faithfulness": faithfulness_table(run),
        "companions": companions_table(run),
        "fidelity": fidelity_table(run),
        "copies": copies_table(run),
        "cost_times": cost_table(run),
    }


def every_table(tables: PageTables) -> list[Table]:
    """Return all tables that have rows, in the order of the page."""
    listed = [t for entry in tables.values() for t in (entry if isinstance(entry, list) else [entry])]
    return [table for table in listed if table and any(table.groups)]


def page_charts(run: RunArtefacts) -> dict[str, Chart | None]:
    """Return {name: chart of curves, or None if the run does not have it}."""
    return {
        "sensitivity": sensitivity_curves(run),
        "flips": flip_curves(run),
        "directions": direction_curves(run),
        "distances": distance_curves(run),
        "losses": loss_curves(run),
    }


def every_chart(run: RunArtefacts) -> list[Chart]:
    """Return all charts, including charts of what the page shows as coloured tables."""
    mapped = latent_map(run)
    charts = [
        *page_charts(run).values(),
        *front_charts(run),
        co_change_chart(run),
        mapped.chart if mapped else None,
    ]
    return [chart for chart in charts if chart]
