"""Tables of other edits than plain swaps, of flip points, and of the cost."""

from collections.abc import Callable, Mapping

from latentpath.keys import JOIN
from latentpath.report.artefacts import RunArtefacts
from latentpath.report.cells import Cell, Row, Table, count, header, number
from latentpath.report.pictures import words

EDITS = {
    "combination": "several attributes at once",
    "strength": "another strength",
    "window": "only for a while",
    "order": "one after the other",
    "removal": "from with to without",
}
Column = Callable[[Row], Cell]  # makes the cell of a row


def edits_table(run: RunArtefacts) -> Table | None:
    """Make the table of combinations, strengths, windows, removals and own methods; None without any."""
    found = run.tables.get("edits")
    edits = [] if found is None else found[found["method"] != "swap"].to_dict("records")
    if not edits:
        return None
    unknown = "a named attribute has no head, or no score"
    columns: dict[str, Column] = {
        "class": lambda row: header(words(row["class"])),
        "attribute": lambda row: header(_joined(row, " then " if row["method"] == "order" else " and ")),
        "steps": lambda row: Cell(_steps(row, run.num_inference_steps)),
        "strength": lambda row: number(row["strength"], digits=1),
        "there before": lambda row: number(row["before"], unknown, bar=True),
        "there after": lambda row: number(row["after"], unknown, bar=True),
        "all attributes as asked": lambda row: number(row["match"], unknown, bar=True),
        "others kept": lambda row: number(row["others_kept"], unknown, bar=True),
        "effect over placebo": _with_interval("effectiveness", "no placebo is like it"),
        "leak over placebo": _with_interval("leak", "no placebo is like it"),
        "seeds": lambda row: count(row["n"]),
    }
    table = Table("Other edits than plain swaps, as shares of seeds", ["edit", *columns], name="edits")
    own = {edit["method"]: words(edit["method"]) for edit in edits if edit["method"] not in EDITS}
    for method, name in (EDITS | own).items():
        group = [[cell(row) for cell in columns.values()] for row in edits if row["method"] == method]
        if group:
            group[0].insert(0, header(name, len(group)))
            table.groups.append(group)
    return table


def reversibility_table(run: RunArtefacts) -> Table | None:
    """Make the table of how far windows come back to the neutral image; None without windows."""
    unknown = "no swap at this step, or no seed that tells"
    return _by_class(
        run,
        "reversibility",
        "Reversibility: what is left of an edit if the prompt goes back to neutral, with 95 % intervals",
        {
            "attribute": lambda row: header(words(row["attribute"])),
            "steps": lambda row: Cell(f"{row['swap_step']} to {row['until']}"),
            "distance left": _with_interval("remaining", unknown),
            "attribute still there": _with_interval("still_present", unknown),
            "scores moved by the swap": _with_interval("scores_edited", unknown),
            "scores moved after the window": _with_interval("scores_back", unknown),
            "seeds": lambda row: count(row["n"]),
        },
    )


def commutativity_table(run: RunArtefacts) -> Table | None:
    """Make the table of how far two edits end apart in their two orders; None without orders."""
    unknown = "no seed has both orders"
    return _by_class(
        run,
        "commutativity",
        "Commutativity: two edits in one order against the same in the other order, with 95 % intervals",
        {
            "attributes": lambda row: header(_joined(row, " and ")),
            "steps": lambda row: Cell(f"{row['swap_step']}, then {row['until']}"),
            "distance apart": _with_interval("apart", unknown),
            "scores apart": _with_interval("scores_apart", unknown),
            "decided alike": _with_interval("decided_alike", unknown),
            "seeds": lambda row: count(row["n"]),
        },
    )


def composition_table(run: RunArtefacts) -> Table | None:
    """Make the table of real images that are inverted and sampled again; None with one round."""
    return _by_class(
        run,
        "composition",
        "Composition: real images inverted and sampled again, one round from the other, with 95 % intervals",
        {
            "rounds": lambda row: count(row["round"]),
            "latents off by": _with_interval("latent_error", "no scores", digits=3),
            "decisions changed": _with_interval("decisions_changed", "no scores", digits=3),
            "images": lambda row: count(row["n"]),
        },
    )


def flip_points_table(run: RunArtefacts) -> Table | None:
    """Make the table of flip points; None if the traversal did not search for them."""
    return _by_class(
        run,
        "flip_points",
        "Flip points: the latest swap step at which the attribute is present, found by bisection",
        {
            "attribute": lambda row: header(words(row["attribute"])),
            "median flip step": lambda row: number(row["median"], "no seed flips", digits=0),
            "seeds: flips": lambda row: count(row["flips"]),
            "seeds: never": lambda row: count(row["never"]),
            "seeds: present before": lambda row: count(row["already_present"]),
            "not monotone": lambda row: count(row["not_monotone"]),
        },
    )


def cost_table(run: RunArtefacts) -> Table:
    """Make the table of each stage's wall time."""
    why = "the stage did not record its time"
    group = [
        [header(stage), number(made.get("seconds"), why, digits=1), Cell(str(made.get("status", "")))]
        for stage, made in run.manifests.items()
    ]
    return Table("Wall time of each stage", ["stage", "seconds", "status"], [group], name="cost")


def _by_class(run: RunArtefacts, name: str, caption: str, columns: Mapping[str, Column]) -> Table | None:
    """Make the table of evaluate/tables/`name`.csv, a group per class; None if the run has none.

    columns: head -> what makes the cell of a row; before them is the class.
    """
    found = run.tables.get(name)
    if found is None:
        return None
    columns = {"class": lambda row: header(words(row["class"])), **columns}
    groups = [
        [[cell(row) for cell in columns.values()] for row in rows.to_dict("records")]
        for _, rows in found.groupby("class", sort=False)
    ]
    return Table(caption, list(columns), groups, name=name)


def _with_interval(key: str, unknown: str, *, digits: int = 2) -> Column:
    return lambda row: number(row[key], unknown, digits=digits, ends=(row[f"{key}_low"], row[f"{key}_high"]))


def _joined(row: Row, between: str) -> str:
    return words(row["attribute"].replace(JOIN, between))


def _steps(row: Row, last: int) -> str:
    """Say in which steps an edit follows the target prompt; `last` is the number of all steps."""
    if row["method"] == "order":
        return f"{row['swap_step']}, then {row['until']}"
    return f"{row['swap_step']} to {row['until']}" if row["until"] < last else f"from {row['swap_step']}"
