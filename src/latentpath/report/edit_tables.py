"""Tables of other edits than plain swaps, of flip points, and of the cost."""

from collections.abc import Callable, Mapping
from typing import Any

from latentpath.keys import JOIN
from latentpath.report.artefacts import RunArtefacts
from latentpath.report.cells import Cell, Table, count, header, number
from latentpath.report.pictures import words

EDITS = {
    "combination": "several attributes at once",
    "strength": "another strength",
    "window": "only for a while",
    "order": "one after the other",
    "removal": "from with to without",
}


def edits_table(run: RunArtefacts) -> Table | None:
    """Make the table of combinations, strengths, windows, removals and own methods; None without any."""
    table = run.tables.get("edits")
    edits = [] if table is None else table[table["method"] != "swap"].to_dict("records")
    if not edits:
        return None
    head = ["edit", "class", "attribute", "steps", "strength"]
    table = Table(
        "Other edits than plain swaps, as shares of seeds",
        [
            *head,
            "there before",
            "there after",
            "all attributes as asked",
            "others kept",
            "effect over placebo",
            "leak over placebo",
            "seeds",
        ],
        name="edits",
    )
    own = {edit["method"]: words(edit["method"]) for edit in edits if edit["method"] not in EDITS}
    for method, name in (EDITS | own).items():
        rows = [edit for edit in edits if edit["method"] == method]
        group = []
        for k, edit in enumerate(rows):
            back = edit["until"] < run.num_inference_steps
            steps = f"{edit['swap_step']} to {edit['until']}" if back else f"from {edit['swap_step']}"
            between = " and "
            if method == "order":
                steps, between = f"{edit['swap_step']}, then {edit['until']}", " then "
            shares = [
                number(edit[key], "a named attribute has no head, or no score", bar=True)
                for key in ("before", "after", "match", "others_kept")
            ]
            first = [header(name, len(rows))] if k == 0 else []
            named = [header(words(edit["class"])), header(words(edit["attribute"].replace(JOIN, between)))]
            middle = [Cell(steps), number(edit["strength"], digits=1)]
            beyond = [
                number(edit[key], "no placebo is like it", ends=(edit[f"{key}_low"], edit[f"{key}_high"]))
                for key in ("effectiveness", "leak")
            ]
            group.append([*first, *named, *middle, *shares, *beyond, count(edit["n"])])
        if group:
            table.groups.append(group)
    return table


def reversibility_table(run: RunArtefacts) -> Table | None:
    """Make the table of how far windows come back to the neutral image; None without windows."""
    return _axiom_table(
        run,
        "reversibility",
        "Reversibility: what is left of an edit if the prompt goes back to neutral, with 95 % intervals",
        {
            "attribute": lambda row: header(words(row["attribute"])),
            "steps": lambda row: Cell(f"{row['swap_step']} to {row['until']}"),
        },
        {
            "remaining": "distance left",
            "still_present": "attribute still there",
            "scores_edited": "scores moved by the swap",
            "scores_back": "scores moved after the window",
        },
        unknown="no swap at this step, or no seed that tells",
    )


def commutativity_table(run: RunArtefacts) -> Table | None:
    """Make the table of how far two edits end apart in their two orders; None without orders."""
    return _axiom_table(
        run,
        "commutativity",
        "Commutativity: two edits in one order against the same in the other order, with 95 % intervals",
        {
            "attributes": lambda row: header(words(row["attribute"].replace(JOIN, " and "))),
            "steps": lambda row: Cell(f"{row['swap_step']}, then {row['until']}"),
        },
        {"apart": "distance apart", "scores_apart": "scores apart", "decided_alike": "decided alike"},
        unknown="no seed has both orders",
    )


def composition_table(run: RunArtefacts) -> Table | None:
    """Make the table of real images that are inverted and sampled again; None with one round."""
    return _axiom_table(
        run,
        "composition",
        "Composition: real images inverted and sampled again, one round from the other, with 95 % intervals",
        {"rounds": lambda row: count(row["round"])},
        {"latent_error": "latents off by", "decisions_changed": "decisions changed"},
        unknown="no scores",
        counted="images",
        digits=3,
    )


def _axiom_table(
    run: RunArtefacts,
    name: str,
    title: str,
    named: Mapping[str, Callable[[Mapping[Any, Any]], Cell]],
    figures: Mapping[str, str],
    *,
    unknown: str,
    counted: str = "seeds",
    digits: int = 2,
) -> Table | None:
    """Make the table `name` of a run, a group per class; None if the run has no such table.

    named: head of a column -> cell of a row. figures: key -> head; each has its interval or, where it is
    undefined, the reason `unknown`.
    """
    found = run.tables.get(name)
    if found is None:
        return None
    table = Table(title, ["class", *named, *figures.values(), counted], name=name)
    for cls, rows in found.groupby("class", sort=False):
        group = []
        for row in rows.to_dict("records"):
            first = [header(words(str(cls))), *(cell(row) for cell in named.values())]
            cells = [
                number(row[key], unknown, digits=digits, ends=(row[f"{key}_low"], row[f"{key}_high"]))
                for key in figures
            ]
            group.append([*first, *cells, count(row["n"])])
        table.groups.append(group)
    return table


def flip_points_table(run: RunArtefacts) -> Table | None:
    """Make the table of flip points; None if the traversal did not search for them."""
    points = run.tables.get("flip_points")
    if points is None:
        return None
    keys = {"flips": "flips", "never": "never", "already_present": "present before"}
    table = Table(
        "Flip points: the latest swap step at which the attribute is present, found by bisection",
        [
            "class",
            "attribute",
            "median flip step",
            *(f"seeds: {label}" for label in keys.values()),
            "not monotone",
        ],
        name="flip_points",
    )
    for _, rows in points.groupby("class", sort=False):
        table.groups.append(
            [
                [
                    header(words(row["class"])),
                    header(words(row["attribute"])),
                    number(row["median"], "no seed flips", digits=0),
                    *(count(row[key]) for key in keys),
                    count(row["not_monotone"]),
                ]
                for row in rows.to_dict("records")
            ]
        )
    return table


def cost_table(run: RunArtefacts) -> Table:
    """Make the table of each stage's wall time."""
    table = Table("Wall time of each stage", ["stage", "seconds", "status"], name="cost")
    group = []
    for stage, manifest in run.manifests.items():
        seconds = number(manifest.get("seconds"), "the stage did not record its time", digits=1)
        group.append([header(stage), seconds, Cell(str(manifest.get("status", "")))])
    table.groups.append(group)
    return table
